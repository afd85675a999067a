"""What a video may cost: each limit is named when it is passed, and files that hang are refused."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.limits import Clock, Limits, check_file

sides = st.integers(1, 20_000)


@given(sides, sides, st.integers(1, 10**8))
def test_a_frame_passes_up_to_the_limit(height, width, most):
    limits = Limits(max_pixels=most)
    if height * width <= most:
        limits.check_size("a.mp4", height, width)
    else:
        with pytest.raises(CorruptVideoError, match=f"limit max_pixels={most}$") as caught:
            limits.check_size("a.mp4", height, width)
        assert f"{width}x{height}" in caught.value.reason


def test_8k_is_let_through_and_16k_is_not():
    Limits().check_size("a.mp4", 4320, 7680)
    with pytest.raises(CorruptVideoError):
        Limits().check_size("a.mp4", 8640, 15360)


def test_ffmpeg_is_given_room_for_padding():
    limits = Limits(max_pixels=1920 * 1080)
    assert int(limits.decoder_options()["max_pixels"]) > 1920 * 1088


def test_frames_are_counted_up_to_the_limit():
    Limits(max_frames=3).check_count("a.mp4", 3)
    with pytest.raises(CorruptVideoError, match=r"^a\.mp4: .*max_frames=3$"):
        Limits(max_frames=3).check_count("a.mp4", 4)


def test_the_clock_stops_work_and_names_the_limit():
    clock = Limits(max_seconds=0.02).clock("a.mp4")
    clock.check()
    time.sleep(0.03)
    with pytest.raises(CorruptVideoError, match=r"^a\.mp4: .*max_seconds=0\.02$"):
        clock.check()


def test_no_time_left_is_never_zero():
    """To FFmpeg a time-out of zero would be none at all."""
    clock = Clock("a.mp4", 1e-9)
    time.sleep(0.001)
    assert 0 < clock.left() < 0.01


@pytest.mark.parametrize("name", ["max_pixels", "max_frames", "max_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_nothing_can_keep_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


def test_a_regular_file_passes(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    check_file(str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "no such file"),
        ("missing/below", "no such file"),
        ("empty", "the file is empty"),
        ("pipe", "not a regular file"),
        ("full/below", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("null\0character", "embedded null byte"),
        ("dangling", "no such file"),
    ],
)
def test_what_is_no_file_is_named(tmp_path, name, reason):
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_bytes(b"x")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CorruptVideoError) as caught:
        check_file(f"{tmp_path}/{name}")
    assert reason in caught.value.reason
    assert caught.value.path == f"{tmp_path}/{name}"
