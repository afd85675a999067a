"""The networks side by side: the same clips, the right names, and files that cannot be read."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.features.extraction import extract_features
from cvrl.models.backbones import Encoder
from cvrl.report.comparison import (
    NAMES,
    Comparison,
    Still,
    compare,
    is_labelled,
    knn_scores,
    linear_score,
)
from cvrl.utils.errors import UserError


def listed(paths: list[str]) -> Manifest:
    return make_manifest({"path": paths}, root="/")


def test_every_network_encodes_both_parts(comparison: Comparison) -> None:
    assert comparison.train is not None
    for name in NAMES:
        assert comparison.test_means(name).shape == (4, 32)
        assert comparison.train_means(name).shape == (8, 32)
        assert torch.isfinite(comparison.test_means(name)).all()
    assert not torch.equal(comparison.test_means("trained"), comparison.test_means("untrained"))
    assert not torch.equal(comparison.test_means("trained"), comparison.test_means("still"))


def test_the_trained_features_are_those_of_the_encoder(
    comparison: Comparison, encoder: Encoder
) -> None:
    assert encoder.preprocess is not None
    dataset = EvalDataset(comparison.test, encoder.clip, 2, encoder.preprocess)
    plain = extract_features(encoder, dataset)
    assert torch.equal(plain.vectors_ND, comparison.test_features["trained"].vectors_ND)


@pytest.mark.parametrize("name", ["trained", "untrained"])
def test_the_scores_agree_with_the_evaluation(
    comparison: Comparison, encoder: Encoder, parts: Parts, name: str
) -> None:
    result = evaluate(encoder, parts, ["knn"], Options(k=5))[0]
    assert knn_scores(comparison, name, k=5).top1 == result.row(name).scores["top1"]


def test_a_still_clip_is_its_middle_frame() -> None:
    clips_BCTHW = torch.rand(2, 3, 8, 4, 4)
    seen = []

    class Spy(nn.Module):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            seen.append(clips)
            return clips.mean(dim=(2, 3, 4))

    Still(Spy())(clips_BCTHW)
    assert seen[0].shape == clips_BCTHW.shape
    assert (seen[0] == clips_BCTHW[:, :, 4:5]).all()


def test_without_labels_there_is_one_part(unlabelled: Comparison) -> None:
    assert unlabelled.train is None
    assert unlabelled.train_features == {}
    assert unlabelled.test_means("untrained").shape == (12, 32)
    with pytest.raises(ValueError, match="labelled training split"):
        knn_scores(unlabelled, "trained")
    with pytest.raises(KeyError):
        unlabelled.train_means("trained")


def test_a_list_is_labelled_where_each_split_has_labels(parts: Parts) -> None:
    assert is_labelled(parts)
    assert parts.train is not None
    labels = parts.train.label_ids.copy()
    labels[0] = -1
    assert is_labelled(replace(parts, train=replace(parts.train, label_ids=labels)))
    labels[:] = -1
    assert not is_labelled(replace(parts, train=replace(parts.train, label_ids=labels)))


def test_no_more_videos_than_asked_for(encoder: Encoder, parts: Parts) -> None:
    small = compare(encoder, parts, max_videos=2)
    assert len(small.test) == 2
    assert small.train is not None and len(small.train) == 4
    again = compare(encoder, parts, max_videos=2)
    assert small.test.paths == again.test.paths


def test_unreadable_videos_are_left_out_and_named(
    encoder: Encoder, videos: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    paths = [*videos.paths[:2], str(broken), *videos.paths[2:4]]
    with caplog.at_level(logging.WARNING, "cvrl"):
        shown = compare(encoder, Parts(listed(paths)))
    assert shown.test.paths == videos.paths[:4]
    assert "broken.mp4" in caplog.text and "left out of the page" in caplog.text


def test_videos_known_to_be_bad_are_not_opened(
    encoder: Encoder, videos: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [*videos.paths[:3], "/gone/a.mp4"]
    with caplog.at_level(logging.WARNING, "cvrl"):
        shown = compare(encoder, Parts(listed(paths)), bad=["/gone/a.mp4"])
    assert len(shown.test) == 3
    assert caplog.text == ""


def test_nothing_readable_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UserError, match="has no readable video"):
        compare(encoder, Parts(listed(["/gone/a.mp4", "/gone/b.mp4"])))


def test_a_linear_probe_is_scored_where_there_is_something_to_learn(
    comparison: Comparison,
) -> None:
    top1 = linear_score(comparison, "trained")
    assert top1 is not None and 0 <= top1 <= 1
    assert comparison.train is not None
    one_class = replace(comparison.train, label_ids=comparison.train.label_ids * 0)
    assert linear_score(replace(comparison, train=one_class), "trained") is None


def test_still_clips_are_encoded_only_if_asked(encoder: Encoder, parts: Parts) -> None:
    without = compare(encoder, parts, max_videos=2, still=False)
    assert list(without.test_features) == list(without.train_features) == ["trained", "untrained"]
