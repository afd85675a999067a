"""Numbers in the lines of a list, held against the files."""

import logging

import pytest

from cvrl.data.manifest import read_manifest
from cvrl.data.sources.frame_counts import are_counts
from cvrl.data.sources.text_lists import list_file
from cvrl.utils.errors import UserError


@pytest.fixture
def clips(make_video, tmp_path):
    """Files of 30, 31 and 32 frames."""
    for number, name in enumerate("abc"):
        make_video(tmp_path / f"{name}.mp4", 30 + number)
    return tmp_path


def labels(folder, *lines):
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    return list_file(folder / "list.txt")["label"].to_pylist()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("a.mp4 2 players", "b.mp4 3 players"), ["2 players", "3 players"]),
        (("a.mp4 2 players", "b.mp4 run"), ["2 players", "run"]),
        (("a.mp4 30 run", "b.mp4 31 jump"), ["run", "jump"]),
        (("a.mp4 30 0", "b.mp4 31 1"), ["0", "1"]),
        (("a.mp4 0 30", "b.mp4 1 31"), ["0", "1"]),
        (("a.mp4 run 30", "b.mp4 jump 31"), ["run", "jump"]),
        (("a.mp4 level 1", "b.mp4 level 2"), ["level 1", "level 2"]),
        (("a.mp4,run,30", "b.mp4,jump,31"), ["run", "jump"]),
        (("a.mp4,30,run", "b.mp4,31,jump"), ["run", "jump"]),
        (("a.mp4\t0\t30", "b.mp4\t1\t31"), ["0", "1"]),
        (("a.mp4 29 0", "b.mp4 32 1", "c.mp4 32 0"), ["0", "1", "0"]),  # a frame more or less
        (("a.mp4 30", "b.mp4 31"), [None, None]),
        (("a.mp4 130", "b.mp4 0"), ["130", "0"]),
        (("a.mp4 30 run", "gone.mp4 7 jump"), ["run", "jump"]),
    ],
)
def test_numbers_are_frame_counts_where_they_are_those_of_the_files(clips, lines, expected):
    assert labels(clips, *lines) == expected


@pytest.mark.parametrize(
    "lines",
    [
        ("a.mp4 3 5", "b.mp4 1 2"),
        ("a.mp4 0 300", "b.mp4 1 250"),
        ("a.mp4,3,5", "b.mp4,1,2"),
        ("a.mp4,run,5", "b.mp4,run,2"),
    ],
)
def test_numbers_that_are_no_frame_counts_are_refused(clips, lines):
    with pytest.raises(UserError) as caught:
        labels(clips, *lines)
    assert "no telling what the numbers mean, as the file has 30 frames" in str(caught.value)
    assert lines[0] in str(caught.value) and "3+5" in caught.value.remedy


def test_a_frame_count_on_some_lines_alone_is_refused(clips):
    with pytest.raises(UserError, match=r"mixed columns: 'a\.mp4 30 run' and 'b\.mp4 j"):
        labels(clips, "a.mp4 30 run", "b.mp4 jump")


def test_without_files_the_usual_columns_are_taken_and_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="cvrl"):
        assert labels(tmp_path, "a.mp4 300 0", "b.mp4 250 1") == ["0", "1"]
    assert "taken for a frame count; no file is there, as in 'a.mp4 300 0'" in caplog.text


def test_folders_of_frames_are_counted_too(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"{number}.jpg").touch()
    assert labels(tmp_path, "one 0 4", "two 1 4") == ["0", "1"]


def test_files_are_looked_for_below_the_root(clips, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.txt").write_text("a.mp4 0 30\nb.mp4 1 31\n")
    assert read_manifest(tmp_path / "lists" / "list.txt", root=clips).class_names == ["0", "1"]


@pytest.mark.parametrize("lines", [("a.mp4 3,5", "b.mp4 5,3"), ("a.mp4 3,5", "b.mp4 3;5")])
def test_joined_numbers_are_tags(clips, lines):
    (clips / "list.txt").write_text("\n".join(lines) + "\n")
    assert read_manifest(clips / "list.txt").class_names == ["3+5"]


def test_most_of_the_files_must_agree():
    assert are_counts(["5", "6", "7"], {0: 5, 1: 6, 2: 9})
    assert not are_counts(["5", "6", "7"], {0: 5, 1: 8, 2: 9})
    assert not are_counts(["5", None, "x"], {1: 5, 2: 5})
    assert not are_counts(["5"], {})
