"""Written videos: whole, in order, and playable everywhere."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cvrl.utils.errors import UserError
from cvrl.video.encode import h264_file, write_mp4
from cvrl.video.reader import open_video

FRAMES = [np.full((48, 64, 3), 8 * t, np.uint8) for t in range(25)]


def test_it_decodes_to_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "grey.mp4"
    assert write_mp4(path, iter(FRAMES), fps=29.97) == 25
    with open_video(path) as video:
        assert (len(video), video.size) == (25, (48, 64))
        assert video.fps == pytest.approx(29.97, abs=0.01)
        seen = video.frames(range(25))
    assert np.abs(seen.astype(int) - np.stack(FRAMES)).max() <= 6


def test_every_player_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "grey.mp4"
    write_mp4(path, FRAMES, fps=25)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_frames_of_another_size_are_scaled_and_shown_at_their_ticks(tmp_path: Path) -> None:
    path, tick = tmp_path / "ramp.mp4", Fraction(1, 90_000)
    ramp_HWC = np.zeros((96, 128, 3), np.uint8) + np.arange(128, dtype=np.uint8)[None, :, None]
    shown = [0, 9_000, 12_000, 45_000]
    with h264_file(str(path), (48, 64), 10, tick, {"crf": "5"}) as write:
        for ticks in shown:
            write(ramp_HWC, ticks)
    with open_video(path) as video:
        assert (len(video), video.size) == (4, (48, 64))
        np.testing.assert_allclose(video.times, np.array(shown) / 90_000, atol=1e-4)
        small_HWC = ramp_HWC.reshape(48, 2, 64, 2, 3).mean(axis=(1, 3))
        assert np.abs(video.frames([2])[0] - small_HWC).mean() < 3


def test_a_file_that_is_broken_off_is_not_kept(tmp_path: Path) -> None:
    def frames() -> Iterator[NDArray[np.uint8]]:
        yield from FRAMES[:3]
        raise RuntimeError("the source ended")

    with pytest.raises(RuntimeError, match="the source ended"):
        write_mp4(tmp_path / "a.mp4", frames(), fps=25)
    assert list(tmp_path.iterdir()) == []


def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"let it end in \.mp4"):
        write_mp4(tmp_path / "a.avi", FRAMES, fps=25)
    for frames in ([], [FRAMES[0][:47]], [FRAMES[0], FRAMES[0][:32]]):
        with pytest.raises(ValueError, match="frame"):
            write_mp4(tmp_path / "a.mp4", frames, fps=25)
    assert list(tmp_path.iterdir()) == []
