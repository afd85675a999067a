"""Folders that are hardly classes."""

import pytest

from cvrl.data.sources.class_questions import is_unlabelled, question_classes


def numbered(*names, count=3):
    """Classes of a few videos, each of another name."""
    return {
        name: [f"{place}_{number}.mp4" for number in range(count)]
        for place, name in enumerate(names)
    }


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled", "NO_LABEL", " nolabel "])
def test_folders_without_labels(name):
    assert is_unlabelled(name)


@pytest.mark.parametrize("name", ["labelled", "label", "none", "unlabelled run"])
def test_folders_with_labels(name):
    assert not is_unlabelled(name)


@pytest.mark.parametrize(
    "names",
    [
        ("run", "jump"),
        ("1", "2", "3"),
        ("left hand wave", "viewing art"),
        ("camel ride", "angler fish"),
        ("0", "1"),
        ("run",),
        ("2 players", "3 players"),
        ("100 meter run", "2001 a space odyssey trailer", "jump"),
    ],
)
def test_usual_classes_are_not_questioned(names):
    assert question_classes(numbered(*names)) == []


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (("RAW", "run"), "'RAW' is hardly"),
        (("videos",), "'videos' is hardly"),
        (("run", "clips", "misc"), "'clips', 'misc' is hardly"),
        (("2019", "2020"), "'2019', '2020' look like dates"),
        (("20190501", "20190502"), "look like dates"),
        (("2019_05_01 Berlin", "2019_05_02 Paris", "run"), "look like dates"),
        (("1.5.2019", "2.5.2019"), "look like dates"),
        (("camera_1", "Camera 2"), "look like cameras"),
        (("cam0", "cam1", "cam2"), "look like cameras"),
        (("100GOPRO", "101GOPRO"), "look like cameras"),
        (("view1", "view2"), "look like cameras"),
    ],
)
def test_known_words_dates_and_cameras(names, doubt):
    (said,) = question_classes(numbered(*names))
    assert doubt in said


def test_a_date_among_many_classes_is_not_questioned():
    assert question_classes(numbered("2019", "run", "jump")) == []


def test_events_have_files_of_the_same_names():
    files = {name: ["cam0.mp4", "cam1.mp4", "cam2.mp4"] for name in ("fall", "trip")}
    (said,) = question_classes(files)
    assert "several cameras" in said


@pytest.mark.parametrize(
    ("count", "classes", "doubt"),
    [(1, 2, "each has one video"), (1, 9, "each has one video"), (2, 2, None), (2, 9, None)],
)
def test_few_videos_a_class(count, classes, doubt):
    said = question_classes(numbered(*(f"x{'abcdefghi'[i]}" for i in range(classes)), count=count))
    assert said == ([doubt] if doubt else [])


def test_nearly_as_many_classes_as_videos():
    files = numbered(*(f"kind {'abcdefghi'[i]}" for i in range(9)), count=1)
    files["kind a"] = ["1.mp4", "2.mp4", "3.mp4"]
    assert question_classes(files) == ["there are 9 for 11 videos"]
