"""What a video may cost: each limit is named when it is passed, and files that hang are refused."""

import dataclasses
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.limits import PIXEL_SLACK, READ_SLACK, Limits, Work, check_file

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


def spend(seconds):
    """Keep the processor busy."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_work_without_progress_is_stopped_and_the_limit_named():
    work = Limits(max_seconds=0.05).work("a.mp4")
    for _ in range(4):
        spend(0.02)
        work.packet(1)
        spend(0.02)
        work.frame(1, 1)
    spend(0.06)
    with pytest.raises(CorruptVideoError, match=r"^a\.mp4: .* limit max_seconds=0\.05$"):
        work.check()


def test_waiting_is_no_work():
    """A busy machine, or a slow disk, is no fault of the file."""
    work = Limits(max_seconds=0.02).work("a.mp4")
    time.sleep(0.05)
    work.check()


def test_there_is_patience_for_a_disk_but_not_for_ever():
    """To FFmpeg a time-out of zero would be none at all."""
    assert Limits(max_seconds=2).work("a.mp4").patience == 10
    assert Limits(max_seconds=1e-9).work("a.mp4").patience > 0


def test_packets_are_counted_up_to_the_limit():
    work = Limits(max_packets=3).work("a.mp4")
    for _ in range(3):
        work.packet(0)
    with pytest.raises(CorruptVideoError, match=r"limit max_packets=3$"):
        work.packet(0)


@given(st.integers(1, 2**40), st.sampled_from([0.5, 8.0]))
def test_bytes_read_are_held_against_the_size_of_the_file(size, ratio):
    work = Work("a.mp4", Limits(max_read_ratio=ratio), size)
    work.packet(READ_SLACK + int(ratio * size))
    with pytest.raises(CorruptVideoError, match="limit max_read_ratio="):
        work.packet(1)


@given(st.integers(1, 2**30))
def test_pixels_decoded_are_held_against_the_size_of_the_file(size):
    work = Work("a.mp4", Limits(max_pixel_ratio=100), size)
    work.frame(1, PIXEL_SLACK + 100 * size)
    with pytest.raises(CorruptVideoError, match=r"limit max_pixel_ratio=100$"):
        work.frame(1, 1)


def test_a_file_of_too_many_bytes_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"12345")
    Limits(max_bytes=5).work(str(path))
    with pytest.raises(CorruptVideoError, match=r"5 bytes is over the limit max_bytes=4$"):
        Limits(max_bytes=4).work(str(path))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
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
