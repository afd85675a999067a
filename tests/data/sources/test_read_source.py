"""Folders, lists and single videos, told apart."""

import os
from pathlib import Path

import pytest

from cvrl.data.sources.read_source import read_source
from cvrl.utils.errors import UserError


def test_a_folder_and_a_list_of_it(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.mp4").touch()
    (tmp_path / "list.txt").write_text("run/a.mp4 run\n")
    for source in (tmp_path, tmp_path / "list.txt"):
        folder, table = read_source(source)
        assert folder == tmp_path
        assert table["path"].to_pylist() == ["run/a.mp4"]
        assert table["label"].to_pylist() == ["run"]


@pytest.mark.parametrize("name", ["a.mp4", "a.MXF", "tape", "tape.xyz"])
def test_a_single_video_whatever_its_suffix(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0\0\0\x20ftypisom")
    folder, table = read_source(tmp_path / name)
    assert folder == tmp_path and table.to_pydict() == {"path": [name]}


def test_a_root_for_a_list(tmp_path):
    (tmp_path / "list.txt").write_text("a.mp4\n")
    assert read_source(tmp_path / "list.txt", "/data")[0] == Path("/data")


@pytest.mark.parametrize("labels", ["folder", "parent"])
def test_folders_are_no_classes_of_a_list(tmp_path, labels):
    (tmp_path / "list.txt").write_text("run/a.mp4 x\n")
    with pytest.raises(UserError, match="is a list, whose labels are its column 'label'"):
        read_source(tmp_path / "list.txt", labels=labels)


def test_labels_set_aside(tmp_path):
    (tmp_path / "list.txt").write_text("run/a.mp4 x\n")
    assert read_source(tmp_path / "list.txt", labels="none")[1].column_names == ["path"]


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file or folder; check the path"):
        read_source(tmp_path / "gone")


@pytest.mark.parametrize("given", [b"/caf\xe9", rb"/caf\xe9"])
def test_a_source_and_root_whose_name_is_not_utf8(tmp_path, given, caplog):
    caplog.set_level("INFO", "cvrl")
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "a.mp4").touch()
    (tmp_path / "list.txt").write_text("run/a.mp4\n")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + given))
    for source, root in ((path, None), (tmp_path / "list.txt", path)):
        read, table = read_source(source, root)
        assert read == folder and table["path"].to_pylist() == ["run/a.mp4"]
    assert r"caf\xe9: the first folder" in caplog.text and "\udce9" not in caplog.text


def test_one_numbering_of_a_folder_is_a_single_video(tmp_path):
    (tmp_path / "a_1.jpg").touch()
    folder, table = read_source(tmp_path / "a_%d.jpg")
    assert folder == tmp_path and table.to_pydict() == {"path": ["a_%d.jpg"]}
