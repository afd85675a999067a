"""A missing file and a corrupt one: the evaluation fails by name, or counts both on every card."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch

from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import make_manifest
from cvrl.data.splits import Parts, read_splits
from cvrl.evaluation.card import card_lines, counted, read_result
from cvrl.evaluation.evaluate import Options, Protocol, evaluate
from cvrl.evaluation.features.extraction import extract_features
from cvrl.evaluation.missing import account_for
from cvrl.evaluation.random_init import recalibrate_batch_norm
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import CorruptVideoError, UserError

ALLOWED = Options(k=2, clips_per_video=3, allow_missing=True)
Listed = tuple[str, Path, Path]


@pytest.fixture
def listed(video_folder: Path, tmp_path: Path) -> Listed:
    """Encoded videos in a list; of the test part one is cut off, and of each part one is gone."""
    rows = ["path,label,split"]
    for i, path in enumerate(sorted(video_folder.rglob("*.mp4"))):
        rows.append(f"{path},{path.parent.name},{'test' if i % 3 == 0 else 'train'}")
    broken, gone = tmp_path / "broken.mp4", tmp_path / "gone.mp4"
    broken.write_bytes(sorted(video_folder.rglob("*.mp4"))[0].read_bytes()[:1500])
    rows += [f"{broken},down,test", f"{gone},right,test", f"{tmp_path / 'lost.mp4'},right,train"]
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    return str(tmp_path / "list.csv"), broken, gone


class TestAccount:
    videos = make_manifest(
        {"path": [f"{i}.mp4" for i in range(5)], "label": list("ababa")}, root="/"
    )

    def test_all_scored(self) -> None:
        account = account_for(self.videos, torch.tensor([4, 3, 2, 1, 0, 0]))
        assert account.manifest is self.videos and account.bad == ()
        assert account.renumber(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]

    def test_some_named(self) -> None:
        bad = [("/3.mp4", "no such file"), ("/0.mp4", "cut off")]
        account = account_for(self.videos, torch.tensor([1, 1, 2, 4]), bad)
        assert account.manifest.paths == ["/1.mp4", "/2.mp4", "/4.mp4"]
        assert account.manifest.label_ids.tolist() == [1, 0, 0]
        assert account.renumber(torch.tensor([4, 1, 2])).tolist() == [2, 0, 1]
        assert account.n_listed == 5 == len(account.row_V) + len(account.bad)

    def test_one_neither_scored_nor_named(self) -> None:
        with pytest.raises(CorruptVideoError, match=r"/3\.mp4: gave no clip; 3 of 5"):
            account_for(self.videos, torch.tensor([0, 1, 2]), [("/4.mp4", "cut off")])

    def test_none_left(self) -> None:
        bad = [(path, "no such file") for path in self.videos.paths]
        with pytest.raises(UserError, match="none of the 5 videos"):
            account_for(self.videos, torch.empty(0, dtype=torch.long), bad)

    def test_names_are_the_first_few(self) -> None:
        videos = make_manifest({"path": [f"{i}.mp4" for i in range(9)]}, root="/")
        bad = [(path, "gone") for path in videos.paths[:8]]
        assert len(account_for(videos, torch.tensor([8]), bad).names) == 5


class TestExtraction:
    @pytest.mark.parametrize("workers", [0, 1])
    def test_good_videos_have_the_features_they_have_alone(
        self, encoder: Encoder, listed: Listed, workers: int
    ) -> None:
        test = read_splits(listed[0], allow_missing=True).test
        assert encoder.preprocess is not None
        how = (encoder.clip, 2, encoder.preprocess)
        found = extract_features(
            encoder, EvalDataset(test, *how, name_bad=True), batch_videos=1, workers=workers
        )
        assert [path for path, _ in found.bad] == [str(listed[1]), str(listed[2])]
        assert found.n_scored == found.n_listed - 2 == 4
        good = extract_features(encoder, EvalDataset(test.take(range(4)), *how), batch_videos=1)
        assert torch.equal(found.vectors_ND, good.vectors_ND)

    def test_batch_norm_is_measured_on_what_is_there(
        self, encoder: Encoder, listed: Listed
    ) -> None:
        train = read_splits(listed[0], allow_missing=True).train
        assert train is not None and encoder.preprocess is not None
        dataset = EvalDataset(train, encoder.clip, 2, encoder.preprocess, name_bad=True)
        assert recalibrate_batch_norm(encoder, dataset) == len(train) - 1


class TestProtocols:
    def test_by_default_a_missing_file_is_named(self, listed: Listed) -> None:
        with pytest.raises(UserError, match=r"files are missing, first .*gone\.mp4"):
            read_splits(listed[0])

    def test_by_default_a_broken_file_is_named(self, encoder: Encoder, listed: Listed) -> None:
        parts = read_splits(listed[0], allow_missing=True)
        with pytest.raises(CorruptVideoError, match=r"(broken|gone|lost)\.mp4"):
            evaluate(encoder, parts, ["knn"])

    def test_allowed_they_are_on_every_card(
        self, encoder: Encoder, listed: Listed, tmp_path: Path
    ) -> None:
        names = ("knn", "linear", "retrieval", "instance", "order_probe")
        protocols = cast(list[Protocol], list(names))
        parts = read_splits(listed[0], allow_missing=True)
        results = evaluate(encoder, parts, protocols, ALLOWED)
        for result in results:
            card = result.card
            assert (card.n_listed, card.n_scored, card.n_missing) == (6, 4, 2)
            assert card.n_scored + card.n_missing == card.n_listed
            assert [str(listed[1]) in card.missing[0], str(listed[2]) in card.missing[1]] == [
                True
            ] * 2
            assert counted(card) == "4 of 6 videos, 2 missing"
            assert "2 MISSING" in card_lines(card)[0] and "gone.mp4" in card_lines(card)[0]
            assert read_result(result.write(tmp_path)) == result
            if card.protocol != "instance":
                assert (card.n_train, card.n_train_missing) == (8, 1)
                assert "1 MISSING" in card_lines(card)[1] and "lost.mp4" in card.train_missing[0]

    def test_the_others_are_scored_as_without_them(self, encoder: Encoder, listed: Listed) -> None:
        parts = read_splits(listed[0], allow_missing=True)
        assert parts.train is not None
        whole = Parts(parts.test.take(range(4)), parts.train.take(range(8)), "test", "train")
        some = evaluate(encoder, parts, ["knn"], ALLOWED, untrained=encoder)[0]
        good = evaluate(
            encoder, whole, ["knn"], Options(k=2, clips_per_video=3), untrained=encoder
        )[0]
        assert [row.scores for row in some.rows] == [row.scores for row in good.rows]

    def test_nothing_is_missing_where_all_is_there(
        self, encoder: Encoder, dataset_of: Callable[..., EvalDataset], library: Path
    ) -> None:
        parts = read_splits(str(library), hold_out=0.33, allow_missing=True)
        card = evaluate(encoder, parts, ["knn"], ALLOWED)[0].card
        assert (card.n_listed, card.n_scored, card.n_missing, card.missing) == (6, 6, 0, [])

    def test_rows_marked_bad_are_noted(self, encoder: Encoder, listed: Listed) -> None:
        path = Path(listed[0])
        lines = path.read_text().splitlines()
        bad = ("broken", "gone", "lost")
        statuses = ["corrupt" if any(b in line for b in bad) else "ok" for line in lines]
        statuses[0] = "status"
        marked = [f"{line},{status}" for line, status in zip(lines, statuses, strict=True)]
        path.write_text("\n".join(marked) + "\n")
        card = evaluate(encoder, read_splits(str(path)), ["knn"])[0].card
        assert card.notes == [f"3 rows of {path} are marked bad there, in no part"]
        allowed = evaluate(encoder, read_splits(str(path), allow_missing=True), ["knn"], ALLOWED)
        assert allowed[0].card.n_missing == 2
