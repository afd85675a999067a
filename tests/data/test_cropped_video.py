"""Videos without their black bars: one box a video, in training and in every evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cvrl.data.clips import ClipSpec
from cvrl.data.cropped_video import CroppedVideo
from cvrl.data.dataset import EvalDataset, TrainDataset, VideoReader
from cvrl.data.manifest import make_manifest
from cvrl.evaluation.features.clip_stream import ClipChoice, ClipStream
from cvrl.transforms import recipes
from cvrl.video.reader import open_video
from cvrl.views.temporal_pair import TemporalPair

BARRED = ClipSpec(frames=4, stride=1, crop_bars=True)


@pytest.fixture
def barred(tmp_path: Path) -> str:
    """Twelve frames of noise between a bar of 8 rows and one of 5 columns."""
    rng = np.random.default_rng(0)
    for i in range(12):
        frame = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
        frame[:8] = 16
        frame[:, -5:] = 0
        Image.fromarray(frame).save(tmp_path / f"{i:02d}.png")
    return str(tmp_path)


def test_the_bars_and_one_line_more_are_cut_off(barred):
    with open_video(barred) as whole, CroppedVideo(open_video(barred)) as cropped:
        assert cropped.size == (55, 74) and len(cropped) == len(whole)
        indices = np.array([3, 1, 3])
        assert np.array_equal(cropped.frames(indices), whole.frames(indices)[:, 9:, :-6])


def test_a_video_without_bars_is_as_it_was(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", 10)
    with open_video(path) as whole, CroppedVideo(open_video(path)) as cropped:
        assert cropped.size == whole.size
        assert np.array_equal(cropped.frames(np.arange(10)), whole.frames(np.arange(10)))


def test_training_evaluation_and_extraction_see_the_same_picture(barred):
    manifest = make_manifest({"path": [barred]}, root="/")
    seen = []

    def look(clips):
        seen.append(tuple(clips.shape[-2:]))
        return recipes.evaluation(32)(clips)

    EvalDataset(manifest, BARRED, 2, look)[0]
    list(ClipStream(manifest, [0], BARRED, ClipChoice(clips=2), look, reader=VideoReader()))
    assert set(seen) == {(55, 74)}
    recipe = recipes.light(32, area=(1.0, 1.0))
    sample = TrainDataset(manifest, TemporalPair(BARRED), recipe, seed=0)[0, 0]
    assert not (sample.clips_VCTHW < 0.02).all(dim=1).any(dim=1).all(dim=-1).any()


def test_a_list_of_other_settings_keeps_the_bars(barred):
    manifest = make_manifest({"path": [barred]}, root="/")
    kept = EvalDataset(manifest, ClipSpec(4, 1), 1, torch.Tensor.float)[0].clips_NCTHW
    assert tuple(kept.shape[-2:]) == (64, 80)
