"""Splits are recognised by their usual names, and never guessed."""

import logging
from pathlib import Path

import pytest

from cvrl.data.split_names import find_split, split_kind
from cvrl.data.splits import read_splits
from cvrl.utils.errors import UserError


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "train",
            ["train", "Train", "TRAINING", "training", "train_256", "train-2019", "trainset"],
        ),
        ("val", ["val", "Valid", "validation", "val_256", "dev", "valset"]),
        ("test", ["test", "Test", "testing", "test_128", "testset", " test "]),
        (None, ["1", "2", "?", "", "jump", "trains", "testify", "contest", "value", "unlabelled"]),
    ],
)
def test_the_usual_names_are_known_and_no_others(kind, names):
    assert {split_kind(name) for name in names} == {kind}


def folder_of(root: Path, *splits: str) -> str:
    """Two classes with one video below each split's folder."""
    for split in splits:
        for label in ("jump", "run"):
            file = root / split / label / f"{label}_{split}.mp4"
            file.parent.mkdir(parents=True)
            file.touch()
    return str(root)


def list_of(root: Path, *values: str) -> str:
    """A CSV with two videos of each value of ``split``."""
    lines = ["path,label,split"]
    for value in values:
        for label in ("jump", "run"):
            name = f"{label}_{len(lines)}.mp4"
            (root / name).touch()
            lines.append(f"{name},{label},{value}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return str(root / "list.csv")


@pytest.mark.parametrize("make", [folder_of, list_of])
@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("training", "testing"), ("train_256", "test_256")]
)
def test_both_sides_are_found_whatever_their_spelling(make, train, test, tmp_path):
    splits = read_splits(make(tmp_path, train, test))
    assert splits.train is not None and len(splits.train) == len(splits.test) == 2
    assert not set(splits.train.paths) & set(splits.test.paths)
    assert splits.test.class_names == ["jump", "run"]
    assert splits.test_name.endswith(f"[split={test}]")


@pytest.mark.parametrize("make", [folder_of, list_of])
def test_validation_stands_in_for_a_test_split_that_is_not_there(make, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        splits = read_splits(make(tmp_path, "train", "val"))
    assert splits.train is not None and len(splits.train) == len(splits.test) == 2
    assert splits.test_name.endswith("[split=val]")
    assert "has no test split: its split 'val' is used" in caplog.text


def test_a_test_split_comes_before_a_validation_split(tmp_path):
    splits = read_splits(list_of(tmp_path, "train", "val", "test"))
    assert splits.test_name.endswith("[split=test]")


@pytest.mark.parametrize("values", [("1", "2"), ("?", "x"), ("a", "b", "c")])
def test_values_that_are_not_known_are_named(values, tmp_path):
    with pytest.raises(UserError) as caught:
        read_splits(list_of(tmp_path, *values))
    message = str(caught.value)
    assert all(value in message for value in values)
    assert "data.train_split and data.test_split" in message


def test_unknown_values_can_be_named_by_the_user(tmp_path):
    splits = read_splits(list_of(tmp_path, "1", "2"), train_split="1", test_split="2")
    assert splits.train is not None and len(splits.train) == len(splits.test) == 2


def test_two_names_for_one_split_are_not_chosen_between(tmp_path):
    with pytest.raises(UserError, match="several splits that could be 'train': Train, training"):
        read_splits(list_of(tmp_path, "Train", "training", "test"))
    assert find_split("x", ["train", "Train"], "train") == "train"  # the exact name wins


def test_folders_of_classes_stay_classes(tmp_path):
    for label in ("testify", "train"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.mp4").touch()
    splits = read_splits(str(tmp_path))
    assert splits.test.class_names == ["testify", "train"]
