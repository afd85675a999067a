"""Text lists and CSV files as people have them, and the mistakes they make in them."""

import logging
from pathlib import Path

import pyarrow as pa
import pytest

from cvrl.data.sources.text_lists import list_file
from cvrl.utils.errors import UserError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def columns(table: pa.Table) -> dict[str, list[str | None]]:
    return {name: table[name].to_pylist() for name in table.column_names}


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
        ('"run a/b (1).mp4" 0\n"c.mp4" 1\n', ["run a/b (1).mp4", "c.mp4"], ["0", "1"]),
        ("'run a/one' 0\njump/two 1\n", ["run a/one", "jump/two"], ["0", "1"]),
        ('a.mp4,"run, fast"\nb.mp4,jump\n', ["a.mp4", "b.mp4"], ["run, fast", "jump"]),
        ("a.mp4;run\nb.mp4;2 players\n", ["a.mp4", "b.mp4"], ["run", "2 players"]),
        ("; of 2019\na.mp4 0\n;\nb.mp4 1\n", ["a.mp4", "b.mp4"], ["0", "1"]),
        (
            "a.mp4,100 meter run\nb.mp4,2 players\n",
            ["a.mp4", "b.mp4"],
            ["100 meter run", "2 players"],
        ),
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
        ("a.mp4 run train\nb.mp4 jump test\n", "the last column seems to be the split"),
        ("a.mp4,run,train\nb.mp4,jump,test\n", "no telling which column is the label"),
        ("a.mp4,run,1,2\nb.mp4,jump,1,2\n", "more columns than path, frames and label"),
        ("a.mp4,run\nb.mp4,jump,1\n", "mixed columns: 'a.mp4,run' and 'b.mp4,jump,1'"),
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
        ("ID;Label\na.mp4;run\n", "no column 'path' among ID, Label"),
        ("vid_x,kind\na.mp4,run\nb.mp4,jump\n", "no column 'path' among vid_x, kind"),
        ("vid_x kind\na.mp4 run\nb.mp4 jump\n", "no column 'path' among vid_x, kind"),
        ("video,file\na,a.mp4\n", "several columns could be the path: video, file"),
        ("path label\na.mp4 0\n", "the columns of its header 'path label' are separated by blanks"),
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


@pytest.mark.parametrize("content", ["ü.mp4 0\n".encode("utf-16"), b"\x80\x81\x00\xff" * 100])
def test_a_list_that_is_no_text(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="UTF-8 text"):
        list_file(path)


def test_other_bytes_deep_in_a_list(tmp_path, caplog):
    path = tmp_path / "list.txt"
    path.write_bytes(
        b"a.mp4 0\n" + b"".join(b"x%d.mp4 0\n" % i for i in range(9999)) + b"\xfc.mp4 1\n"
    )
    assert list_file(path)["path"][-1].as_py() == r"\xfc.mp4"
    assert r"is not UTF-8, as in '\xfc.mp4 1'" in caplog.text


def test_a_list_that_may_not_be_read(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        list_file(tmp_path / "gone.txt")


@pytest.mark.real
def test_the_kinetics_csv_is_refused_with_its_columns(real_data):
    with pytest.raises(UserError, match="no column 'path' among label, youtube_id"):
        list_file(real_data / "splits" / "kinetics-400_val.csv")


# Headers


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("video_name,tag", ["path", "label"]),
        ("Video;Class Name", ["path", "label"]),
        ("FILENAME\tAction", ["path", "label"]),
        ("clip|category", ["path", "label"]),
        ("file,label_id", ["path", "label"]),
        ("Path,Label", ["path", "label"]),
        ("video,name", ["path", "name"]),
        ("name,activity", ["path", "label"]),
        ("path,video", ["path", "video"]),
        ("path,frames", ["path", "frames"]),
    ],
)
def test_headers_are_known_by_their_usual_names(tmp_path, header, names, caplog):
    delimiter = next(c for c in ",;\t|" if c in header)
    rows = [header, delimiter.join(("a.mp4", "run")), delimiter.join(("b.mp4", "jump"))]
    with caplog.at_level(logging.INFO, logger="cvrl"):
        table = list_file(write(tmp_path / "list.csv", "\n".join(rows)))
    assert table.column_names == names
    assert table["path"].to_pylist() == ["a.mp4", "b.mp4"]
    for old, new in zip(header.split(delimiter), names, strict=True):
        assert old == new or f"column '{old}' is read as the {new}" in caplog.text


@pytest.mark.parametrize(
    "before", ["\n\n", "# my list\n", ";mine\n\n# two\n", "#clips, with labels\n"]
)
def test_blank_lines_and_comments_before_a_header(tmp_path, before):
    table = list_file(write(tmp_path / "list.csv", before + "path,label\na.mp4,run\n"))
    assert columns(table) == {"path": ["a.mp4"], "label": ["run"]}


def test_a_header_in_a_comment(tmp_path):
    table = list_file(write(tmp_path / "list.csv", "# label, path\nrun, a.mp4\n"))
    assert columns(table) == {"path": ["a.mp4"], "label": ["run"]}


def test_a_file_with_a_hash_before_a_word_of_headers_is_a_clip(tmp_path):
    text = "#20_Rhythm.avi,run\nvideo,label\n"
    assert list_file(write(tmp_path / "list.csv", text))["path"].to_pylist()[0] == "#20_Rhythm.avi"


def test_a_folder_called_like_a_header_is_a_clip(tmp_path):
    (tmp_path / "video").mkdir()
    table = list_file(write(tmp_path / "list.csv", "video,run\nother,jump\n"))
    assert columns(table) == {"path": ["video", "other"], "label": ["run", "jump"]}


def test_several_columns_that_could_be_the_label_are_said_and_not_chosen_between(tmp_path, caplog):
    text = "path,action,category\na.mp4,run,sport\n"
    table = list_file(write(tmp_path / "list.csv", text))
    assert table.column_names == ["path", "action", "category"]
    assert "several columns could be the label: action, category; none is used" in caplog.text


@pytest.mark.parametrize(("name", "is_split"), [("Subset", True), ("set", True), ("person", False)])
def test_a_split_under_another_name(tmp_path, name, is_split):
    text = f"path,label,{name}\na.mp4,run,Training\nb.mp4,run,Testing\n"
    table = list_file(write(tmp_path / "list.csv", text))
    assert ("split" in table.column_names) == is_split
    assert table[name].to_pylist() == ["Training", "Testing"]


def test_a_set_that_is_no_split(tmp_path):
    table = list_file(write(tmp_path / "list.csv", "path,label,set\na.mp4,run,blue\n"))
    assert table.column_names == ["path", "label", "set"]


@pytest.mark.parametrize(
    "text",
    [b"path,label\nrun/caf\xe9.mp4,run\n", b"run/caf\xe9.mp4 run\n", b"\nrun/caf\xe9.mp4,run\n"],
)
def test_bytes_that_are_not_utf8_are_kept(tmp_path, text, caplog):
    (tmp_path / "list.csv").write_bytes(text)
    table = list_file(tmp_path / "list.csv")
    assert table.to_pydict() == {"path": [r"run/caf\xe9.mp4"], "label": ["run"]}
    assert r"is not UTF-8, as in 'run/caf\xe9.mp4" in caplog.text
