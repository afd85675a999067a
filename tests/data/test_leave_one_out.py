"""Folds that leave out one value of a column: each row is scored once, by others only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.leave_one_out import check_leave_one_out, leave_one_out, never_learned
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.utils.errors import UserError


def listed(persons: list[str | None], labels: list[str | None] | None = None) -> Manifest:
    """A video a person given, of two labels in turn."""
    paths = [f"{number}.mp4" for number in range(len(persons))]
    label = ["xy"[number % 2] for number in range(len(persons))] if labels is None else labels
    return make_manifest({"path": paths, "label": label, "person": persons}, root="/")


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=20).filter(lambda p: len(set(p)) > 1))
def test_every_row_is_scored_once_by_rows_of_other_values(persons: list[str]) -> None:
    folds = leave_one_out(listed(list(persons)), "person")
    assert [fold.held_out for fold in folds] == sorted(set(persons))
    assert sorted(np.concatenate([fold.test_M for fold in folds]).tolist()) == [
        *range(len(persons))
    ]
    for fold in folds:
        assert {persons[row] for row in fold.test_M} == {fold.held_out}
        assert {persons[row] for row in fold.train_N} == set(persons) - {fold.held_out}
        assert len(fold.train_N) + len(fold.test_M) == len(persons)


def test_numbers_and_groups_are_values_too() -> None:
    numbers = make_manifest({"path": ["a", "b"], "camera": [2, 10]}, root="/")
    assert {fold.held_out for fold in leave_one_out(numbers, "camera")} == {"2", "10"}
    clips = make_manifest({"path": ["v_Run_g01_c01.avi", "v_Run_g02_c01.avi"]}, root="/")
    assert [fold.held_out for fold in leave_one_out(clips, "group")] == ["Run_g01", "Run_g02"]


@pytest.mark.parametrize(
    ("videos", "column", "said"),
    [
        (listed(["a", "b"]), "subject", "no column 'subject'; its columns are path, label"),
        (listed(["a", None, " "]), "person", "2 rows have no person, first /1.mp4"),
        (listed(["a", "a"]), "person", "every row has person 'a'"),
    ],
)
def test_columns_that_make_no_folds(videos: Manifest, column: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        leave_one_out(videos, column)
    with pytest.raises(UserError, match=said):
        check_leave_one_out(videos, column)


def test_a_value_without_a_label_is_refused() -> None:
    videos = listed(list("aabbcc"), ["x", "y", "x", "y", None, None])
    with pytest.raises(UserError, match="no video of person 'c' has a label"):
        check_leave_one_out(videos, "person")


def test_rows_without_a_label_are_left_out_of_the_folds() -> None:
    videos = listed(list("aaabb"), ["x", "y", None, "x", "y"])
    said = "leave one person out: no group or file in two of the 2 folds"
    assert check_leave_one_out(videos, "person") == said


def test_a_single_class_is_not_enough_to_learn_from() -> None:
    videos = listed(list("abb"), ["x", "x", "y"])
    with pytest.raises(UserError, match="without person 'b' a single class is left"):
        check_leave_one_out(videos, "person")


def test_a_source_group_in_two_folds_is_a_leak() -> None:
    paths = ["v_Run_g01_c01.avi", "v_Run_g01_c02.avi", "v_Hop_g01_c01.avi", "v_Hop_g02_c01.avi"]
    columns = {"path": paths, "label": list("xxyy"), "camera": list("1212")}
    videos = make_manifest(columns, root="/")
    with pytest.raises(UserError, match="1 group is in train and test: Run_g01"):
        check_leave_one_out(videos, "camera")
    told = check_leave_one_out(videos, "camera", allow_leak=True)
    assert told.startswith("leave one camera out: 2 of 2 folds leak; camera '1': LEAK: 1 group")


def test_a_class_of_one_value_cannot_be_learned_for_it() -> None:
    videos = listed(list("aabbb"), list("xyxyz"))
    assert never_learned(videos, leave_one_out(videos, "person")) == ["z"]
