"""Recordings joined byte by byte, as by ``cat``: the clock starts again, and times must not."""

import logging
import random

import av
import numpy as np
import pytest

from cvrl.video.reader import open_video

CODECS = {
    "h264": ("libx264", {"x264-params": "keyint=9:bframes=2:scenecut=0"}),
    "mpeg2": ("mpeg2video", {"bf": "2", "g": "9"}),
}


@pytest.fixture
def join(tmp_path, make_video):
    """Write recordings that start at given times, in frames of 1/25 s, and join them."""

    def joined(suffix, codec, starts, count=30):
        name, options = CODECS[codec]
        path, data = tmp_path / f"joined.{suffix}", b""
        for start in starts:
            part = tmp_path / f"{start}.{suffix}"
            times = list(range(start, start + count))
            data += make_video(part, count, codec=name, options=options, times=times).read_bytes()
        path.write_bytes(data)
        return path

    return joined


def plain_decode(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("suffix", "codec"), [("ts", "h264"), ("ts", "mpeg2"), ("mpg", "mpeg2"), ("vob", "mpeg2")]
)
@pytest.mark.parametrize(
    "starts", [[0, 0], [0, 0, 0], [500, 0], [7, 3], [0, 20000], [20000, 0]], ids=str
)
def test_times_go_on_where_the_clock_starts_again(join, suffix, codec, starts, caplog):
    path = join(suffix, codec, starts)
    images = plain_decode(path)
    with caplog.at_level(logging.WARNING, "cvrl"):
        video = open_video(path)
    assert len(caplog.messages) == 1 and str(path) in caplog.messages[0]
    assert "clock" in caplog.messages[0]
    steps = np.diff(video.times)
    assert len(video) == len(images) and (steps > 0).all()
    assert video.fps == pytest.approx(25, rel=0.01)
    np.testing.assert_allclose(steps, 0.04, atol=0.081 if codec == "mpeg2" else 1e-3)
    duration = video.times[-1] - video.times[0] + 1 / video.fps
    assert duration == pytest.approx(30 * len(starts) / 25, abs=0.1)
    indices = random.Random(0).sample(range(len(images)), 8)
    np.testing.assert_array_equal(video.frames(indices), [images[i] for i in indices])


def test_where_most_frames_have_no_stamp_the_rate_tells_times(join):
    """H.264 in a program stream has one stamp for many frames."""
    video = open_video(join("mpg", "h264", [500, 0]))
    np.testing.assert_allclose(video.times, np.arange(60) / 25)


def test_a_recording_of_one_clock_is_not_warned_of(join, caplog):
    video = open_video(join("ts", "h264", [500]))
    assert caplog.messages == []
    np.testing.assert_allclose(np.diff(video.times), 0.04, atol=1e-3)


def test_a_clock_that_runs_over_goes_on(join, caplog):
    """A transport stream counts to 2**33 in 1/90000 s, and then from 0."""
    start = 25 * 2**33 // 90000 - 50
    video = open_video(join("ts", "h264", [start], count=60))
    np.testing.assert_allclose(np.diff(video.times), 0.04, atol=1e-3)
    assert caplog.messages == []
