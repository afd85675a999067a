"""decord2 at its door: the frames asked for, or nothing at all."""

import sys

import numpy as np
import pytest

from cvrl.video.decord_reader import read_with_decord
from cvrl.video.reader import open_video


@pytest.fixture(scope="module")
def path(tmp_path_factory, make_video):
    return str(make_video(tmp_path_factory.mktemp("decord") / "a.mp4", 20))


def test_the_frames_are_those_of_pyav(path):
    frames = read_with_decord(path, [0, 7, 19], count=20)
    np.testing.assert_array_equal(frames, open_video(path).frames([0, 7, 19]))


def test_another_count_gives_nothing(path):
    assert read_with_decord(path, [0], count=19) is None


@pytest.mark.parametrize("indices", [[20], [-21]])
def test_frames_that_are_not_there_give_nothing(path, indices):
    assert read_with_decord(path, indices, count=20) is None


def test_what_is_no_video_gives_nothing(tmp_path):
    file = tmp_path / "a.mp4"
    file.write_text("no video")
    assert read_with_decord(str(file), [0], count=1) is None
    assert read_with_decord(str(tmp_path / "gone.mp4"), [0], count=1) is None


def test_without_decord_there_is_nothing(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    assert read_with_decord(path, [0], count=20) is None
