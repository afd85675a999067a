"""Thumbnails: that they move, at the video's own speed, and live in the page."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvrl.report.media import FRAME_SECONDS, data_address, glimpse, strobe, webp
from cvrl.utils.errors import CorruptVideoError
from cvrl.video.reader import open_video


def opened(address: str) -> Image.Image:
    head, _, content = address.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def moving(frames: int = 5, height: int = 24, width: int = 32) -> np.ndarray:
    clip = np.zeros((frames, height, width, 3), np.uint8)
    for t in range(frames):
        clip[t, :, 4 * t : 4 * t + 8] = 255
    return clip


def test_a_thumbnail_loops_through_all_frames() -> None:
    picture = opened(webp(moving(5), side=24))
    assert picture.n_frames == 5
    assert picture.info["loop"] == 0
    shown = []
    for place in range(5):
        picture.seek(place)
        shown.append(np.asarray(picture.convert("RGB")).mean(axis=(0, 2)).argmax())
    assert shown == sorted(shown) and shown[0] < 8 < shown[-1]


def test_a_thumbnail_keeps_its_shape() -> None:
    assert opened(webp(moving(2, 48, 96), side=24)).size == (48, 24)
    assert opened(webp(moving(2, 96, 48), side=24)).size == (24, 48)


def test_each_frame_is_shown_as_long_as_asked() -> None:
    picture = opened(webp(moving(3), seconds=0.25))
    picture.seek(1)
    picture.load()
    assert picture.info["duration"] == 250


def test_a_single_frame_is_a_thumbnail_too() -> None:
    assert opened(webp(moving(1))).size == (128, 96)


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 4, 4), (2, 4, 4, 1)])
def test_what_is_no_clip_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"frames are \(T, H, W, 3\)"):
        webp(np.zeros(shape, np.uint8))


def test_an_address_holds_the_bytes() -> None:
    head, _, content = data_address(b"\x00\xff", "image/png").partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content) == b"\x00\xff"


def test_a_glimpse_runs_at_the_speed_of_the_video(video_folder: Path) -> None:
    path = video_folder / "right" / "right_5.mp4"  # 40 frames at 25 a second
    frames = glimpse(str(path), seconds=1.0)
    assert len(frames) == int(1.0 / FRAME_SECONDS) + 1
    with open_video(path) as video:
        every_second = video.frames(range(0, 2 * len(frames), 2))
    assert np.array_equal(frames, every_second)


def test_a_glimpse_may_start_later_and_ends_with_the_video(video_folder: Path) -> None:
    path = str(video_folder / "right" / "right_0.mp4")  # 24 frames, 0.96 s
    with open_video(path) as video:
        last = video.frames([len(video) - 1])
    assert len(glimpse(path, start=0.8, seconds=5.0)) == 2
    beyond = glimpse(path, start=9.0)
    assert np.array_equal(beyond, last)


def test_a_glimpse_of_a_broken_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("no video")
    with pytest.raises(CorruptVideoError) as caught:
        glimpse(str(path))
    assert caught.value.path == str(path)


def test_a_strobe_shows_what_moves_several_times() -> None:
    # A dot crosses a grey field: where it was at four moments it shines, the last the brightest.
    clip = np.full((10, 9, 40, 3), 100, np.uint8)
    for t in range(10):
        clip[t, 4, 4 * t] = 255
    picture = strobe(clip, flashes=4)
    levels = [int(picture[4, 4 * t, 0]) for t in (0, 3, 6, 9)]
    assert levels == sorted(levels) and levels[0] > 140 and levels[-1] == 255
    assert (picture[4, [4, 8, 16, 20]] == 100).all()
    assert (picture[0] == 100).all()


def test_a_strobe_overlooks_noise() -> None:
    rng = np.random.default_rng(0)
    clip = np.clip(120 + rng.normal(0, 3, (9, 8, 8, 3)), 0, 255).astype(np.uint8)
    background = np.median(clip, axis=0).round()
    assert np.abs(strobe(clip) - background).max() == 0
