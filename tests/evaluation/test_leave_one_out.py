"""Cross-validation of kNN and the linear probe, against a loop that encodes and fits by itself."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest, make_manifest, read_manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.card import card_lines, read_result, title
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.features.extraction import extract_features, mean_over_clips
from cvrl.evaluation.protocols.knn import knn_accuracy
from cvrl.evaluation.protocols.linear import linear_probe
from cvrl.evaluation.result_table import render
from cvrl.models.backbones import Encoder
from cvrl.models.hog_mbh import HogMbh
from cvrl.utils.errors import UserError
from cvrl.video.frame_cache import FrameSource

OPTIONS = Options(k=3, leave_one_out="person", baselines=("hog_mbh",))
PERSONS = ["ann", "bob", "cleo"]


@pytest.fixture
def people(videos: Manifest) -> Manifest:
    """The library with a column: each person has two videos of each of the three classes."""
    persons = [PERSONS[row % 3] for row in range(len(videos))]
    columns = {"path": videos.paths, "label": videos.table["label"].to_pylist()}
    return make_manifest({**columns, "person": persons}, root="/", source="people.csv")


@pytest.mark.parametrize("network", ["trained", "hog_mbh"])
def test_it_is_a_loop_over_the_persons(
    encoder: Encoder, people: Manifest, dataset_of: Callable[..., EvalDataset], network: str
) -> None:
    model = encoder if network == "trained" else HogMbh()
    feature_VD = mean_over_clips(extract_features(model, dataset_of(people)))
    label_V = torch.from_numpy(people.label_ids)
    person_V = people.table["person"].to_pylist()
    right = {"knn": torch.zeros(len(people)), "linear": torch.zeros(len(people))}
    for held in PERSONS:
        mine = torch.tensor([person == held for person in person_V])
        other = torch.tensor([PERSONS.index(person) for person in person_V])[~mine]
        rest = (feature_VD[~mine], label_V[~mine])
        knn = knn_accuracy(feature_VD[mine], label_V[mine], *rest, k=3)
        probe = linear_probe(*rest, feature_VD[mine], label_V[mine], train_groups_N=other)
        right["knn"][mine] = (knn.predicted_M == label_V[mine]).float()
        right["linear"][mine] = (probe.scores.predicted_M == label_V[mine]).float()
    for result in evaluate(encoder, Parts(people), ["knn", "linear"], OPTIONS):
        row = result.row(network)
        right_V = right[result.card.protocol]
        assert row.scores["top1"] == pytest.approx(right_V.mean().item())
        by_class = [right_V[label_V == label].mean().item() for label in range(3)]
        assert row.scores["mean_class"] == pytest.approx(sum(by_class) / 3)
        folds = [right_V[[p == held for p in person_V]].mean().item() for held in PERSONS]
        assert [fold["top1"] for fold in row.details["folds"]] == pytest.approx(folds)


def test_the_card_and_the_page_say_so(encoder: Encoder, people: Manifest, tmp_path: Path) -> None:
    parts = Parts(people, None, "people.csv")
    (result,) = evaluate(encoder, parts, ["knn"], OPTIONS)
    card = result.card
    assert title(card) == "knn, leave one person out, 3 folds"
    assert (card.n_scored, card.n_train, card.n_folds, card.train) == (18, 12, 3, "people.csv")
    assert card.group_check == "leave one person out: no group or file in two of the 3 folds"
    assert "train   people.csv: the other folds of 3, at least 12 videos" in card_lines(card)
    assert [row.name for row in result.rows] == ["trained", "untrained", "hog_mbh", "chance"]
    file = result.write(tmp_path)
    assert file.name == "knn_leave_one_person_out.json" and read_result(file) == result
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(result))
    page = console.export_text()
    assert all(person in page for person in PERSONS) and "held-out person" in page


class CountingReader(VideoReader):
    """Remembers the files that it opens."""

    opened: list[str]

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "opened", [])

    def open(self, path: str, spec: ClipSpec | None = None) -> FrameSource:
        self.opened.append(path)
        return super().open(path, spec)


def test_each_video_is_read_once_whatever_the_folds(encoder: Encoder, people: Manifest) -> None:
    """And once more, for the batch norm of the untrained network."""
    reader = CountingReader()
    evaluate(encoder, Parts(people), ["knn", "linear"], OPTIONS, reader=reader)
    assert sorted(reader.opened) == sorted(2 * people.paths)


def test_rows_without_a_label_are_counted_and_left_out(encoder: Encoder, people: Manifest) -> None:
    table = people.table.to_pydict()
    labels = [None, *table["label"][1:]]
    some = make_manifest({**table, "label": labels}, root="/")
    (result,) = evaluate(encoder, Parts(some), ["knn"], replace(OPTIONS, baselines=()))
    assert (result.card.n_scored, result.card.n_unlabelled) == (17, 1)
    assert result.card.n_train_unlabelled == 0


def test_shows_are_scored_by_folds_too(encoder: Encoder, people: Manifest) -> None:
    options = replace(OPTIONS, perturbations=("plain", "still"), baselines=())
    results = evaluate(encoder, Parts(people), ["knn"], options)
    assert [(r.card.show, r.card.train_show) for r in results] == [
        *(("plain", "plain"), ("still", "still"), ("still", "plain"))
    ]
    assert len(results[2].row("trained").details["folds"]) == 3


def test_refusals(encoder: Encoder, people: Manifest) -> None:
    with pytest.raises(UserError, match="goes with knn and linear, not with retrieval"):
        evaluate(encoder, Parts(people), ["knn", "retrieval"], OPTIONS)
    with pytest.raises(UserError, match="there are two parts"):
        evaluate(encoder, Parts(people.take([0]), people.take([1])), ["knn"], OPTIONS)
    with pytest.raises(UserError, match="no column 'subject'"):
        evaluate(encoder, Parts(people), ["knn"], replace(OPTIONS, leave_one_out="subject"))


@pytest.mark.real
def test_hand_made_features_know_the_actions_of_weizmann(encoder: Encoder, real_data: Path) -> None:
    """Nine persons with one video of each of four actions; with these features nine in ten."""
    videos = read_manifest(real_data / "splits/weizmann4.csv", root=real_data / "weizmann4")
    options = replace(OPTIONS, clips_per_video=1)
    (result,) = evaluate(encoder, Parts(videos), ["linear"], options)
    assert (result.card.n_scored, result.card.n_folds, result.card.n_train) == (36, 9, 32)
    assert (result.row("hog_mbh").scores["top1"] or 0.0) > 0.75
