"""Headers: where they stand, what separates them, what their columns are called."""

from pathlib import Path

import pyarrow as pa
import pytest

from cvrl.data.sources.list_headers import (
    COLUMN_NAMES,
    find_header,
    plain_name,
    rename_columns,
    with_split,
)
from cvrl.utils.errors import UserError

NOWHERE = Path("/nowhere")


def header(text, root=NOWHERE):
    return find_header(Path("list.csv"), text, root)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("blank", ["", " "])
def test_delimiters_and_blanks(delimiter, blank):
    found = header(f"path{delimiter}{blank}label\na.mp4{delimiter}{blank}run\n")
    assert found is not None
    assert (found.names, found.delimiter, found.line) == (["path", "label"], delimiter, 0)
    assert found.spaced == bool(blank)


@pytest.mark.parametrize(
    ("before", "line"), [("", 0), ("\n", 1), ("# one\n\n; two\n", 3), ("#one\n", 1), ("  \n", 1)]
)
def test_its_line(before, line):
    found = header(f"{before}Video,Class\na.mp4,run\n")
    assert found is not None and found.line == line


@pytest.mark.parametrize(
    "text",
    [
        *("a.mp4,0\n", "run/one,0\n", "one,0\n", "#20_Rhythm.avi,run\n", "a.mp4 label\n"),
        *("", "\n\n", "# path label\na.mp4 0\n", "# files, written by me\na.mp4,run\n"),
    ],
)
def test_lists_without_a_header(text):
    assert header(text) is None


def test_what_names_a_file_is_no_header(tmp_path):
    (tmp_path / "clip").mkdir()
    assert header("clip,run\n", tmp_path) is None
    assert header("clip,run\n") is not None


@pytest.mark.parametrize("wanted", list(COLUMN_NAMES))
def test_every_usual_name_is_read_in_any_case(wanted):
    for row in COLUMN_NAMES[wanted]:
        for name in row:
            for written in (name, name.upper(), name.replace("_", " ").title()):
                assert plain_name(written) == name
                others = [] if wanted == "path" else ["path"]
                renamed = rename_columns(Path("x"), [written, *others, "person"])
                assert renamed == [wanted, *others, "person"]


@pytest.mark.parametrize(
    ("names", "renamed"),
    [
        (["path", "video"], ["path", "video"]),
        (["Path", "video"], ["path", "video"]),
        (["video", "name"], ["path", "name"]),
        (["path", "class_id", "class_name"], ["path", "class_id", "label"]),
        (["path", "label", "action"], ["path", "label", "action"]),
        (["path", "action", "activity"], ["path", "action", "activity"]),
        (["id", "path"], ["id", "path"]),
    ],
)
def test_the_most_certain_name_wins(names, renamed):
    assert rename_columns(Path("x"), names) == renamed


def test_two_columns_of_files_are_refused():
    with pytest.raises(UserError, match="several columns could be the path: file, video"):
        rename_columns(Path("x"), ["file", "video"])


@pytest.mark.parametrize(
    ("columns", "split"),
    [
        ({"Split": ["1", "2"]}, ["1", "2"]),
        ({"subset": ["training", "validation"]}, ["training", "validation"]),
        ({"partition": [None, "test"]}, [None, "test"]),
        ({"set": ["blue", "red"]}, None),
        ({"phase": ["1", "2"]}, None),
        ({"split": ["a", "b"], "subset": ["train", "test"]}, ["a", "b"]),
    ],
)
def test_the_split_under_other_names(columns, split):
    table = with_split(Path("x"), pa.table({"path": ["a", "b"], **columns}))
    assert (table["split"].to_pylist() if "split" in table.column_names else None) == split
    assert all(table[name].to_pylist() == values for name, values in columns.items())
