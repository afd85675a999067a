"""From a list and a pile of files to a manifest: who is matched, what is counted, what is named."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from cvrl.data.manifest import read_manifest
from cvrl.preparation.prepare import Order, Published, match, prepare, report
from cvrl.preparation.store import Encoding
from cvrl.utils.errors import UserError
from cvrl.video.reader import open_video

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
    order = replace(order, encoding=SMALL)
    prepare(listed, Published(2), order)
    assert "store_32/jump/d.mp4,jump,,val" in order.output.read_text()
    for path in read_manifest(order.output).paths:
        with open_video(path) as video:
            assert len(video) == 8 and video.size == (32, 42)


def test_the_same_again_changes_nothing(order):
    order = replace(order, encoding=SMALL, root=order.sources[0])  # a store among its sources
    first = prepare(listed, Published(2), order)
    before = {path: path.stat() for path in order.sources[0].rglob("*.*")}
    assert prepare(listed, Published(2), order) == first
    after = {path: path.stat().st_mtime_ns for path in before if path.name != "store.json"}
    assert after == {path: s.st_mtime_ns for path, s in before.items() if path.name != "store.json"}


def test_a_broken_file_is_named_and_left_out(order):
    (order.sources[0] / "run" / "a.avi").write_text("no video")
    lines = prepare(listed, Published(2), replace(order, encoding=SMALL))
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
    lines = prepare(listed, Published(2), replace(order, encoding=SMALL, dry_run=True))
    assert lines[0] == "3 of 4 listed videos, 2 of 2 classes"
    assert lines[-1] == f"would write {order.output}"
    assert not order.root.exists()


def test_videos_of_another_set_are_refused(order, tmp_path, make_video):
    make_video(tmp_path / "others" / "x.mp4", 4)
    with pytest.raises(UserError, match="none of the 4 listed videos is among its 1"):
        prepare(listed, Published(2), replace(order, sources=[tmp_path / "others"]))
    assert not order.output.exists()


def test_nothing_that_can_be_used(order):
    for path in order.sources[0].rglob("*.*"):
        path.write_text("no video")
    with pytest.raises(UserError, match="no video can be used"):
        prepare(listed, Published(2), replace(order, encoding=SMALL))


@pytest.mark.parametrize("key", ["sources", "lists"])
def test_a_path_that_is_not_there(order, key):
    with pytest.raises(UserError, match="gone: no such file or folder"):
        prepare(listed, Published(2), replace(order, **{key: [Path("gone")]}))


def test_lists_that_are_empty(order):
    with pytest.raises(UserError, match="lists no clip"):
        prepare(lambda paths: listed(paths).slice(0, 0), Published(2), order)
