"""From a list and a pile of files to a manifest: who is matched, what is counted, what is named."""

from pathlib import Path

import pyarrow as pa
import pytest

from cvrl.data.manifest import read_manifest
from cvrl.data.multiview import prepare_events
from cvrl.data.prepare import Order, Published, match, prepare, report
from cvrl.data.store import Encoding
from cvrl.data.video import open_video
from cvrl.utils.errors import UserError

LISTED = {
    "name": ["a", "b", "c", "d"],
    "label": ["run", "run", "jump", "jump"],
    "group": ["g1", "g2", "g1", None],
    "split": ["train", "test", "test", "val"],
}
SMALL = Encoding(short_side=32, gop=4)


def listed(paths):
    """A reader of lists that needs none."""
    return pa.table({name: pa.array(values, pa.string()) for name, values in LISTED.items()})


@pytest.fixture
def order(make_video, tmp_path):
    """Files of three listed clips, and of one that is not listed."""
    for name in ("run/a.avi", "b.mp4", "jump/d.webm", "other/z.mp4"):
        codec = {".avi": "mpeg4", ".mp4": "libx264", ".webm": "libvpx-vp9"}[Path(name).suffix]
        make_video(tmp_path / "videos" / name, 8, codec=codec)
    (tmp_path / "list.txt").touch()
    return Order(
        sources=[tmp_path / "videos"],
        lists=[tmp_path / "list.txt"],
        output=tmp_path / "out" / "set.csv",
        root=tmp_path / "out",
    )


def changed(order, **changes):
    return Order(**{**vars(order), **changes})


# --- matching and counting -----------------------------------------------------------------------


def test_the_folder_of_the_class_wins():
    files = [("x", "jump/a.avi"), ("y", "run/a.avi"), ("z", "run/a.avi"), ("x", "b.avi")]
    found = match(listed([]), files)
    assert found == [("y", "run/a.avi"), ("x", "b.avi"), None, None]


def test_a_name_with_dots_and_a_folder_of_frames():
    table = pa.table({"name": ["a.b", "v_1.5"], "label": ["run", "run"]})
    assert match(table, [("x", "a.b.avi"), ("x", "v_1.5")]) == [("x", "a.b.avi"), ("x", "v_1.5")]


def test_two_classes_may_share_a_name():
    table = pa.table({"name": ["a", "a"], "label": ["run", "jump"]})
    files = [("x", "jump/a.avi"), ("x", "run/a.avi")]
    assert match(table, files) == files[::-1]


def test_the_report_counts_by_split_and_names_leaks():
    lines = report(listed([]), [None, "not there", None, None])
    assert lines == [
        "3 of 4 listed videos, 2 of 2 classes",
        "split: train 1 of 1, val 1 of 1, test 1 of 2;"
        " 1 test videos share a group with training videos",
    ]


def test_lists_of_other_counts_than_published():
    published = Published(3, {"split": {"train": 1, "test": 5}})
    assert report(listed([]), [None] * 4, published)[2:] == [
        "the lists name 2 classes, published are 3",
        "split: the lists name 2 to test, published are 5",
    ]


def test_rows_without_a_group_leak_nothing():
    table = listed([]).set_column(2, "group", pa.nulls(4, pa.string()))
    assert "share" not in "".join(report(table, [None] * 4))


# --- the whole way -------------------------------------------------------------------------------


def test_a_manifest_of_what_is_there(order):
    lines = prepare(listed, Published(2), order)
    assert "1 videos are in no list" in lines
    assert lines[-1].endswith("set_missing.csv: 1 absent, 0 broken, first c: not there")
    assert order.output.read_text().splitlines()[0] == "path,label,group,split"
    manifest = read_manifest(order.output)
    videos = order.sources[0]
    assert manifest.paths == [str(videos / n) for n in ("b.mp4", "jump/d.webm", "run/a.avi")]
    assert manifest.splits == ["test", "train", "val"]
    missing = order.missing.read_text().splitlines()
    assert missing == ["name,label,group,split,reason", "c,jump,g1,test,not there"]


def test_a_store_beside_the_manifest(order):
    order = changed(order, encoding=SMALL)
    prepare(listed, Published(2), order)
    assert "store_32/jump/d.mp4,jump,,val" in order.output.read_text()
    for path in read_manifest(order.output).paths:
        with open_video(path) as video:
            assert len(video) == 8 and video.size == (32, 42)


def test_the_same_again_changes_nothing(order):
    order = changed(order, encoding=SMALL, root=order.sources[0])  # a store among its sources
    first = prepare(listed, Published(2), order)
    before = {path: path.stat() for path in order.sources[0].rglob("*.*")}
    assert prepare(listed, Published(2), order) == first
    after = {path: path.stat().st_mtime_ns for path in before if path.name != "store.json"}
    assert after == {path: s.st_mtime_ns for path, s in before.items() if path.name != "store.json"}


def test_a_broken_file_is_named_and_left_out(order):
    (order.sources[0] / "run" / "a.avi").write_text("no video")
    lines = prepare(listed, Published(2), changed(order, encoding=SMALL))
    assert "1 absent, 1 broken" in lines[-1]
    rows = [line.split(",") for line in order.missing.read_text().splitlines()]
    assert [row[0] for row in rows] == ["name", "a", "c"]
    assert rows[1][-1] not in ("", "not there")
    assert len(read_manifest(order.output)) == 2


def test_a_list_of_missing_videos_goes_when_none_is(order, make_video):
    prepare(listed, Published(2), order)
    assert order.missing.exists()
    make_video(order.sources[0] / "c.mp4", 8)
    lines = prepare(listed, Published(2), order)
    assert not order.missing.exists()
    assert lines[-1] == f"{order.output}: 4 videos"


def test_a_dry_run_writes_nothing(order):
    lines = prepare(listed, Published(2), changed(order, encoding=SMALL, dry_run=True))
    assert lines[0] == "3 of 4 listed videos, 2 of 2 classes"
    assert lines[-1] == f"would write {order.output}"
    assert not order.root.exists()


def test_videos_of_another_set_are_refused(order, tmp_path, make_video):
    make_video(tmp_path / "others" / "x.mp4", 4)
    with pytest.raises(UserError, match="none of the 4 listed videos is among its 1"):
        prepare(listed, Published(2), changed(order, sources=[tmp_path / "others"]))
    assert not order.output.exists()


def test_nothing_that_can_be_used(order):
    for path in order.sources[0].rglob("*.*"):
        path.write_text("no video")
    with pytest.raises(UserError, match="no video can be used"):
        prepare(listed, Published(2), changed(order, encoding=SMALL))


@pytest.mark.parametrize("key", ["sources", "lists"])
def test_a_path_that_is_not_there(order, key):
    with pytest.raises(UserError, match="gone: no such file or folder"):
        prepare(listed, Published(2), changed(order, **{key: [Path("gone")]}))


def test_lists_that_are_empty(order):
    with pytest.raises(UserError, match="lists no clip"):
        prepare(lambda paths: listed(paths).slice(0, 0), Published(2), order)


# --- events of several cameras -------------------------------------------------------------------


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
        order = changed(events, encoding=SMALL, root=events.sources[0])
        lines = prepare_events(order, ["cam0.avi", "cam1.avi"])
        assert lines[0] == "3 of 4 events have all 2 films"
        assert lines[-1] == "data.cameras=[cam0.mp4,cam1.mp4]"
        films = read_manifest(events.output, cameras=["cam0.mp4", "cam1.mp4"])
        assert len(films) == 6
        for path in films.paths:
            with open_video(path) as video:
                assert video.size == (32, 42)


def test_a_dry_run_over_events(events):
    lines = prepare_events(changed(events, dry_run=True), ["cam0.avi", "cam1.avi"])
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
        prepare_events(changed(events, sources=[tmp_path / "a.zip"]), ["a.avi", "b.avi"])
