"""Motion or scene, end to end on real files: a score under every show, beside the plain one."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cvrl.data.clips import ClipSpec
from cvrl.data.manifest import make_manifest
from cvrl.data.perturbations import PERTURBATIONS
from cvrl.data.splits import Parts, read_splits
from cvrl.evaluation.card import Result, card_lines, example_card, read_result
from cvrl.evaluation.diagnostics.perturbation_table import (
    by_perturbation,
    motion_table,
    pairings,
    present,
)
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.features.extraction import Features, mean_over_clips
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.heads import ClassHead
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError


class Drift(torch.nn.Module):
    """Sees motion and nothing else: how the mean of each half of the frame changes over time."""

    def forward(self, clips_MCTHW: torch.Tensor) -> torch.Tensor:
        halves = torch.stack([h.mean((1, 3, 4)) for h in clips_MCTHW.chunk(2, dim=4)], dim=2)
        return torch.cat([halves.diff(dim=1).mean(1), halves.diff(dim=1).std(1)], dim=1) + 1e-3


@pytest.fixture(scope="module")
def parts(video_folder: Path) -> Parts:
    """Two classes that differ by motion alone: a square goes right, or down."""
    return read_splits(str(video_folder), hold_out=0.34, seed=0)


@pytest.fixture(scope="module")
def network() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build_encoder("r3d_small", width=2)
    made.clip, made.size, made.preprocess = ClipSpec(8, 2), 32, recipes.evaluation(32)
    return made.eval()


@pytest.fixture(scope="module")
def results(network: Encoder, parts: Parts) -> list[Result]:
    protocols = ["knn", "linear", "instance", "classifier"]
    return evaluate(
        network,
        parts,
        protocols,
        Options(k=3, perturbations=PERTURBATIONS),
        head=make_head(network),
    )


def make_head(network: Encoder) -> ClassHead:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return ClassHead(network.dim, ["down", "right"]).eval()


def of(results: list[Result], protocol: str, show: str, taught: str | None) -> Result:
    (one,) = [
        result
        for result in results
        if (result.card.protocol, result.card.show, result.card.train_show)
        == (protocol, show, taught)
    ]
    return one


class TestResults:
    def test_every_show_is_scored_taught_both_ways(self, results: list[Result]) -> None:
        for protocol in ("knn", "linear"):
            taught = [
                (r.card.show, r.card.train_show) for r in results if r.card.protocol == protocol
            ]
            assert taught == pairings(PERTURBATIONS, learns=True)
        for protocol in ("instance", "classifier"):
            shown = [r.card.show for r in results if r.card.protocol == protocol]
            assert shown == list(PERTURBATIONS)
        assert all(r.card.n_scored == r.card.n_listed == 4 for r in results)

    def test_they_are_those_of_an_evaluation_of_one_show(
        self, results: list[Result], network: Encoder, parts: Parts
    ) -> None:
        """One decode for all shows changes no number of the trained network."""
        for show in ("plain", "shuffled", "background_blurred"):
            (alone,) = evaluate(network, parts, ["knn"], Options(k=3, perturbations=(show,)))
            together = of(results, "knn", show, show)
            assert alone.row("trained") == together.row("trained")
            assert replace(alone.card, untrained="") == replace(together.card, untrained="")

    def test_taught_on_plain_clips_differs_only_in_what_is_tested(
        self, results: list[Result], network: Encoder, parts: Parts
    ) -> None:
        trained = of(results, "linear", "still", "plain").row("trained").details
        plain = of(results, "linear", "plain", "plain").row("trained").details
        assert trained["held_out_top1_by_l2"] == plain["held_out_top1_by_l2"]
        assert trained["embedding_std"] != plain["embedding_std"]

    def test_a_broken_video_shifts_no_features(
        self, results: list[Result], network: Encoder, parts: Parts, tmp_path: Path
    ) -> None:
        """It stands before and between the others; shuffles go by the row in the whole list."""
        (tmp_path / "cut.mp4").write_bytes(Path(parts.test.path(0)).read_bytes()[:800])
        labels = [parts.test.class_names[i] for i in parts.test.label_ids]
        paths = [*parts.test.paths, str(tmp_path / "cut.mp4"), "/no/such.mp4"]
        order = [4, 0, 5, 1, 2, 3]
        columns = {"path": paths, "label": [*labels, "down", "right"]}
        listed = make_manifest({k: [v[i] for i in order] for k, v in columns.items()}, root="/")
        more = Parts(listed, parts.train, "more", "train")
        shows = ("plain", "still", "reversed")
        options = Options(k=3, perturbations=shows, allow_missing=True)
        for result in evaluate(network, more, ["knn", "linear"], options):
            card = result.card
            assert (card.n_listed, card.n_scored, card.n_missing) == (6, 4, 2)
            whole = of(results, card.protocol, card.show, card.train_show)
            assert result.row("trained").scores == whole.row("trained").scores
            assert result.row("chance") == whole.row("chance")

    def test_recipes_with_clips_of_their_own(self, network: Encoder, parts: Parts) -> None:
        """Dense clips, as many as a video has room for, and another feature."""
        for recipe in ("vcop", "coclr"):
            how = {"retrieval": recipe, "perturbations": ("plain", "still")}
            found = evaluate(network, parts, ["retrieval"], Options(**how))
            shown = [(one.card.show, one.card.train_show) for one in found]
            assert shown == pairings(("plain", "still"), learns=True)
            how["perturbations"] = ("still",)
            (alone,) = evaluate(network, parts, ["retrieval"], Options(**how))
            assert alone.row("trained") == found[1].row("trained")

    def test_repeatable(self, results: list[Result], network: Encoder, parts: Parts) -> None:
        again = evaluate(network, parts, ["knn"], Options(k=3, perturbations=("all",), workers=2))
        assert again == [result for result in results if result.card.protocol == "knn"]

    def test_a_network_that_sees_only_motion_is_blind_without_it(
        self, network: Encoder, parts: Parts
    ) -> None:
        """Beside the trained one, as the untrained row, stands a network made to see motion."""
        options = Options(k=1, perturbations=("plain", "still"))
        found = evaluate(network, parts, ["instance"], options, untrained=Drift())
        assert found[1].row("untrained").details["effective_rank"] == pytest.approx(1, abs=0.05)
        assert found[0].row("untrained").details["effective_rank"] > 1.05


class TestByShow:
    def test_uneven_numbers_of_clips(self) -> None:
        index = torch.tensor([0, 0, 2, 2, 2, 2])
        vectors = torch.tensor([[1.0], [10], [2], [3], [20], [30]])
        clips = Features(vectors, index, vectors[:, 0], vectors[:, 0], n_listed=3)
        found = by_perturbation(clips, ["plain", "still"])
        assert found["plain"].vectors_ND.flatten().tolist() == [1, 2, 3]
        assert found["still"].vectors_ND.flatten().tolist() == [10, 20, 30]
        assert found["still"].index_N.tolist() == [0, 2, 2]
        assert found["plain"].start_N.tolist() == [1, 2, 3]
        assert mean_over_clips(found["still"])[2].item() == 25

    def test_one_show_is_all(self) -> None:
        vectors, zeros = torch.rand(4, 2), torch.zeros(4)
        clips = Features(vectors, zeros.long(), zeros, zeros, n_listed=1)
        assert torch.equal(by_perturbation(clips, ["still"])["still"].vectors_ND, vectors)


class TestTable:
    def shown(self, results: list[Result]) -> list[list[str]]:
        console = Console(file=io.StringIO(), width=160)
        console.print(motion_table(results))
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]

    def test_one_line_a_protocol_and_show(self, results: list[Result]) -> None:
        lines = self.shown(results)
        assert len(lines) == 4 * (1 + len(PERTURBATIONS))
        assert lines[0][0] == "knn top-1 %"
        assert lines[1][0] == "as it runs" and lines[1][1] == lines[1][2]
        still = lines[2]
        same, plain = (of(results, "knn", "still", t).row("trained") for t in ("still", "plain"))
        assert still[0] == "one frame repeated"
        assert still[1] == f"{100 * (same.scores['top1'] or 0):.1f}"
        assert still[2] == f"{100 * (plain.scores['top1'] or 0):.1f}"
        classifier = lines[-len(PERTURBATIONS) :]
        assert all(line[1] == "" and line[2] != "" and line[3] == "" for line in classifier)


class TestPresent:
    def test_one_card_a_protocol_and_every_file(
        self, results: list[Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        present(iter(results), tmp_path)
        shown = capsys.readouterr().out
        assert shown.count("\nweights ") == 4  # protocols
        assert " ".join(shown.split()).count("taken for moving") == 1
        files = [line for line in shown.splitlines() if line.startswith(str(tmp_path))]
        assert {Path(file) for file in files} == set(tmp_path.iterdir())
        assert len(files) == len(results) and shown.count("Motion or scene") == 1

    def test_a_single_show_needs_no_table(
        self, results: list[Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        still = [one for one in results if one.card.show == one.card.train_show == "still"]
        present(still, tmp_path)
        shown = capsys.readouterr().out
        assert shown.count("\nweights ") == len(still) == 2 and "Motion or scene" not in shown


class TestCards:
    def test_a_blur_says_how_much_of_the_picture_it_took_for_moving(
        self, results: list[Result]
    ) -> None:
        """A square of a twelfth of the picture moves, and the mask is wider."""
        for result in results:
            found = [note for note in result.card.notes if "taken for moving" in note]
            assert bool(found) == result.card.show.endswith("blurred")
            if found:
                assert 8 < float(found[0].split()[0]) < 60 and "(4 test videos)" in found[0]

    def test_each_has_a_file_of_its_own(self, results: list[Result], tmp_path: Path) -> None:
        for result in results:
            assert read_result(result.write(tmp_path)) == result
        names = {path.stem for path in tmp_path.iterdir()}
        assert len(names) == len(results)
        assert {"knn", "knn_still", "knn_still_taught_plain", "classifier_centre_reversed"} <= names

    def test_they_say_what_was_shown(self) -> None:
        card = replace(example_card(), show="background_blurred", train_show="plain")
        assert "clips   background blurred, taught on plain clips" in card_lines(card)

    @pytest.mark.parametrize(("still", "show"), [(True, "still"), (False, "plain")])
    def test_cards_of_before_are_read(self, tmp_path: Path, still: bool, show: str) -> None:
        path = Result(example_card(), []).write(tmp_path)
        data = json.loads(path.read_text())
        del data["card"]["show"], data["card"]["train_show"]
        data["card"]["still"] = still
        path.write_text(json.dumps(data))
        card = read_result(path).card
        assert (card.show, card.train_show) == (show, show)


def test_alignment_takes_one_show(network: Encoder, dataset_of: Callable[..., object]) -> None:
    videos = make_manifest({"path": ["a.mp4"]}, root="/")
    with pytest.raises(UserError, match="one perturbation at a time"):
        evaluate(network, Parts(videos), ["alignment"], Options(perturbations=("plain", "still")))
