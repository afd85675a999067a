"""Every command that prepares a data set, as a user runs it, on trees made to the sets' shapes."""

import csv
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from cvrl.data.manifest import read_manifest
from cvrl.video.reader import open_video

REPOSITORY = Path(__file__).parents[2]


def command(name, *arguments):
    script = REPOSITORY / "datasets" / f"prepare_{name}.py"
    return [sys.executable, str(script), *map(str, arguments)]


def environment():
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def run(name, *arguments, code=0, jobs=0):
    """What the command prints; on stderr where it fails."""
    result = subprocess.run(
        command(name, *arguments, "--jobs", jobs), capture_output=True, text=True, env=environment()
    )
    assert result.returncode == code, result.stderr
    return result.stdout if code == 0 else result.stderr


def rows(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def ucf_lists(folder, clips):
    """Lists in which group k tests in split k and trains in the others."""
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Run\n2 Jump\n")
    for k in (1, 2, 3):
        tests = [clip for clip in clips if f"_g0{k}_" in clip]
        trains = [f"{clip} {1 if 'Run' in clip else 2}" for clip in clips if clip not in tests]
        (folder / f"testlist0{k}.txt").write_text("\n".join(tests))
        (folder / f"trainlist0{k}.txt").write_text("\n".join(trains))
    return folder


@pytest.fixture
def ucf(make_video, tmp_path):
    """UCF101's shape: 2 classes, 3 groups of 2 clips, one of which is a broken file."""
    clips = [
        f"{label}/v_{label}_g0{g}_c0{c}.avi"
        for label in ("Run", "Jump")
        for g in (1, 2, 3)
        for c in (1, 2)
    ]
    for clip in clips:
        make_video(tmp_path / "UCF-101" / clip, 10, codec="mpeg4")
    (tmp_path / "UCF-101" / clips[-1]).write_bytes(b"RIFF")
    return tmp_path / "UCF-101", ucf_lists(tmp_path / "lists", clips)


def test_ucf101(ucf, tmp_path):
    videos, lists = ucf
    (videos / "Run" / "v_Run_g02_c02.avi").unlink()
    output = tmp_path / "out" / "ucf101.csv"
    said = run("ucf101", videos, "--lists", lists, "--output", output, "--short-side", 32)
    assert "11 of 12 listed videos" not in said  # the broken one does not count either
    assert "10 of 12 listed videos, 2 of 2 classes" in said
    assert "split1: train 6 of 8, test 4 of 4\n" in said
    assert "the lists name 2 classes, published are 101" in said
    assert "1 absent, 1 broken" in said
    found = rows(output)
    assert list(found[0]) == ["path", "label", "group", "split1", "split2", "split3"]
    assert found[-1] == {
        "path": "store_32/Run/v_Run_g03_c02.mp4",
        "label": "Run",
        "group": "Run_g03",
        "split1": "train",
        "split2": "train",
        "split3": "test",
    }
    for split in ("split1", "split2", "split3"):
        manifest = read_manifest(output, split_column=split)
        assert len(manifest.select("train")) + len(manifest.select("test")) == 10
    for path in read_manifest(output, split_column="split1").paths:
        with open_video(path) as video:
            assert len(video) == 10 and min(video.size) == 32
    missing = {row["name"]: row["reason"] for row in rows(output.with_name("ucf101_missing.csv"))}
    assert missing["v_Run_g02_c02"] == "not there"
    assert "v_Jump_g03_c02" in missing and missing["v_Jump_g03_c02"] != "not there"


def test_a_run_that_is_killed_goes_on(ucf, make_video, tmp_path):
    videos, lists = ucf
    for path in sorted(videos.rglob("*.avi")):
        make_video(path, 60, codec="mpeg4")
    output, store = tmp_path / "ucf101.csv", tmp_path / "store_32"
    arguments = (videos, "--lists", lists, "--output", output, "--short-side", 32)
    with subprocess.Popen(command("ucf101", *arguments, "--jobs", 1), env=environment()) as process:
        while not list(store.rglob("v_*.mp4")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in store.rglob("v_*.mp4")}
    assert len(kept) > 0 and not output.exists()
    said = run("ucf101", *arguments)
    assert "12 of 12 listed videos" in said and len(rows(output)) == 12
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not list(store.rglob(".*.tmp.mp4"))


def test_lists_and_videos_in_zips(ucf, tmp_path):
    videos, lists = ucf
    for folder in (videos, lists):
        shutil.make_archive(str(folder), "zip", tmp_path, folder.name)
    archives = tmp_path / "UCF-101.zip", tmp_path / "lists.zip"
    output = tmp_path / "out" / "ucf101.csv"
    arguments = (archives[0], "--lists", archives[1], "--output", output)
    assert "would unpack 2 archives first" in run("ucf101", *arguments, "--dry-run")
    assert not output.parent.exists()
    assert "12 of 12 listed videos" in run("ucf101", *arguments, jobs=2)
    assert rows(output)[0]["path"] == "videos/UCF-101/Jump/v_Jump_g01_c01.avi"


HMDB = (
    "Troy_run_f_cm_np1_fr_med_0",
    "Troy_run_f_cm_np1_fr_med_1",
    "#20_Rhythm_run_u_nm_np1_ba_goo_2",
)


def hmdb(make_video, tmp_path):
    """HMDB51's shape: a folder a class, three lists a class, values 0, 1 and 2."""
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for label in ("run", "brush_hair"):
        names = [f"{name.replace('_run_', f'_{label}_')}.avi" for name in HMDB]
        for name in names:
            make_video(tmp_path / "hmdb51_org" / label / name, 6, codec="mpeg4")
        for k in range(3):
            lines = [f"{name} {(row + k) % 3} \n" for row, name in enumerate(names)]
            (lists / f"{label}_test_split{k + 1}.txt").write_text("".join(lines))
    return tmp_path / "hmdb51_org", lists


def test_hmdb51(make_video, tmp_path):
    videos, lists = hmdb(make_video, tmp_path)
    output = tmp_path / "hmdb51.csv"
    said = run("hmdb51", videos, "--lists", lists, "--output", output)
    assert "6 of 6 listed videos, 2 of 2 classes" in said
    assert "split1: train 2 of 2, test 2 of 2\n" in said
    assert "split2: train 2 of 2, test 2 of 2; 2 test videos share a group" in said
    by_name = {Path(row["path"]).stem: row for row in rows(output)}
    assert {row["group"] for row in by_name.values()} == {"Troy", "#20_Rhythm"}
    first = by_name["Troy_brush_hair_f_cm_np1_fr_med_0"]
    assert [first[f"split{k}"] for k in (1, 2, 3)] == ["", "train", "test"]
    manifest = read_manifest(output, split_column="split1")
    assert manifest.splits == ["test", "train"] and len(manifest.select("test")) == 2


def write_rar(path, members):
    """A rar of format 4 that only stores: blocks of CRC, type, flags, size, and what they hold."""

    def block(kind, flags, body=b""):
        rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest

    data = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, content in members.items():
        sizes = struct.pack("<IIBII", len(content), len(content), 3, zlib.crc32(content), 0)
        head = sizes + struct.pack("<BBHI", 20, 0x30, len(name), 0o100644) + name.encode()
        data += block(0x74, 0x8000, head) + content
    path.write_bytes(data + block(0x7B, 0x4000))
    return path


@pytest.mark.skipif(
    not any(map(shutil.which, ("bsdtar", "unrar", "7zz", "7z", "unar"))),
    reason="no program for .rar on this machine",
)
def test_hmdb51_as_it_is_shipped(make_video, tmp_path):
    videos, lists = hmdb(make_video, tmp_path)
    inner = {}
    for folder in sorted(videos.iterdir()):
        members = {f"{folder.name}/{p.name}": p.read_bytes() for p in sorted(folder.iterdir())}
        inner[f"{folder.name}.rar"] = write_rar(tmp_path / "inner.rar", members).read_bytes()
    archive = write_rar(tmp_path / "hmdb51_org.rar", inner)
    packed = {f"{lists.name}/{p.name}": p.read_bytes() for p in sorted(lists.iterdir())}
    split = write_rar(tmp_path / "test_train_splits.rar", packed)
    output = tmp_path / "out" / "hmdb51.csv"
    assert "6 of 6 listed" in run("hmdb51", archive, "--lists", split, "--output", output)
    assert rows(output)[0]["path"].startswith("videos/brush_hair/#20_Rhythm_brush_hair")
    assert len(read_manifest(output, split_column="split3")) == 6


def test_kinetics(make_video, tmp_path):
    for part, names in {"train": ["a-_b_000005_000015"], "val": ["cd_001017_001027"]}.items():
        with tarfile.open(tmp_path / f"{part}.tar.gz", "w:gz") as archive:
            for name in names:
                archive.add(make_video(tmp_path / "made" / f"{name}.mp4", 6), f"{name}.mp4")
    head = "label,youtube_id,time_start,time_end,split\n"
    (tmp_path / "train.csv").write_text(head + "petting animal (not cat),a-_b,5,15,train\n")
    (tmp_path / "val.csv").write_text(head + "archery,cd,1017,1027,val\narchery,ef,1,11,val\n")
    parts = [tmp_path / f"{part}.tar.gz" for part in ("train", "val")]
    lists = [tmp_path / f"{part}.csv" for part in ("train", "val")]
    output = tmp_path / "out" / "k700.csv"
    said = run("kinetics", *parts, "--lists", *lists, "--classes", 700, "--output", output)
    assert "split: train 1 of 1, val 1 of 2\n" in said and "published are 700" in said
    assert rows(output) == [
        {
            "path": "videos/a-_b_000005_000015.mp4",
            "label": "petting animal (not cat)",
            "group": "a-_b",
            "split": "train",
        },
        {
            "path": "videos/cd_001017_001027.mp4",
            "label": "archery",
            "group": "cd",
            "split": "val",
        },
    ]
    assert [row["name"] for row in rows(tmp_path / "out/k700_missing.csv")] == ["ef_000001_000011"]


def test_ssv2(make_video, tmp_path):
    with tarfile.open(tmp_path / "whole.tgz", "w:gz") as archive:
        for name in ("10", "11", "12"):
            path = make_video(tmp_path / f"{name}.webm", 6, codec="libvpx-vp9")
            archive.add(path, f"20bn-something-something-v2/{name}.webm")
    data = (tmp_path / "whole.tgz").read_bytes()
    zips = [tmp_path / f"20bn-something-something-v2-0{part}.zip" for part in (0, 1)]
    for part, path in enumerate(zips):
        half = len(data) // 2
        with zipfile.ZipFile(path, "w") as archive:
            piece = data[half:] if part else data[:half]
            archive.writestr(path.stem, piece)
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "labels.json").write_text('{"Holding something": "0"}')
    entry = {"template": "Holding [something]"}
    (labels / "train.json").write_text(json.dumps([{"id": "10", **entry}]))
    (labels / "validation.json").write_text(json.dumps([{"id": "11", **entry}]))
    (labels / "test.json").write_text('[{"id": "12"}]')
    output = tmp_path / "out" / "ssv2.csv"
    run("ssv2", *zips, "--lists", labels, "--output", output)
    assert [tuple(row.values()) for row in rows(output)] == [
        (f"videos/20bn-something-something-v2/{name}.webm", label, "", split)
        for name, label, split in (
            ("10", "Holding something", "train"),
            ("11", "Holding something", "val"),
            ("12", "", "test"),
        )
    ]


def test_diving48(make_video, tmp_path):
    for name in ("-mm_00001", "-mm_00002", "kk_00001"):
        make_video(tmp_path / "rgb" / f"{name}.mp4", 6)
    for part, names in {"train": ["-mm_00001"], "test": ["-mm_00002"]}.items():
        entries = [{"vid_name": n, "label": 0, "start_frame": 0, "end_frame": 6} for n in names]
        (tmp_path / f"Diving48_V2_{part}.json").write_text(json.dumps(entries))
    lists = sorted(tmp_path.glob("*.json"))
    output = tmp_path / "diving48.csv"
    said = run("diving48", tmp_path / "rgb", "--lists", *lists, "--output", output)
    assert "1 videos are in no list" in said
    assert "1 test videos share a group with training videos" in said
    assert [(row["group"], row["split"]) for row in rows(output)] == [
        ("-mm", "train"),
        ("-mm", "test"),
    ]


def test_multiview(make_video, tmp_path):
    for event in ("pour/one", "pour/two", "stir/one"):
        for camera in ("left.mp4", "right.mp4"):
            make_video(tmp_path / "events" / event / camera, 8)
    output = tmp_path / "events.csv"
    cameras = ("--cameras", "left.mp4", "right.mp4")
    said = run("multiview", tmp_path / "events", *cameras, "--output", output)
    assert "3 of 3 events have all 2 films" in said
    assert said.splitlines()[-1] == "data.cameras=[left.mp4,right.mp4]"
    films = read_manifest(output, cameras=["left.mp4", "right.mp4"])
    assert films.class_names == ["pour", "stir"] and len(films) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone", "--lists", "gone"), "error: gone: no such file or folder; check the path"),
        ((".", "--lists", "."), "error: .: no classInd.txt; give the official lists, or their"),
        ((".", "--lists", ".", "--gop", "0"), "error: --gop = 0: not in range; give at least 1"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    said = run("ucf101", *arguments, "--output", "out.csv", code=2)
    assert said.startswith(message) and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- real videos ---------------------------------------------------------------------------------


@pytest.mark.real
def test_a_partial_copy_of_ucf101(real_data, tmp_path):
    """Four classes with the lists of all: three splits, row for row as they are known to be."""
    output = tmp_path / "ucf101.csv"
    lists = real_data / "splits" / "ucfTrainTestlist"
    said = run("ucf101", real_data / "ucf101_4", "--lists", lists, "--output", output)
    assert "400 of 13,320 listed videos, 4 of 101 classes" in said
    for split in (1, 2, 3):
        assert f"split{split}: train 288 of " in said
    assert "published" not in said and "share a group" not in said
    assert "12,920 absent, 0 broken" in said
    found, known = rows(output), rows(real_data / "splits" / "ucf101_4.csv")
    videos = real_data / "ucf101_4"
    known = [{**row, "path": str((videos / row["path"]).absolute())} for row in known]
    assert found == known
    assert len(rows(tmp_path / "ucf101_missing.csv")) == 12_920
