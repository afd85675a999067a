"""A scan names what is bad, keeps what is done, and survives what it meets."""

import functools
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvrl.data.manifest import make_manifest, read_manifest, write_manifest
from cvrl.preparation.decode_check import Measured, check_decodes
from cvrl.preparation.scan import scan

REPOSITORY = Path(__file__).parents[2]

# Spawned processes import functions by name, which those of a test file have not.
MEASURES = """
import os, time
from cvrl.preparation.decode_check import Measured, check_decodes

def crash_on_jump(path, beat):
    if "jump" in path:
        os.abort()
    return check_decodes(path, beat)

def hang_on_jump(path, beat):
    if "jump" in path:
        time.sleep(600)
    return check_decodes(path, beat)

def slow(path, beat):
    time.sleep(0.2)
    return Measured(frames=1)
"""


@pytest.fixture(scope="module")
def measures(tmp_path_factory):
    """A module of stand-ins for ``check_decodes`` that spawned processes can import."""
    folder = tmp_path_factory.mktemp("measures")
    (folder / "measures_of_test_scan.py").write_text(MEASURES)
    sys.path.insert(0, str(folder))
    import measures_of_test_scan as module

    yield module
    sys.path.remove(str(folder))


@pytest.fixture
def mixed(make_video, tmp_path):
    """A folder of two good videos, a text file that says it is one, and an empty one."""
    root = tmp_path / "videos"
    make_video(root / "run" / "a.mp4", 40)
    make_video(root / "jump" / "b.avi", 20, codec="mpeg4")
    (root / "run" / "text.mp4").write_text("no video")
    (root / "jump" / "empty.mp4").touch()
    return root


def counting(calls, path, beat):
    calls.append(path)
    return Measured(frames=7)


def statuses(manifest):
    names = [Path(path).name for path in manifest.paths]
    return dict(zip(names, manifest.table["status"].to_pylist(), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_good_and_bad_files(mixed, workers):
    listed = read_manifest(mixed)
    scanned = scan(listed, workers=workers)
    assert scanned.paths == listed.paths
    assert scanned.label_ids.tolist() == listed.label_ids.tolist()
    assert scanned.table.column_names == [
        *("path", "label", "group", "split"),
        *("fps", "frames", "height", "width", "duration", "status", "reason"),
    ]
    assert statuses(scanned) == {
        "a.mp4": "ok",
        "b.avi": "ok",
        "text.mp4": "corrupt",
        "empty.mp4": "corrupt",
    }
    row = scanned.row(scanned.paths.index(str(mixed / "run" / "a.mp4")))
    assert (row["frames"], row["height"], row["width"], row["fps"]) == (40, 48, 64, 25.0)
    assert row["duration"] == pytest.approx(1.6)
    bad = scanned.row(scanned.paths.index(str(mixed / "jump" / "empty.mp4")))
    assert bad["reason"] and bad["frames"] is None
    good = scanned.without_bad()
    assert (len(good), good.bad) == (2, 2)


def test_processes_and_one_process_agree(mixed):
    listed = read_manifest(mixed)
    assert scan(listed, workers=2).table.equals(scan(listed, workers=0).table)


def test_missing_files_are_rows_too(mixed, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("videos/run/a.mp4 run\nvideos/run/gone.mp4 run\n")
    scanned = scan(read_manifest(listed, check_files=False), workers=0)
    assert statuses(scanned) == {"a.mp4": "ok", "gone.mp4": "missing"}


def test_folders_of_frames(tmp_path):
    from PIL import Image

    for i in range(3):
        (tmp_path / "one").mkdir(exist_ok=True)
        Image.new("RGB", (32, 16)).save(tmp_path / "one" / f"{i}.jpg")
    row = scan(read_manifest(tmp_path), workers=0).row(0)
    assert (row["status"], row["frames"], row["width"]) == ("ok", 3, 32)


def test_what_was_known_before_is_replaced():
    columns = {"path": ["a.mp4"], "frames": ["many"], "status": ["ok"], "person": ["anna"]}
    scanned = scan(make_manifest(columns, root="/nowhere"), workers=0)
    assert scanned.row(0)["status"] == "missing"
    assert scanned.row(0)["frames"] is None
    assert scanned.row(0)["person"] == "anna"


def test_a_written_scan_is_ready_for_training(mixed, tmp_path):
    write_manifest(scan(read_manifest(mixed), workers=0), tmp_path / "manifest.csv")
    clips = read_manifest(tmp_path / "manifest.csv")
    assert sorted(Path(path).name for path in clips.paths) == ["a.mp4", "b.avi"]
    assert clips.bad == 2
    assert clips.class_names == ["jump", "run"]


# Processes that die


def test_a_crash_names_the_file_and_the_scan_goes_on(mixed, measures):
    scanned = scan(read_manifest(mixed), workers=2, measure=measures.crash_on_jump)
    assert statuses(scanned) == {
        "a.mp4": "ok",
        "b.avi": "crashed",
        "text.mp4": "corrupt",
        "empty.mp4": "crashed",
    }
    assert scanned.row(0)["reason"] == "the process that worked on it died (SIGABRT)"


def test_a_hang_is_ended(make_video, tmp_path, measures):
    make_video(tmp_path / "jump" / "a.mp4", 10)
    make_video(tmp_path / "run" / "b.mp4", 10)
    listed = read_manifest(tmp_path)
    scanned = scan(listed, workers=1, stall_seconds=5, measure=measures.hang_on_jump)
    assert statuses(scanned) == {"a.mp4": "crashed", "b.mp4": "ok"}
    assert scanned.row(0)["reason"] == "no sign of life for 5 s"


# Going on


def test_a_scan_goes_on_where_it_was(tmp_path, caplog):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).touch()
    listed = read_manifest(tmp_path)
    journal = tmp_path / "manifest.csv.partial"

    def break_at_c(path, beat):
        if path.endswith("c.mp4"):
            raise KeyboardInterrupt
        return counting(calls, path, beat)

    calls: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        scan(listed, workers=0, journal=journal, measure=break_at_c)
    assert len(calls) == 2
    calls.clear()
    with caplog.at_level(logging.INFO, logger="cvrl"):
        scanned = scan(
            listed, workers=0, journal=journal, measure=functools.partial(counting, calls)
        )
    assert calls == [str(tmp_path / "c.mp4")]
    assert "going on: 2 of 3 are done" in caplog.text
    assert scanned.table["frames"].to_pylist() == [7, 7, 7]


def test_a_file_that_changed_is_measured_again(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    listed = read_manifest(tmp_path)
    journal = tmp_path / "journal"
    calls: list[str] = []
    measure = functools.partial(counting, calls)
    scan(listed, workers=0, journal=journal, measure=measure)
    (tmp_path / "b.mp4").write_text("mended")
    calls.clear()
    scan(listed, workers=0, journal=journal, measure=measure)
    assert calls == [str(tmp_path / "b.mp4")]
    calls.clear()
    scan(listed, workers=0, journal=journal, measure=measure)
    assert calls == [], "the newer of two entries counts"


def test_a_missing_file_that_came_is_measured(tmp_path):
    listed = make_manifest({"path": ["a.mp4"]}, root=tmp_path)
    journal = tmp_path / "journal"
    assert scan(listed, workers=0, journal=journal).row(0)["status"] == "missing"
    (tmp_path / "a.mp4").write_text("x")
    assert scan(listed, workers=0, journal=journal).row(0)["status"] == "corrupt"


def test_a_line_cut_short_costs_only_itself(tmp_path, caplog):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    listed = read_manifest(tmp_path)
    journal = tmp_path / "journal"
    scan(listed, workers=0, journal=journal, measure=functools.partial(counting, []))
    journal.write_text(journal.read_text()[:-10])
    calls: list[str] = []
    for expected in ([str(tmp_path / "b.mp4")], []):
        calls.clear()
        scan(listed, workers=0, journal=journal, measure=functools.partial(counting, calls))
        assert calls == expected
    assert "line 2 is no result" in caplog.text


def test_a_journal_of_other_things_is_not_believed(tmp_path):
    (tmp_path / "a.mp4").touch()
    journal = tmp_path / "journal"
    journal.write_text('{"path": "a.mp4"}\n[1, 2]\n{"path": 1, "stamp": 2, "odd": 3}\n')
    calls: list[str] = []
    scan(
        read_manifest(tmp_path / "a.mp4"),
        workers=0,
        journal=journal,
        measure=functools.partial(counting, calls),
    )
    assert len(calls) == 1


def test_without_a_journal_nothing_is_written(tmp_path):
    (tmp_path / "a.mp4").touch()
    scan(read_manifest(tmp_path), workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_killed_scan_goes_on(tmp_path, measures):
    """Kill -9 in the middle; what was done stays done."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(30):
        (videos / f"{i:02}.mp4").touch()
    journal = tmp_path / "journal"
    code = (
        "import measures_of_test_scan as m, sys\n"
        "from cvrl.data.manifest import read_manifest\nfrom cvrl.preparation.scan import scan\n"
        "scan(read_manifest(sys.argv[1]), workers=1, journal=sys.argv[2], measure=m.slow)\n"
    )
    folders = [str(Path(measures.__file__).parent), str(REPOSITORY)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    running = subprocess.Popen([sys.executable, "-c", code, str(videos), str(journal)], env=env)
    end = time.monotonic() + 120
    while time.monotonic() < end and (not journal.exists() or journal.read_text().count("\n") < 3):
        time.sleep(0.05)
    running.kill()
    running.wait()
    done = [json.loads(line)["path"] for line in journal.read_text().splitlines()]
    assert 3 <= len(done) < 30
    calls: list[str] = []
    scanned = scan(
        read_manifest(videos),
        workers=0,
        journal=journal,
        measure=functools.partial(counting, calls),
    )
    assert sorted(calls + done) == scanned.paths
    assert set(statuses(scanned).values()) == {"ok"}


@pytest.mark.real
def test_short_clips_and_real_headers(real_data):
    """Files whose headers claim more frames than decode, and a clip shorter than a window."""
    folder = real_data / "ucf101_4" / "BabyCrawling"
    names = sorted(path.name for path in folder.iterdir())[:4]
    scanned = scan(make_manifest({"path": names}, root=folder), workers=0)
    for row in range(len(names)):
        entry = scanned.row(row)
        assert entry["status"] == "ok"
        assert (entry["height"], entry["width"]) == (240, 320)
        assert entry["frames"] == check_decodes(scanned.path(row)).frames > 0
        assert entry["duration"] == pytest.approx(entry["frames"] / entry["fps"], rel=0.05)
