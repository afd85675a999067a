"""What a video holds, measured by decoding it: always an answer, never an error."""

import csv

import numpy as np
import pytest
from PIL import Image

from cvrl.preparation import decode_check as module
from cvrl.preparation.decode_check import Measured, check_decodes
from cvrl.utils.errors import CorruptVideoError
from cvrl.video.reader import Limits


def test_a_video(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", 30, fps=25)
    assert check_decodes(str(path)) == Measured(
        fps=25.0, frames=30, height=48, width=64, duration=1.2, status="ok", reason=None
    )


def test_a_folder_of_frames(tmp_path):
    for i in range(5):
        Image.new("RGB", (32, 16)).save(tmp_path / f"{i}.png")
    found = check_decodes(str(tmp_path))
    assert (found.status, found.frames, found.height, found.width) == ("ok", 5, 16, 32)


def test_varying_rate_is_timed_by_its_stamps(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", 4, fps=10, times=[0, 1, 2, 12])
    found = check_decodes(str(path))
    assert found.frames == 4
    assert found.duration > 1.2


def test_a_missing_file():
    assert check_decodes("/no/such.mp4") == Measured(status="missing", reason="no such file")


def test_a_file_that_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("not a video")
    found = check_decodes(str(path))
    assert found.status == "corrupt" and found.reason
    assert found.frames is None and found.height is None


def test_a_file_damaged_in_the_middle(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", 120)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    found = check_decodes(str(path))
    assert found.status in ("ok", "corrupt")  # a decoder may conceal it
    assert (found.frames is None) == (found.status == "corrupt")


def test_limits_hold(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", 30)
    found = check_decodes(str(path), limits=Limits(max_pixels=100))
    assert found.status == "corrupt" and "max_pixels" in found.reason


ASKED: list[list[int]] = []


class Counting:
    """Stands for a video of 10 frames of 4x4 and keeps what is asked of it."""

    fps = 10.0
    size = (4, 4)

    def __init__(self, path, **_):
        self.times = np.arange(10) / 10

    def __len__(self):
        return 10

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def frames(self, indices):
        ASKED.append(list(indices))


def test_blocks_cover_every_frame_once_and_bound_memory(monkeypatch):
    ASKED.clear()
    beats = []
    monkeypatch.setattr(module, "open_video", Counting)
    monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 4 * 4 * 3)
    found = check_decodes("/", lambda: beats.append(1))
    assert ASKED == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(beats) == 3
    assert (found.frames, found.duration) == (10, 1.0)


def test_a_frame_larger_than_a_block_is_decoded_alone(monkeypatch):
    ASKED.clear()
    monkeypatch.setattr(module, "open_video", Counting)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    assert check_decodes("/").frames == 10
    assert [frame for block in ASKED for frame in block] == list(range(10)) and len(ASKED) == 10


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (
            CorruptVideoError("a.mp4", "frame 7 does not decode"),
            "corrupt",
            "frame 7 does not decode",
        ),
        (MemoryError("too much"), "error", "MemoryError: too much"),
        (RuntimeError("odd"), "error", "RuntimeError: odd"),
        (
            PermissionError(13, "Permission denied"),
            "error",
            "PermissionError: [Errno 13] Permission",
        ),
    ],
)
def test_whatever_a_decoder_does_is_the_files(monkeypatch, error, status, reason):
    class Raising(Counting):
        def frames(self, indices):
            raise error

    monkeypatch.setattr(module, "open_video", Raising)
    found = check_decodes("/")
    assert found.status == status and found.reason.startswith(reason)
    assert (found.fps, found.height, found.frames) == (10.0, 4, None)


@pytest.mark.real
def test_what_really_decodes_of_the_odd_formats(real_data):
    """Against the count of PyAV's plain sequential decode, kept beside the files."""
    folder = real_data / "formats"
    with open(folder / "manifest.csv", newline="") as stream:
        listed = {row["file"]: row for row in csv.DictReader(stream)}
    chosen = [
        "decord/corrupted.mp4",
        "decord/video_90.mov",
        "derived/UPPER.MP4",
        "derived/audio_only.mp4",
        "derived/gif_10fps.gif",
        "derived/mpeg4_bframes.avi",
        "derived/one_frame.mp4",
        "derived/raw_annexb.h264",
        "derived/text_named.mp4",
        "derived/truncated_50pct.ts",
        "derived/vfr_5s_gap.mp4",
        "derived/zero_bytes.mp4",
    ]
    for name in chosen:
        found = check_decodes(str(folder / name))
        assert (found.status == "ok") == (listed[name]["status"] == "ok"), (name, found)
        if found.status == "ok":
            assert found.frames == int(listed[name]["decoded"]), name
