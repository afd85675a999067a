"""Features of inner stages: one pass gives what one pass a stage gives, for every protocol."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.card import read_result, title
from cvrl.evaluation.compare import compare_files
from cvrl.evaluation.diagnostics.perturbation_table import motion_table
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.features.extraction import (
    extract_features,
    extract_together,
    mean_over_clips,
)
from cvrl.evaluation.features.stages import SideBySide
from cvrl.evaluation.protocols.knn import knn_accuracy
from cvrl.evaluation.result_table import stage_table
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.utils.errors import UserError

STAGES = ("res2", "res3", "res4", "res5")
OPTIONS = Options(clips_per_video=2, k=3, stages=STAGES)


@pytest.fixture
def parts(videos: Manifest) -> Parts:
    even, odd = videos.take(range(0, 18, 2)), videos.take(range(1, 18, 2))
    return Parts(odd, even, "odd", "even")


def test_one_pass_is_one_pass_a_stage(
    encoder: Encoder, videos: Manifest, dataset_of: Callable[..., EvalDataset]
) -> None:
    network = SideBySide(encoder, [*STAGES, "pooled"])
    [together] = extract_together([network], dataset_of(videos.take([0, 7, 14])))
    apart = network.apart(together)
    assert [*apart] == [*STAGES, "pooled"]
    for stage, features in apart.items():
        alone = extract_features(encoder, dataset_of(videos.take([0, 7, 14])), stage=stage)
        assert features.vectors_ND.shape[1] == encoder.stage_dims[stage]
        assert torch.allclose(features.vectors_ND, alone.vectors_ND, atol=1e-6)


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(UserError, match="the network has no inner stages"):
        SideBySide(nn.Flatten(), ["res2"])


def test_each_stage_has_the_scores_of_its_features(
    encoder: Encoder, parts: Parts, dataset_of: Callable[..., EvalDataset]
) -> None:
    assert parts.train is not None
    results = evaluate(encoder, parts, ["knn", "linear"], OPTIONS)
    asked = [(protocol, stage) for protocol in ("knn", "linear") for stage in STAGES]
    assert [(one.card.protocol, one.card.stage) for one in results] == asked
    train_labels, test_labels = map(torch.from_numpy, (parts.train.label_ids, parts.test.label_ids))
    for result in results[:4]:
        train, test = (
            mean_over_clips(extract_features(encoder, dataset_of(part), stage=result.card.stage))
            for part in (parts.train, parts.test)
        )
        expected = knn_accuracy(test, test_labels, train, train_labels, k=3)
        assert result.row("trained").scores["top1"] == expected.top1
        assert [row.name for row in result.rows] == ["trained", "untrained", "chance"]


def test_res5_is_the_pooled_feature(encoder: Encoder, parts: Parts) -> None:
    both = replace(OPTIONS, stages=("res5", "pooled"))
    res5, pooled = evaluate(encoder, parts, ["knn"], both)
    (alone,) = evaluate(encoder, parts, ["knn"], replace(OPTIONS, stages=("pooled",)))
    assert res5.row("trained").scores == pooled.row("trained").scores
    assert alone.row("trained").scores == pooled.row("trained").scores
    assert (res5.card.stage, pooled.card.stage, alone.card.stage) == ("res5", "pooled", "pooled")


def test_protocols_without_labels_and_folds_take_stages_too(
    encoder: Encoder, videos: Manifest
) -> None:
    options = replace(OPTIONS, stages=("res2", "res4"))
    assert len(evaluate(encoder, Parts(videos), ["instance"], options)) == 2
    one_out = replace(options, leave_one_out="group")
    for result in evaluate(encoder, Parts(videos), ["knn"], one_out):
        assert len(result.row("untrained").details["folds"]) == result.card.n_folds


def test_hand_made_features_are_the_same_beside_every_stage(encoder: Encoder, parts: Parts) -> None:
    results = evaluate(encoder, parts, ["knn"], replace(OPTIONS, baselines=("hog_mbh",)))
    scores = [result.row("hog_mbh").scores for result in results]
    assert all(one == scores[0] for one in scores)


def page_of(*things: object) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(*things)
    return console.export_text()


def test_names_titles_and_tables(encoder: Encoder, parts: Parts, tmp_path: Path) -> None:
    results = evaluate(encoder, parts, ["knn"], OPTIONS)
    files = [result.write(tmp_path) for result in results]
    assert [file.name for file in files] == [f"knn_{stage}.json" for stage in STAGES]
    assert read_result(files[1]) == results[1]
    assert title(results[1].card) == "knn, res3"
    page = page_of(stage_table(results))
    assert all(stage in page for stage in STAGES) and "random init" in page
    compared = page_of(*compare_files(files, across=["stage"]))
    assert all(stage in compared for stage in STAGES)
    with pytest.raises(UserError, match=r"stage is res3, and res2 in .*--across stage"):
        compare_files(files)


def test_stages_and_shows_together(encoder: Encoder, parts: Parts) -> None:
    options = replace(OPTIONS, stages=("res2", "res5"), perturbations=("plain", "still"))
    results = evaluate(encoder, parts, ["knn"], options)
    assert [one.card.stage for one in results] == ["res2"] * 3 + ["res5"] * 3
    page = page_of(motion_table(results))
    assert "knn res2 top-1 %" in page and "knn res5 top-1 %" in page


def test_refusals(encoder: Encoder, parts: Parts) -> None:
    with pytest.raises(UserError, match="--stage projected: is no stage; use res2, res3"):
        evaluate(encoder, parts, ["knn"], replace(OPTIONS, stages=("projected",)))
    with pytest.raises(UserError, match="name each stage once"):
        evaluate(encoder, parts, ["knn"], replace(OPTIONS, stages=("res2", "res2")))
    with pytest.raises(UserError, match="recipe vcop of retrieval says which stage"):
        evaluate(encoder, parts, ["retrieval"], replace(OPTIONS, retrieval="vcop"))
    head = ClassHead(encoder.dim, ["blue", "green", "red"])
    with pytest.raises(UserError, match="a classifier answers by its own feature"):
        evaluate(encoder, parts, ["classifier"], OPTIONS, head=head)
