"""Written videos: whole, in order, and playable everywhere."""

from pathlib import Path

import av
import numpy as np
import pytest

from cvrl.data.encode import write_mp4
from cvrl.data.video import open_video
from cvrl.utils.errors import UserError

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


def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"let it end in \.mp4"):
        write_mp4(tmp_path / "a.avi", FRAMES, fps=25)
    for frames in ([], [FRAMES[0][:47]], [FRAMES[0], FRAMES[0][:32]]):
        with pytest.raises(ValueError, match="frame"):
            write_mp4(tmp_path / "a.mp4", frames, fps=25)
    assert list(tmp_path.iterdir()) == []
