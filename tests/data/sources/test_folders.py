"""Folders as people have them, and the mistakes they make in them."""

import logging
import os
from pathlib import Path

import pyarrow as pa
import pytest

from cvrl.data.sources.folder_walk import left_out_words, walk_folder
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


# Which folders are classes


def labels(folder, *names, how="auto"):
    return columns(list_folder(touch(folder, *names), how))["label"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("auto", [None, "walk", None]),
        ("none", [None, None, None]),
        ("folder", ["unlabelled", "walk", None]),
        ("parent", ["new", "anna", None]),
    ],
)
def test_the_folder_that_is_the_class_can_be_named(tmp_path, how, expected):
    names = ("unlabelled/new/a.mp4", "walk/anna/b.mp4", "z.mp4")
    assert labels(tmp_path, *names, how=how) == expected


def test_unlabelled_beside_splits_is_a_split_without_labels(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "test/run/b.mp4", "unlabeled/c.mp4", "unlabeled/x/d.mp4")
    table = columns(list_folder(tmp_path))
    assert table["split"] == ["test", "train", "unlabeled", "unlabeled"]
    assert table["label"] == ["run", "run", None, None]


def test_splits_beside_another_folder_are_refused_and_can_be_classes(tmp_path):
    names = ("train/run/a.mp4", "test/run/b.mp4", "more/c.mp4")
    with pytest.raises(UserError, match=r"holds split folders \(test, train\) and more; "):
        list_folder(touch(tmp_path, *names))
    assert columns(list_folder(tmp_path, "folder"))["label"] == ["more", "test", "train"]


def test_the_log_says_which_folders_became_classes(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="cvrl"):
        labels(tmp_path, "run/1.mp4", "run/2.mp4", "run/3.mp4", "jump/4.mp4", "jump/5.mp4")
    assert "the first folder below it is the class (2 classes: jump, run)" in caplog.text
    assert "are its folders classes?" not in caplog.text


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (("raw/1.mp4", "raw/2.mp4", "run/3.mp4"), "'raw' is hardly the name of an action"),
        (("2024-05-01/1.mp4", "2024-05-02/2.mp4", "2024-05-02/3.mp4"), "look like dates"),
        (("cam0/1.mp4", "cam0/2.mp4", "cam1/3.mp4"), "'cam0', 'cam1' look like cameras"),
        (("fall/left.mp4", "fall/right.mp4", "trip/left.mp4", "trip/right.mp4"), "same names"),
        (("run/1.mp4", "jump/2.mp4"), "each has one video"),
        (("a/1.mp4", "b/2.mp4", "c/3.mp4", "c/4.mp4"), "there are 3 for 4 videos"),
    ],
)
def test_folders_that_are_hardly_classes_are_questioned(tmp_path, names, doubt, caplog):
    assert None not in labels(tmp_path, *names)
    assert doubt in caplog.text and "--labels none, folder or parent" in caplog.text
    caplog.clear()
    labels(tmp_path, how="folder")
    assert "are its folders classes?" not in caplog.text


# Files left out, and folders of frames


def test_every_file_is_listed_or_left_out_with_its_reason(tmp_path):
    touch(tmp_path, "run/a.mxf", "run/b.RMVB", "run/c.y4m", "run/d.MOD", "run/x.mp4.part")
    touch(tmp_path, "run/notes.txt", "run/README", "run/thumb.jpg", ".DS_Store")
    (tmp_path / "run" / "film").write_bytes(b"\0\0\0\x20ftypisom")
    (tmp_path / "run" / "tape.xyz").write_bytes(b"RIFF\0\0\0\0AVI LIST")
    (tmp_path / "run" / "sound.xyz").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    found = walk_folder(tmp_path)
    names = ("a.mxf", "b.RMVB", "c.y4m", "d.MOD", "film", "tape.xyz")
    assert found.videos == [f"run/{name}" for name in names]
    assert sorted(found.left_out) == [
        (".DS_Store", "hidden"),
        *(("run/README", "no suffix"), ("run/notes.txt", ".txt"), ("run/sound.xyz", ".xyz")),
        *(("run/thumb.jpg", "images"), ("run/x.mp4.part", ".part")),
    ]
    assert left_out_words(found.left_out).startswith("1 hidden (.DS_Store), 1 no suffix")


def test_optical_flow_beside_frames_is_left_out(tmp_path, caplog):
    for video in ("v_run_g01_c01", "v_jump_g02_c01"):
        touch(tmp_path, *(f"{video}/{plane}/1.jpg" for plane in "iuv"))
    table = columns(list_folder(tmp_path))
    assert table["path"] == ["v_jump_g02_c01/i", "v_run_g01_c01/i"]
    assert table["label"] == [None, None] and table["group"] == ["jump_g02", "run_g01"]
    assert "u, v left out as optical flow" in caplog.text


@pytest.mark.parametrize(
    ("pictures", "others"), [("rgb", ("flow_x", "flow_y")), ("JPEGImages", ("Annotations",))]
)
def test_folders_of_flow_or_masks_around_the_classes_are_left_out(tmp_path, pictures, others):
    tops = (pictures, *others)
    touch(tmp_path, *(f"{top}/{name}/1/1.jpg" for top in tops for name in ("run", "jump")))
    table = columns(list_folder(tmp_path))
    assert table["label"] == ["jump", "run"]
    assert all(path.startswith(f"{pictures}/") for path in table["path"])


def test_letters_of_an_alphabet_are_classes(tmp_path):
    names = [f"{letter}/{number}.mp4" for letter in "ghiuvw" for number in (1, 2, 3)]
    assert set(labels(tmp_path, *names)) == set("ghiuvw")


def test_a_folder_of_a_cover_alone_is_no_video(tmp_path):
    touch(tmp_path, "run/a.mp4", "jump/folder.jpg")
    assert columns(list_folder(tmp_path))["path"] == ["run/a.mp4"]


def test_each_numbering_in_a_folder_is_a_video(tmp_path, caplog):
    names = [f"{name}_{number:04}.jpg" for name in "ab" for number in range(9)]
    touch(tmp_path, *(f"{label}/{name}" for label in ("run", "jump") for name in names))
    touch(tmp_path, "run/c_0000.jpg", "walk/0.jpg", "walk/1.jpg")
    with caplog.at_level("INFO", "cvrl"):
        table = columns(list_folder(tmp_path))
    numberings = [f"{label}/{name}_%d.jpg" for label in ("jump", "run") for name in "ab"]
    assert table["path"] == [*numberings, "walk"]
    assert table["label"] == ["jump", "jump", "run", "run", None]
    assert "holds 2 numberings of frames, each read as a video: a_%d.jpg, b_%d.jpg" in caplog.text
    assert "left out: 1 images (run/c_0000.jpg)" in caplog.text


@pytest.mark.parametrize(
    ("video", "frames"),
    [("run/a.mp4", "run/a/1.jpg"), ("videos/run/a.mp4", "frames/run/a/1.jpg")],
)
def test_the_frames_of_a_listed_video_are_left_out(tmp_path, video, frames, caplog):
    other = video.replace("run/a", "jump/b")
    table = columns(list_folder(touch(tmp_path, video, other, frames)))
    assert table["path"] == [other, video] and table["label"] == ["jump", "run"]
    assert "1 folders of frames are left out, as their videos are there" in caplog.text


def test_names_that_are_not_utf8_are_listed_with_their_bytes_escaped(tmp_path, caplog):
    for name in (b"run/caf\xe9.mp4", b"caf\xe9/a.mp4", b"run/caf\xe8.txt"):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    with caplog.at_level("INFO", "cvrl"):
        table = columns(list_folder(tmp_path))
    assert table["path"] == [r"caf\xe9/a.mp4", r"run/caf\xe9.mp4"]
    assert table["label"] == [r"caf\xe9", "run"]
    assert r"left out: 1 .txt (run/caf\xe8.txt)" in caplog.text and caplog.text.encode()


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
