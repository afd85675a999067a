"""Which names are those of videos."""

import pytest

from cvrl.data.sources.file_types import is_video_name, stem


@pytest.mark.parametrize(
    ("name", "is_video"),
    [("a.mp4", True), ("A.AVI", True), ("a.b.webm", True), ("a.txt", False), ("mp4", False)],
)
def test_is_video_name(name, is_video):
    assert is_video_name(name) is is_video


@pytest.mark.parametrize(
    ("path", "name"),
    [("a.mp4", "a"), ("x.y/a.MP4.avi", "x.y/a"), ("a.txt", "a.txt"), ("frames.1", "frames.1")],
)
def test_stem(path, name):
    assert stem(path) == name
