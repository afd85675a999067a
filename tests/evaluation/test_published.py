"""Published figures are shown as such, and refused where they say too little."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cvrl.evaluation.published import published_table
from cvrl.utils.errors import UserError


def write(folder: Path, text: str) -> Path:
    file = folder / "published.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_figures_are_shown_as_they_stand(tmp_path: Path) -> None:
    text = "name,data,top1,r1,source\nX,UCF101,70.5,,Table 2\nY,HMDB51,,12,Table 3\n"
    console = Console(file=io.StringIO(), width=120)
    console.print(published_table(write(tmp_path, text)))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "Published, not measured here" in shown
    rows = [
        [c.strip() for c in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line
    ]
    assert rows == [["X", "UCF101", "70.5", "-", "Table 2"], ["Y", "HMDB51", "-", "12", "Table 3"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no figures"),
        ("name,source\nX,Table 2\n", "has no figures with name, source and a score"),
        ("name,top1\nX,70\n", "has no figures with name, source and a score"),
        ("name,top1,source\nX,70,\n", "line 2: lacks a field"),
        ("name,top1,source\nX,70,a\nX,70,Table 2,more\n", "line 3: lacks a field or has too many"),
        ("name,top1,source\nX,70\n", "line 2: lacks a field"),
        ("name,top1,source\nX,705,Table 2\n", "top1 '705' is no percentage"),
        ("name,top1,source\nX,nan,Table 2\n", "top1 'nan' is no percentage"),
        ("name,top1,source\nX,high,Table 2\n", "top1 'high' is no percentage"),
    ],
)
def test_others_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        published_table(write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        published_table(tmp_path / "no.csv")
