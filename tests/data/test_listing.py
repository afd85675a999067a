"""Folders, lists and CSV files as people have them, and the mistakes they make in them."""

import logging
import os
from pathlib import Path

import pyarrow as pa
import pytest

from cvrl.data.listing import infer_groups, is_video_name, list_file, list_folder
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


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def columns(table: pa.Table) -> dict[str, list[str | None]]:
    return {name: table[name].to_pylist() for name in table.column_names}


# Folders


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


@pytest.mark.parametrize(
    ("name", "is_video"),
    [("a.mp4", True), ("A.AVI", True), ("a.b.webm", True), ("a.txt", False), ("mp4", False)],
)
def test_is_video_name(name, is_video):
    assert is_video_name(name) is is_video


# Lines of path and label


@pytest.mark.parametrize(
    ("text", "paths", "labels"),
    [
        ("a.mp4 0\nb.mp4 1\n", ["a.mp4", "b.mp4"], ["0", "1"]),
        ("a.mp4 run\nb.mp4 jump", ["a.mp4", "b.mp4"], ["run", "jump"]),
        ("a.mp4\t0\nb.mp4\t1\n", ["a.mp4", "b.mp4"], ["0", "1"]),
        ("a.mp4,0\nb.mp4, 1\n", ["a.mp4", "b.mp4"], ["0", "1"]),
        ("a.mp4   0\r\n  b.mp4 1  \r\n", ["a.mp4", "b.mp4"], ["0", "1"]),
        ("\ufeffa.mp4 0\nb.mp4 1\n", ["a.mp4", "b.mp4"], ["0", "1"]),
        ("# of 2019\na.mp4 0\n\nb.mp4 1\n\n", ["a.mp4", "b.mp4"], ["0", "1"]),
        ("a.mp4 300 0\nb.mp4 12 1\n", ["a.mp4", "b.mp4"], ["0", "1"]),
        ("a.mp4 300 ride a bike\nb.mp4 12 run\n", ["a.mp4", "b.mp4"], ["ride a bike", "run"]),
        ("a.mp4 ride a bike\nb.mp4 run\n", ["a.mp4", "b.mp4"], ["ride a bike", "run"]),
        ("my clips/a b.mp4 0\nc.mp4 1\n", ["my clips/a b.mp4", "c.mp4"], ["0", "1"]),
        ("x.mp4/take 2.avi 0\nc.mp4 1\n", ["x.mp4/take 2.avi", "c.mp4"], ["0", "1"]),
        ("run/one 300 0\njump/two 12 1\n", ["run/one", "jump/two"], ["0", "1"]),
        ("run/one 0\njump/two 1\n", ["run/one", "jump/two"], ["0", "1"]),
        ("run/one 0\njump/two.avi 1\n", ["run/one", "jump/two.avi"], ["0", "1"]),
        ("one,0\ntwo,1\n", ["one", "two"], ["0", "1"]),
        ("#122_Cleaning.avi 0\n#\n#1 fan.avi 1\n", ["#122_Cleaning.avi", "#1 fan.avi"], ["0", "1"]),
        ('say "hi".mp4 0\nb.mp4 1\n', ['say "hi".mp4', "b.mp4"], ["0", "1"]),
    ],
)
def test_lines_of_path_and_label(tmp_path, text, paths, labels):
    table = list_file(write(tmp_path / "list.txt", text))
    assert columns(table) == {"path": paths, "label": labels}


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("a.mp4\nb c.mp4\n", ["a.mp4", "b c.mp4"]),
        ("run/one\njump/two\n", ["run/one", "jump/two"]),
        ("/data/a.mp4\n", ["/data/a.mp4"]),
    ],
)
def test_lines_of_paths_alone(tmp_path, text, paths):
    assert columns(list_file(write(tmp_path / "list.txt", text))) == {"path": paths}


@pytest.mark.parametrize("text", ["a.mp4\nb.mp4 x\n", "a.mp4\nb.mp4 300 x\n"])
def test_a_line_of_a_path_alone_has_no_label(tmp_path, text):
    table = list_file(write(tmp_path / "list.txt", text))
    assert table["label"].to_pylist() == [None, "x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 0\nb.mp4 300 1\n", "mixed columns: 'a.mp4 0' and 'b.mp4 300 1'"),
        ("a.mp4 300 0\nb.mp4 1\n", "mixed columns"),
        ("a.mp4 0 300 1\nb.mp4 0 300 1\n", "more columns than path, frames and label"),
        ("my clips/one 0\nclips/two 1\n", "no telling where the path ends in 'my clips/one 0'"),
        ("one ride a bike\ntwo run\n", "no telling where the path ends"),
        ("a.mp4 0\na.mp4 1\nb.mp4 0\nb.mp4 0\n", "2 paths are listed more than once, first a.mp4"),
        ("", "the list is empty"),
        ("\n\n", "the list is empty"),
        ("# nothing\n", "the list names no clips"),
    ],
)
def test_mistakes_in_lines(tmp_path, text, message):
    path = write(tmp_path / "list.txt", text)
    with pytest.raises(UserError) as caught:
        list_file(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


# CSV


def test_csv_keeps_all_columns_as_text(tmp_path):
    text = "path,label,group,split,person\na.mp4,007,g1,train,anna\nb.mp4,run,,test,NA\n"
    assert columns(list_file(write(tmp_path / "list.csv", text))) == {
        "path": ["a.mp4", "b.mp4"],
        "label": ["007", "run"],
        "group": ["g1", None],
        "split": ["train", "test"],
        "person": ["anna", "NA"],
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiters(tmp_path, delimiter):
    rows = (("label", "path"), ("run fast", "my clips/a.mp4"), ("jump", "b.mp4"))
    text = "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows)
    assert columns(list_file(write(tmp_path / "list.csv", text))) == {
        "label": ["run fast", "jump"],
        "path": ["my clips/a.mp4", "b.mp4"],
    }


def test_csv_quotes(tmp_path):
    text = 'path,label\n"a,b.mp4","say ""hi"""\n'
    table = columns(list_file(write(tmp_path / "list.csv", text)))
    assert table == {"path": ["a,b.mp4"], "label": ['say "hi"']}


def test_csv_of_paths_alone(tmp_path):
    table = list_file(write(tmp_path / "list.csv", "path\na.mp4\nb.mp4\n"))
    assert columns(table) == {"path": ["a.mp4", "b.mp4"]}


def test_csv_blanks_around_column_names(tmp_path):
    table = list_file(write(tmp_path / "list.csv", "path, label\na.mp4,run\n"))
    assert table.column_names == ["path", "label"]


def test_a_scanned_list_has_numbers(tmp_path):
    text = "path,label,fps,frames,status\na.mp4,1,29.97,300,ok\nb.mp4,2,,,corrupt\n"
    table = list_file(write(tmp_path / "manifest.csv", text))
    assert table["fps"].to_pylist() == [29.97, None]
    assert table["frames"].to_pylist() == [300, None]
    assert table["label"].to_pylist() == ["1", "2"]


def test_frames_of_an_unscanned_list_stay_text(tmp_path):
    table = list_file(write(tmp_path / "list.csv", "path,frames\na.mp4,about 300\n"))
    assert table["frames"].to_pylist() == ["about 300"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,youtube_id\nrun,x0\n", "no column 'path' among label, youtube_id"),
        ("Video;Label\na.mp4;run\n", "no column 'path' among Video, Label"),
        ("path,label,label\na.mp4,1,2\n", "two columns are called 'label'"),
        ("path,label\na.mp4,1\nb.mp4\n", "CSV parse error: Expected 2 columns, got 1: b.mp4"),
        ("path,label\n,1\n", "clip 1 has no path"),
        ("path,label\na.mp4,1\na.mp4,1\n", "1 paths are listed more than once, first a.mp4"),
        ("path,label\n", "the list names no clips"),
        ("path,frames,status\na.mp4,many,ok\n", "In CSV column #1"),
    ],
)
def test_mistakes_in_csv(tmp_path, text, message):
    path = write(tmp_path / "list.csv", text)
    with pytest.raises(UserError) as caught:
        list_file(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["ü.mp4 0\n".encode("latin-1"), b"\x80\x81\x00\xff" * 100])
def test_a_list_that_is_no_text(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="UTF-8 text"):
        list_file(path)


def test_other_letters_deep_in_a_list_that_are_no_text(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(
        b"a.mp4 0\n" + b"".join(b"x%d.mp4 0\n" % i for i in range(9999)) + b"\xfc.mp4 1\n"
    )
    with pytest.raises(UserError, match=r"UTF-?8"):
        list_file(path)


def test_a_list_that_may_not_be_read(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        list_file(tmp_path / "gone.txt")


# Groups


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("PushUps/v_PushUps_g07_c03.avi", "PushUps_g07"),
        ("v_PushUps_g07_c03.avi", "PushUps_g07"),
        ("PushUps_g07_c03", "PushUps_g07"),
        ("frames/v_PushUps_g07_c03", "PushUps_g07"),
        ("/data/v_HandStand_g1_c12.mp4", "HandStand_g1"),
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "April_09_brush_hair"),
        ("Fellowship_4_shake_hands_u_cm_np2_fr_med_3.avi", "Fellowship_4_shake_hands"),
        ("prelinger_LetsBeGo1953_wave_u_cm_np10_ba_med_2.avi", "prelinger_LetsBeGo1953_wave"),
        ("run/a.mp4", None),
        ("v_PushUps_g07_c03/clip.mp4", None),
        ("big_c03.mp4", None),
        ("dog_g7.mp4", None),
    ],
)
def test_infer_groups(path, group):
    assert infer_groups(pa.array([path])).to_pylist() == [group]


@pytest.mark.real
def test_official_ucf101_lists(real_data):
    train = list_file(real_data / "splits" / "ucfTrainTestlist" / "trainlist01.txt")
    test = list_file(real_data / "splits" / "ucfTrainTestlist" / "testlist01.txt")
    assert (len(train), len(test)) == (9537, 3783)
    assert set(train["label"].to_pylist()) == {str(number) for number in range(1, 102)}
    assert test.column_names == ["path"]
    groups = infer_groups(train["path"])
    assert groups.null_count == 0
    assert not set(groups.to_pylist()) & set(infer_groups(test["path"]).to_pylist())


@pytest.mark.real
def test_official_hmdb51_names_all_tell_their_group(real_data):
    lists = sorted((real_data / "splits" / "hmdb51_splits").glob("*_split1.txt"))
    paths = pa.concat_arrays([list_file(path)["path"].combine_chunks() for path in lists])
    groups = infer_groups(paths)
    assert len(lists) == 51 and len(paths) == 6766
    assert groups.null_count == 0
    assert 1000 < len(groups.unique()) < 5000


@pytest.mark.real
def test_the_kinetics_csv_is_refused_with_its_columns(real_data):
    with pytest.raises(UserError, match="no column 'path' among label, youtube_id"):
        list_file(real_data / "splits" / "kinetics-400_val.csv")


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
