"""Folders as people have them, and the mistakes they make in them."""

import logging
import os
from pathlib import Path

import pyarrow as pa
import pytest

from cvrl.data.sources.folders import list_folder
from cvrl.utils.errors import UserError


def touch(root: Path, *names: str) -> Path:
    """Make empty files below a folder; a name that ends in / is an empty folder."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def columns(table: pa.Table) -> dict[str, list[str | None]]:
    return {name: table[name].to_pylist() for name in table.column_names}


def test_a_folder_a_class(tmp_path):
    touch(tmp_path, "run/b.mp4", "run/a.avi", "jump/c.webm", "jump/notes.txt")
    assert columns(list_folder(tmp_path)) == {
        "path": ["jump/c.webm", "run/a.avi", "run/b.mp4"],
        "label": ["jump", "run", "run"],
        "split": [None, None, None],
    }


def test_a_flat_folder_has_no_labels(tmp_path):
    touch(tmp_path, "b.mp4", "a.MP4", "c.jpg", "readme.txt")
    assert columns(list_folder(tmp_path)) == {
        "path": ["a.MP4", "b.mp4"],
        "label": [None, None],
        "split": [None, None],
    }


def test_deeper_folders_take_the_topmost_name_as_class(tmp_path):
    touch(tmp_path, "run/anna/a.mp4", "run/ben/outdoor/b.mp4", "jump/anna/c.mp4")
    table = list_folder(tmp_path)
    assert columns(table)["label"] == ["jump", "run", "run"]


def test_a_folder_around_the_classes_is_looked_through(tmp_path):
    touch(tmp_path, "UCF/videos/run/a.mp4", "UCF/videos/jump/b.mp4", "licence.txt")
    table = list_folder(tmp_path)
    assert columns(table)["label"] == ["jump", "run"]
    assert columns(table)["path"] == ["UCF/videos/jump/b.mp4", "UCF/videos/run/a.mp4"]


def test_a_single_class_is_named_by_the_topmost_folder(tmp_path):
    touch(tmp_path, "run/a.mp4", "run/b.mp4")
    assert columns(list_folder(tmp_path))["label"] == ["run", "run"]


def test_a_single_class_with_folders_below_keeps_its_name_where_videos_lie_in_it(tmp_path):
    touch(tmp_path, "run/a.mp4", "run/more/b.mp4")
    assert columns(list_folder(tmp_path))["label"] == ["run", "run"]


@pytest.mark.parametrize("around", ["", "kinetics/"])
def test_split_folders_come_before_the_classes(tmp_path, around):
    touch(
        tmp_path,
        *(around + name for name in ("train/run/a.mp4", "val/run/b.mp4", "val/jump/c.mp4")),
    )
    table = columns(list_folder(tmp_path))
    assert table["split"] == ["train", "val", "val"]
    assert table["label"] == ["run", "jump", "run"]


def test_split_folders_without_classes(tmp_path):
    touch(tmp_path, "train/a.mp4", "test/b.mp4")
    table = columns(list_folder(tmp_path))
    assert table["split"] == ["test", "train"]
    assert table["label"] == [None, None]


def test_a_single_split_folder(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "train/jump/a.mp4")
    table = columns(list_folder(tmp_path))
    assert table["split"] == ["train", "train"]
    assert table["label"] == ["jump", "run"]


def test_a_class_may_be_called_like_a_split_if_others_are_not(tmp_path):
    touch(tmp_path, "test/a.mp4", "exam/b.mp4")
    table = columns(list_folder(tmp_path))
    assert table["label"] == ["exam", "test"]
    assert table["split"] == [None, None]


def test_folders_of_frames_are_videos(tmp_path):
    touch(tmp_path, "run/one/1.jpg", "run/one/2.jpg", "run/two/1.PNG", "run/three.mp4")
    touch(tmp_path, "jump/four/1.jpeg", "jump/four/Thumbs.db")
    table = columns(list_folder(tmp_path))
    assert table["path"] == ["jump/four", "run/one", "run/three.mp4", "run/two"]
    assert table["label"] == ["jump", "run", "run", "run"]


def test_folders_of_frames_without_classes(tmp_path):
    touch(tmp_path, "one/1.jpg", "two/1.jpg")
    table = columns(list_folder(tmp_path))
    assert table["path"] == ["one", "two"]
    assert table["label"] == [None, None]


def test_a_folder_that_is_itself_frames(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    assert columns(list_folder(tmp_path))["path"] == ["."]


def test_pictures_beside_videos_are_no_video(tmp_path):
    touch(tmp_path, "run/a.mp4", "run/a_thumbnail.jpg", "run/posters/p.mp4", "run/posters/p.png")
    assert columns(list_folder(tmp_path))["path"] == ["run/a.mp4", "run/posters/p.mp4"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    touch(tmp_path, "run/a.mp4", "run/._a.mp4", ".cache/b.mp4", "jump/b.mp4")
    assert columns(list_folder(tmp_path))["path"] == ["jump/b.mp4", "run/a.mp4"]


def test_names_with_blanks_and_other_letters(tmp_path):
    touch(tmp_path, "Brush Hair/ein Vidéo 视频.mp4", "Clap/a,b.mp4")
    assert columns(list_folder(tmp_path))["path"] == [
        "Brush Hair/ein Vidéo 视频.mp4",
        "Clap/a,b.mp4",
    ]


def test_a_link_that_leads_back_up_ends(tmp_path):
    touch(tmp_path, "run/a.mp4", "jump/b.mp4")
    os.symlink(tmp_path, tmp_path / "run" / "again")
    assert columns(list_folder(tmp_path))["path"] == ["jump/b.mp4", "run/a.mp4"]


def test_a_linked_class_counts(tmp_path):
    elsewhere = touch(tmp_path / "elsewhere", "a.mp4")
    root = touch(tmp_path / "videos", "run/b.mp4")
    os.symlink(elsewhere, root / "jump")
    assert columns(list_folder(root))["label"] == ["jump", "run"]


def test_videos_beside_class_folders_are_unlabelled_and_named(tmp_path, caplog):
    touch(tmp_path, "run/a.mp4", "jump/b.mp4", "demo.mp4")
    with caplog.at_level(logging.WARNING, logger="cvrl"):
        table = columns(list_folder(tmp_path))
    assert table["label"] == [None, "jump", "run"]
    assert "1 videos lie beside the class folders" in caplog.text


def test_a_folder_of_other_things_beside_the_classes_is_named(tmp_path, caplog):
    touch(tmp_path, "run/a.mp4", "jump/b.mp4", "annotations/train.txt")
    with caplog.at_level(logging.WARNING, logger="cvrl"):
        assert len(list_folder(tmp_path)) == 2
    assert "annotations: holds no videos" in caplog.text


def test_an_empty_class_folder_is_a_mistake(tmp_path):
    touch(tmp_path, "run/a.mp4", "jump/b.mp4", "walk/")
    with pytest.raises(UserError, match=r"walk: the class folder is empty; fill it or remove it"):
        list_folder(tmp_path)


def test_an_empty_class_folder_of_a_split_is_a_mistake_too(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "test/run/b.mp4", "test/jump/")
    with pytest.raises(UserError, match=r"test/jump: the class folder is empty"):
        list_folder(tmp_path)


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("run/",), ("run/notes.txt",)])
def test_a_folder_without_videos(tmp_path, names):
    touch(tmp_path, *names)
    with pytest.raises(UserError, match=r"holds no videos; give one that holds \.mp4"):
        list_folder(tmp_path)


def test_a_folder_that_cannot_be_listed(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        list_folder(tmp_path / "gone")


@pytest.mark.real
def test_real_folders(real_data):
    ucf = list_folder(real_data / "ucf101_4")
    assert len(ucf) == 400
    assert sorted(set(ucf["label"].to_pylist())) == [
        "BabyCrawling",
        "BodyWeightSquats",
        "JumpingJack",
        "PushUps",
    ]
    formats = list_folder(real_data / "formats")["path"].to_pylist()
    assert "derived/frames_png" in formats and "derived/UPPER.MP4" in formats
    assert "derived/cover.png" not in formats and "manifest.csv" not in formats
