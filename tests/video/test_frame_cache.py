"""The cache gives the frames of the file, smaller, whoever writes it and whenever it is killed."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tvf

from cvrl.data.dataset import VideoReader
from cvrl.utils.errors import CorruptVideoError
from cvrl.video.frame_cache import CachedVideo, FrameCache, _size
from cvrl.video.reader import Limits, open_video


@pytest.fixture
def path(video_folder):
    return str(sorted(video_folder.rglob("*.mp4"))[0])


def test_cached_frames_are_the_shrunk_frames_of_the_file(path, tmp_path):
    cache = FrameCache(tmp_path, short_side=24)
    with cache.open(path, Limits()) as cached, open_video(path) as video:
        index = np.array([7, 0, 7, len(video) - 1])
        whole_NCHW = torch.from_numpy(video.frames(index)).permute(0, 3, 1, 2)
        expected = tvf.resize(whole_NCHW, [24], antialias=True).permute(0, 2, 3, 1)
        np.testing.assert_array_equal(cached.frames(index), expected.numpy())
        assert len(cached) == len(video) and cached.fps == video.fps
        np.testing.assert_array_equal(cached.times, video.times)


def test_small_videos_keep_their_size(path, tmp_path):
    with FrameCache(tmp_path, short_side=200).open(path, Limits()) as cached:
        assert cached.frames(np.array([0])).shape == (1, 48, 64, 3)


def test_the_second_opening_does_not_decode(path, tmp_path, monkeypatch):
    cache = FrameCache(tmp_path, short_side=24)
    with cache.open(path, Limits()):
        pass
    monkeypatch.setattr(
        "cvrl.video.frame_cache.open_video", lambda *_, **__: pytest.fail("decoded")
    )
    with FrameCache(tmp_path, short_side=24).open(path, Limits()) as cached:
        assert isinstance(cached, CachedVideo)


def test_a_changed_file_is_decoded_anew(make_video, tmp_path):
    file = make_video(tmp_path / "a.mp4", 10)
    cache = FrameCache(tmp_path / "cache", short_side=24)
    with cache.open(str(file), Limits()) as video:
        assert len(video) == 10
    make_video(file, 20)
    os.utime(file, ns=(1, 1))
    with cache.open(str(file), Limits()) as video:
        assert len(video) == 20


def test_a_full_cache_decodes(path, tmp_path):
    (tmp_path / "old.npy").write_bytes(b"x" * 2000)
    cache = FrameCache(tmp_path, short_side=24, max_gigabytes=1e-6)
    with cache.open(path, Limits()) as video:
        assert not isinstance(video, CachedVideo)
    assert [file.name for file in tmp_path.glob("*.npy")] == ["old.npy"]


def test_a_bad_file_is_a_typed_error_and_leaves_nothing(tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    reader = VideoReader(cache=FrameCache(tmp_path / "cache", short_side=24))
    for name in (bad, tmp_path / "missing.mp4"):
        with pytest.raises(CorruptVideoError):
            reader.open(str(name))
    assert {file.suffix for file in (tmp_path / "cache").iterdir()} == {".key"}  # no frames


def test_a_copy_under_another_name_is_not_decoded_again(path, tmp_path):
    cache, copy = FrameCache(tmp_path / "cache", short_side=24), tmp_path / "copy.mp4"
    copy.write_bytes(Path(path).read_bytes())
    for name in (path, str(copy), path):
        with cache.open(name, Limits()) as video:
            assert isinstance(video, CachedVideo)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1
    assert len(list((tmp_path / "cache").glob("*.key"))) == 2


def test_lossy_frames_are_kept_apart(path, tmp_path):
    cache = FrameCache(tmp_path, short_side=24)
    for decoder in ("pyav", "lossy", "pyav"):
        with cache.open(path, Limits(), decoder) as video:
            assert len(video)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def _fill(folder, path):
    with FrameCache(folder, short_side=24).open(path, Limits()) as video:
        assert video.frames(np.array([0])).any()


def test_concurrent_writers_leave_one_whole_entry(path, tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_fill, args=(tmp_path, path)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".key", ".npy"]


def test_a_file_that_vanishes_while_sizes_are_added_up_counts_nothing(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"x")
    (item,) = os.scandir(tmp_path)
    (tmp_path / "a.npy").unlink()
    assert _size(item) == 0


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(CorruptVideoError, match="not a regular file"):
        FrameCache(tmp_path / "cache", short_side=24).open(str(tmp_path / "pipe.mp4"), Limits())


def test_a_full_disk_costs_the_cache_and_nothing_else(path, small_disk, caplog):
    full_disk = small_disk("64k")
    cache = FrameCache(full_disk, short_side=48)
    for _ in range(2):
        with cache.open(path, Limits()) as video, open_video(path) as expected:
            np.testing.assert_array_equal(video.frames(np.arange(9)), expected.frames(range(9)))
    assert caplog.text.count("the disk is full") == 1
    assert not [item for item in os.listdir(full_disk) if item.endswith((".npy", ".json"))]
