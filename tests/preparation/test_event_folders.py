"""Events of several cameras: which are whole, what is stored, and what is said of the others."""

from dataclasses import replace
from pathlib import Path

import pytest

from cvrl.data.manifest import read_manifest
from cvrl.preparation.event_folders import prepare_events
from cvrl.preparation.prepare import Order
from cvrl.preparation.store import Encoding
from cvrl.utils.errors import UserError
from cvrl.video.reader import open_video

SMALL = Encoding(short_side=32, gop=4)


@pytest.fixture
def events(make_video, tmp_path):
    """Two whole events, one without its second film, and one whose films differ in length."""
    for name, lengths in {
        "fall-1": (8, 8),
        "fall-2": (8, 9),
        "fall-3": (8,),
        "long": (8, 12),
    }.items():
        for camera, length in enumerate(lengths):
            make_video(tmp_path / "events" / name / f"cam{camera}.avi", length, codec="mpeg4")
    return Order([tmp_path / "events"], [], tmp_path / "out" / "events.csv", tmp_path / "out")


def test_events(events):
    lines = prepare_events(events, ["cam0.avi", "cam1.avi"])
    assert lines[:2] == [
        "3 of 4 events have all 2 films",
        "1 events have films that differ by more than 2 frames",
    ]
    assert lines[-1] == "data.cameras=[cam0.avi,cam1.avi]"
    films = read_manifest(events.output, cameras=["cam0.avi", "cam1.avi"])
    assert len(films) == 6 and len(set(films.group_ids.tolist())) == 3
    assert all(Path(path).exists() for path in films.paths)
    assert "cam1.avi: no such file" in events.missing.read_text()


def test_events_are_stored_under_the_names_that_are_printed(events):
    for _ in range(2):  # the store is no event of a second run
        order = replace(events, encoding=SMALL, root=events.sources[0])
        lines = prepare_events(order, ["cam0.avi", "cam1.avi"])
        assert lines[0] == "3 of 4 events have all 2 films"
        assert lines[-1] == "data.cameras=[cam0.mp4,cam1.mp4]"
        films = read_manifest(events.output, cameras=["cam0.mp4", "cam1.mp4"])
        assert len(films) == 6
        for path in films.paths:
            with open_video(path) as video:
                assert video.size == (32, 42)


def test_a_dry_run_over_events(events):
    lines = prepare_events(replace(events, dry_run=True), ["cam0.avi", "cam1.avi"])
    assert lines[-1] == f"would write {events.output}"
    assert not events.root.exists()


@pytest.mark.parametrize(
    ("cameras", "reason"),
    [
        (["cam0.avi"], "is one camera; name two or more"),
        (["cam0.avi", "cam0.avi"], "is one camera"),
        (["cam5.avi", "cam6.avi"], "holds no folder with cam5.avi or cam6.avi"),
        (["cam0.avi", "cam7.avi"], "no event can be used: cam7.avi: no such file"),
    ],
)
def test_cameras_that_are_not_there(events, cameras, reason):
    with pytest.raises(UserError, match=reason):
        prepare_events(events, cameras)


def test_events_come_in_one_folder(events, tmp_path):
    with pytest.raises(UserError, match="is no folder of events"):
        prepare_events(replace(events, sources=[tmp_path / "a.zip"]), ["a.avi", "b.avi"])
