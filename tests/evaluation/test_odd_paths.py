"""Names that are not UTF-8, and several numberings in a folder, up to features and answers."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cvrl.data.dataset import VideoReader
from cvrl.data.manifest import read_manifest
from cvrl.data.splits import check_groups
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.features.feature_files import read_features
from cvrl.evaluation.features.feature_store import Extraction, extract_to_file
from cvrl.evaluation.prediction.multiview import answer_videos
from cvrl.evaluation.prediction.predict import collect, list_videos
from cvrl.models.backbones import Encoder
from cvrl.models.classifier import Classifier
from cvrl.models.heads import ClassHead
from cvrl.report.inspection import inspect
from cvrl.utils.errors import UserError
from cvrl.video.frame_cache import FrameCache


@pytest.fixture
def folder(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    """A file named in Latin-1, a plain one, and two numberings of frames in one folder."""
    make_video(tmp_path / "videos" / "run" / "a.mp4", 16)
    make_video(tmp_path / "videos" / "run" / "b.mp4", 12)
    run = os.fsencode(tmp_path) + b"/videos/run"
    os.rename(run + b"/b.mp4", run + b"/caf\xe9.mp4")
    (tmp_path / "videos" / "jump").mkdir()
    for shade in range(20):
        name = f"{'ab'[shade % 2]}_{shade // 2:04}.png"
        Image.new("RGB", (48, 32), (10 * shade, 0, 0)).save(tmp_path / "videos" / "jump" / name)
    return tmp_path / "videos"


NAMES = ["jump/a_%d.png", "jump/b_%d.png", "run/a.mp4", r"run/caf\xe9.mp4"]


def test_they_go_through_lists_features_and_predictions(
    folder: Path, encoder: Encoder, tmp_path: Path
) -> None:
    inspect(folder, output=tmp_path / "manifest.csv", workers=0)
    listed = read_manifest(tmp_path / "manifest.csv")
    assert listed.paths == [str(folder / name) for name in NAMES]
    assert listed.table["frames"].to_pylist() == [10, 10, 16, 12]
    assert "inode and content" in check_groups(listed.take([0, 2]), listed.take([1, 3]))

    extract_to_file(Extraction(encoder, ClipChoice(clips=1)), listed, tmp_path / "f.parquet")
    stored = read_features(tmp_path / "f.parquet")
    assert stored.videos == listed.paths
    assert np.linalg.norm(stored.vectors_ND[0] - stored.vectors_ND[1]) > 0

    classifier = Classifier(encoder, ClassHead(encoder.dim, ["jump", "run"]))
    given = [os.fsdecode(os.fsencode(folder) + b"/run/caf\xe9.mp4"), folder / "jump" / "b_%d.png"]
    videos = list_videos(given)
    answers = [*answer_videos([classifier], videos, ClipChoice(clips=1), crops=1, workers=0)]
    assert [answer.bad for answer in answers] == [None, None]
    (file,) = collect(classifier, videos, answers).write(tmp_path)
    written = pq.read_table(file)["path"].to_pylist()
    assert written == [str(folder / NAMES[3]), str(folder / NAMES[1])]


def test_cached_frames_are_those_of_the_file(folder: Path, tmp_path: Path) -> None:
    reader = VideoReader(cache=FrameCache(tmp_path / "cache", 32))
    for path in read_manifest(folder).paths:
        first, again, plain = (one.open(path) for one in (reader, reader, VideoReader()))
        assert len(first) == len(again) == len(plain)
        np.testing.assert_array_equal(first.frames(np.arange(3)), again.frames(np.arange(3)))


def test_copies_are_found_among_them(folder: Path) -> None:
    copied = os.fsencode(folder) + b"/run/caf\xe8.mp4"
    with open(os.fsencode(folder) + b"/run/caf\xe9.mp4", "rb") as one, open(copied, "wb") as two:
        two.write(one.read())
    listed = read_manifest(folder)
    with pytest.raises(UserError, match=r"run/caf\\xe9.mp4 \(is a copy of .*run/caf\\xe8.mp4"):
        check_groups(listed.take([0, 1, 2, 3]), listed.take([4]))
