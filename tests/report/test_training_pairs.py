"""What the model saw: the very samples of the run, as pictures."""

from pathlib import Path

import numpy as np
import pytest

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.data.sampler import Visit
from cvrl.report.training_pairs import draw_pairs_of_run
from cvrl.transforms import recipes
from cvrl.views.temporal_pair import TemporalPair


def samples(manifest: Manifest, *, normalise: bool = False) -> TrainDataset:
    views = TemporalPair(ClipSpec(4, 2))
    return TrainDataset(manifest, views, recipes.light(24, normalise=normalise), seed=5)


def test_pairs_are_the_samples_of_the_first_epoch(videos: Manifest) -> None:
    dataset = samples(videos)
    pairs = draw_pairs_of_run(dataset, count=4)
    assert len(pairs) == 4
    levels = [
        (dataset[Visit(0, row)].clips_VCTHW * 255).round().byte().permute(0, 2, 3, 4, 1).numpy()
        for row in range(len(videos))
    ]
    for pair in pairs:
        assert pair.clips_VTHWC.shape == (2, 4, 24, 24, 3)
        assert any(np.array_equal(pair.clips_VTHWC, one) for one in levels)


def test_normalised_clips_are_shown_as_they_were_before(videos: Manifest) -> None:
    plain = draw_pairs_of_run(samples(videos), count=3)
    undone = draw_pairs_of_run(samples(videos, normalise=True), count=3)
    for one, other in zip(plain, undone, strict=True):
        difference = one.clips_VTHWC.astype(int) - other.clips_VTHWC
        assert np.abs(difference).max() <= 1


def test_a_caption_says_what_and_when(videos: Manifest) -> None:
    for pair in draw_pairs_of_run(samples(videos), count=3):
        assert pair.caption.split(",")[0] in ("down", "right")
        assert pair.caption.count(" s") == 2


def test_without_labels_the_file_is_named(videos: Manifest) -> None:
    bare = make_manifest({"path": videos.paths}, root="/")
    names = {Path(path).name for path in videos.paths}
    assert {pair.caption.split(",")[0] for pair in draw_pairs_of_run(samples(bare))} <= names


@pytest.mark.parametrize("seed", [0, 1])
def test_the_choice_is_a_function_of_the_seed(videos: Manifest, seed: int) -> None:
    dataset = samples(videos)
    captions = [[p.caption for p in draw_pairs_of_run(dataset, seed=seed)] for _ in range(2)]
    assert captions[0] == captions[1]


def test_no_more_pairs_than_videos(videos: Manifest) -> None:
    assert len(draw_pairs_of_run(samples(videos), count=99)) == len(videos)


def test_videos_that_cannot_be_read_make_no_pairs(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video")
    broken = make_manifest({"path": ["a.mp4", "b.mp4"]}, root=tmp_path)
    assert draw_pairs_of_run(samples(broken)) == []
