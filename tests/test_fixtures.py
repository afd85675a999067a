"""The files that other tests are fed are what they are said to be."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

MakeVideo = Callable[..., Path]


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_the_video_folder_holds_real_h264(video_folder: Path) -> None:
    files = sorted(video_folder.rglob("*.mp4"))
    assert [len(list((video_folder / name).iterdir())) for name in ("down", "right")] == [6, 6]
    assert len(files) == 12
    for index, path in enumerate(files):
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
        frames = decode(path)
        assert len(frames) == 24 + 16 * (index % 6) // 5
        assert (frames[0].height, frames[0].width) == (48, 64)


def test_only_motion_tells_the_classes_apart(video_folder: Path) -> None:
    for name, moving_axis in (("down", 0), ("right", 1)):
        first, later = (
            decode(video_folder / name / f"{name}_0.mp4")[t].to_ndarray(format="gray")
            for t in (0, 5)
        )
        centres = [np.argwhere(image > 130).mean(axis=0) for image in (first, later)]
        assert np.abs(centres[1] - centres[0]).argmax() == moving_axis


def test_a_lossless_video_gives_its_frames_back(make_video: MakeVideo, tmp_path: Path) -> None:
    frames_THWC = np.random.default_rng(0).integers(0, 256, (7, 16, 24, 3), dtype=np.uint8)
    path = make_video(
        tmp_path / "exact.mp4",
        frames_THWC,
        codec="libx264rgb",
        pix_fmt="rgb24",
        options={"crf": "0"},
    )
    decoded_THWC = np.stack([frame.to_ndarray(format="rgb24") for frame in decode(path)])
    np.testing.assert_array_equal(decoded_THWC, frames_THWC)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("b.webm", "libvpx-vp9"), ("c d.mkv", "libx264")]
)
def test_other_containers_are_written_too(
    make_video: MakeVideo, tmp_path: Path, name: str, codec: str
) -> None:
    path = make_video(tmp_path / "deep" / name, 9, codec=codec)
    assert len(decode(path)) == 9


def test_times_make_the_rate_vary(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "vary.mp4", 5, fps=10, times=[0, 1, 4, 5, 9])
    assert [round(frame.time or 0, 3) for frame in decode(path)] == [0, 0.1, 0.4, 0.5, 0.9]
