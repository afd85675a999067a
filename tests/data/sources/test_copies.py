"""Files that are one under several names, and byte-identical copies."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.sources.copies import same_contents, same_files


def files(root, **contents):
    """Files by name and content; their paths in the order of the names."""
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return [str(root / name) for name in contents]


@pytest.mark.parametrize("spelling", ["dot", "up", "symlink", "hardlink", "folder link"])
def test_one_file_under_two_spellings(tmp_path, spelling):
    (path,) = files(tmp_path, a=b"x")
    other = tmp_path / "b"
    if spelling == "symlink":
        other.symlink_to(path)
    elif spelling == "hardlink":
        os.link(path, other)
    elif spelling == "folder link":
        other.symlink_to(tmp_path)
        other = other / "a"
    else:
        other = f"{tmp_path}/{'.' if spelling == 'dot' else '../' + tmp_path.name}/a"
    (unlike,) = files(tmp_path, c=b"x")
    assert same_files([path, unlike, str(other)]) == [[0, 2]]
    assert same_contents([path, unlike, str(other)]) == [[0, 1, 2]]


def test_missing_files_are_known_by_their_path(tmp_path):
    paths = [f"{tmp_path}/a", f"{tmp_path}/./a", f"{tmp_path}/b"]
    assert same_files(paths) == [[0, 1]]
    assert same_contents(paths) == [[0, 1]]


def test_contents_of_one_size_that_differ_in_the_middle_alone(tmp_path):
    ends = b"x" * 2**17
    paths = files(
        tmp_path, a=ends + b"1" + ends, b=ends + b"2" + ends, c=ends + b"1" + ends, d=b"", e=b"1"
    )
    assert same_contents(paths) == [[0, 2]]


def test_folders_of_frames_are_compared_by_their_frames(tmp_path):
    for name, frames in (("one", b"ab"), ("two", b"ab"), ("three", b"ba"), ("four", b"abc")):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(frames):
            (tmp_path / name / f"{number}.jpg").write_bytes(bytes([frame]))
    (tmp_path / "empty").mkdir()
    paths = [str(tmp_path / name) for name in ("one", "two", "three", "four", "empty")]
    assert same_contents(paths) == [[0, 1]]


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a")
    os.mkfifo(tmp_path / "b")
    assert same_contents([str(tmp_path / "a"), str(tmp_path / "b")]) == []


@given(
    contents=st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"ba"]), max_size=8),
    links=st.lists(st.integers(0, 7), max_size=4),
)
def test_equal_contents_and_nothing_else(tmp_path_factory, contents, links):
    """Against comparing all pairs of files whole."""
    folder = tmp_path_factory.mktemp("files")
    paths = files(folder, **{f"f{i}": content for i, content in enumerate(contents)})
    for number, target in enumerate(links):
        if target < len(contents):
            os.link(paths[target], folder / f"link{number}")
            paths.append(str(folder / f"link{number}"))
            contents = [*contents, contents[target]]
    expected = {}
    for row, content in enumerate(contents):
        expected.setdefault(content, []).append(row)
    found = same_contents(paths)
    assert sorted(found) == sorted(rows for rows in expected.values() if len(rows) > 1)
    assert all(any(set(rows) <= set(whole) for whole in found) for rows in same_files(paths))
