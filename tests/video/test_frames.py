"""The face of a video: which indices are taken, and what becomes of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cvrl.video.frame_folder import FramesFolder
from cvrl.video.frames import Video
from cvrl.video.limits import Limits

GREYS = list(range(0, 200, 20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten frames of 4x6 pixels, each of one grey."""
    folder = tmp_path_factory.mktemp("frames")
    for index, grey in enumerate(GREYS):
        Image.new("L", (6, 4), grey).save(folder / f"{index}.png")
    return str(folder)


@pytest.fixture
def video(folder):
    return Video(folder, FramesFolder(folder, fps=25.0, limits=Limits()))


def _greys(frames_NHWC):
    return frames_NHWC[:, 0, 0, 0].tolist()


def test_facts_of_a_video(video, folder):
    assert (len(video), video.fps, video.size, video.path) == (10, 25.0, (4, 6), folder)
    assert video.times.dtype == np.float64
    np.testing.assert_allclose(video.times, np.arange(10) / 25)


@given(indices=st.lists(st.integers(0, 9), max_size=30))
def test_any_order_and_any_repeats(folder, indices):
    frames = Video(folder, FramesFolder(folder, fps=25.0, limits=Limits())).frames(indices)
    assert frames.shape == (len(indices), 4, 6, 3) and frames.dtype == np.uint8
    assert _greys(frames) == [GREYS[index] for index in indices]


def test_each_frame_is_decoded_once_and_in_order(folder):
    asked = []

    class Spy(FramesFolder):
        def read(self, indices):
            asked.append(list(indices))
            return super().read(indices)

    Video(folder, Spy(folder, fps=25.0, limits=Limits())).frames([7, 2, 7, 7, 0, 2])
    assert asked == [[0, 2, 7]]


@pytest.mark.parametrize(
    "indices",
    [
        [3, 1],
        (3, 1),
        range(3, 0, -2),
        np.array([3, 1]),
        np.array([3, 1], np.uint8),
        torch.tensor([3, 1]),
        [np.int32(3), 1],
    ],
    ids=["list", "tuple", "range", "array", "uint8", "tensor", "scalars"],
)
def test_indices_of_many_kinds(video, indices):
    assert _greys(video.frames(indices)) == [60, 20]


@pytest.mark.parametrize("indices", [[], (), np.array([]), range(0)])
def test_no_frames_asked(video, indices):
    frames = video.frames(indices)
    assert frames.shape == (0, 4, 6, 3) and frames.dtype == np.uint8


@pytest.mark.parametrize("indices", [[10], [-1], [0, 10**12], [0, -10]])
def test_out_of_range_names_the_range(video, indices):
    with pytest.raises(IndexError, match=r"of 10$"):
        video.frames(indices)


@pytest.mark.parametrize("indices", [[0.0], [[0, 1]], 3, ["0"], [True], [None]], ids=str)
def test_what_is_no_row_of_integers(video, indices):
    with pytest.raises(TypeError, match="row of integers"):
        video.frames(indices)


def test_frames_are_the_callers_own(video):
    frames = video.frames([0, 0])
    frames[:] = 9
    assert _greys(video.frames([0])) == [0]


def test_a_closed_video_says_so(video, folder):
    with video as same:
        assert same is video and len(same.frames([0])) == 1
    with pytest.raises(ValueError, match=f"^{folder}: the video is closed$"):
        video.frames([0])
    video.close()
    assert len(video) == 10
