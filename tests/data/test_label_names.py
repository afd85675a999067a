"""Spellings of one class are one class, and the user is told."""

import logging

import pyarrow as pa
import pytest

from cvrl.data.label_names import clean_labels
from cvrl.data.manifest import make_manifest, read_manifest


@pytest.mark.parametrize(
    "labels", [["run", " run"], ["run", "run\t"], ["caf\u00e9", "cafe\u0301"], ["\u212b", "\u00c5"]]
)
def test_two_spellings_are_one_class(labels, caplog):
    with caplog.at_level(logging.INFO):
        manifest = make_manifest({"path": ["a.mp4", "b.mp4"], "label": labels}, root="/")
    assert len(manifest.class_names) == 1 and manifest.label_ids.tolist() == [0, 0]
    assert "is read without blanks and in Unicode form NFC" in caplog.text


def test_names_that_differ_stay_apart_and_nothing_is_said(caplog):
    with caplog.at_level(logging.INFO):
        manifest = make_manifest(
            {"path": ["a.mp4", "b.mp4", "c.mp4"], "label": ["Run", "run", "run fast"]}, root="/"
        )
    assert manifest.class_names == ["Run", "run", "run fast"]
    assert not caplog.records


def test_blanks_alone_are_no_label():
    assert clean_labels(pa.array(["", "  ", None, "x"])).to_pylist() == [None, None, None, "x"]


def test_a_csv_with_a_blank_after_the_comma_has_two_classes(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "list.csv").write_text("path,label\na.mp4, run\nb.mp4,run\nc.mp4, jump \n")
    assert read_manifest(tmp_path / "list.csv").class_names == ["jump", "run"]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("3,5", "3+5"),
        ("5 , 3", "3+5"),
        ("10 9", "9+10"),
        ("run|jump", "jump+run"),
        ("run;jump;run", "jump+run"),
        ("run,jump", "jump+run"),
        ("pushing, then pulling", "pushing, then pulling"),
        ("2 players", "2 players"),
        ("100 meter run", "100 meter run"),
        ("b+a", "b+a"),
    ],
)
def test_several_labels_in_one_are_tags(label, name, caplog):
    with caplog.at_level(logging.INFO):
        assert clean_labels(pa.array([None, label, "run"])).to_pylist() == [None, name, "run"]
    assert ("are read as several tags" in caplog.text) == (label != name)
