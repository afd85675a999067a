"""The command: what it writes, prints and returns, run as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from cvrl.data.manifest import read_manifest

REPOSITORY = Path(__file__).parents[2]


def run(*arguments, cwd):
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "160"}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "inspect_data.py"), *map(str, arguments)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
    )


def test_a_folder_with_bad_files(make_video, tmp_path):
    make_video(tmp_path / "videos" / "run" / "a.mp4", 40)
    make_video(tmp_path / "videos" / "jump" / "b.mp4", 20)
    (tmp_path / "videos" / "jump" / "text.mp4").write_text("no video")
    done = run("videos", "--sheet", "sheet.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 that decode, 1 bad" in done.stdout
    assert "jump/text.mp4" in done.stdout
    assert "Traceback" not in done.stderr
    clips = read_manifest(tmp_path / "manifest.csv")
    assert clips.paths == [
        str(tmp_path / "videos" / "jump" / "b.mp4"),
        str(tmp_path / "videos" / "run" / "a.mp4"),
    ]
    assert clips.bad == 1
    assert (tmp_path / "sheet.png").exists()
    assert not (tmp_path / "manifest.csv.partial").exists()


def test_a_list_with_all_options(make_video, tmp_path):
    make_video(tmp_path / "videos" / "a.mp4", 31)
    (tmp_path / "list.csv").write_text("path,label,split1\na.mp4,run,train\n")
    done = run(
        *("list.csv", "--root", "videos", "--output", "out/m.csv"),
        *("--workers", 1, "--split-column", "split1"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "train (1)" in done.stdout
    assert read_manifest(tmp_path / "out" / "m.csv", split_column="split1").splits == ["train"]


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path):
    done = run("gone", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: gone: no such file or folder; check the path; it was looked for in {tmp_path}\n"
    )


def test_nothing_that_decodes_is_exit_code_2(tmp_path):
    (tmp_path / "a.mp4").write_text("text")
    done = run("a.mp4", "--workers", 0, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: a.mp4: no video in it decodes; see the column reason in manifest.csv\n"
    )


def test_help(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "python tools/inspect_data.py FOLDER" in done.stdout


def test_the_file_is_parsing_and_one_call():
    assert len((REPOSITORY / "tools" / "inspect_data.py").read_text().splitlines()) <= 80


def test_the_sheet_shows_the_clips_of_a_config(make_video, tmp_path):
    make_video(tmp_path / "videos" / "a.mp4", 40)
    (tmp_path / "c.yaml").write_text(
        "clip: {frames: 4, stride: 2, size: 32}\naugment: {name: light, normalise: true}\n"
    )
    sheet = ("--sheet", "sheet.png", "--config", "c.yaml")
    done = run("videos", *sheet, "views.clips=3", "--output", "m.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as picture:
        columns, height = picture.size
    assert columns == 2 * 12 + 3 * (4 * 34 - 2) + 2 * 12, "3 clips of 4 frames of 32 pixels"
    assert height == 12 + 30 + 32 + 2 * 18 + 12


def test_a_config_needs_a_sheet(make_video, tmp_path):
    make_video(tmp_path / "videos" / "a.mp4", 40)
    done = run("videos", "--config", "c.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: --config: needs --sheet; name the PNG with --sheet\n"


def test_labels_are_taken_from_the_folder_named(make_video, tmp_path):
    for name in ("2024/run/a.mp4", "2025/jump/b.mp4"):
        make_video(tmp_path / "videos" / name, 31)
    done = run("videos", "--workers", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "look like dates; each has one video; say --labels none, folder or parent" in done.stderr
    done = run("videos", "--workers", 0, "--labels", "parent", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the folder that holds the video is the class (2 classes: jump, run)" in done.stderr
    assert read_manifest(tmp_path / "manifest.csv").class_names == ["jump", "run"]


def test_a_name_that_is_not_utf8_is_listed(make_video, tmp_path):
    make_video(tmp_path / "videos" / "run" / "a.mp4", 31)
    folder = os.fsencode(tmp_path) + b"/videos/run"
    os.rename(folder + b"/a.mp4", folder + b"/caf\xe9.mp4")
    done = run("videos", "--workers", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path / "manifest.csv")
    assert manifest.paths == [str(tmp_path / "videos/run" / r"caf\xe9.mp4")]
    assert manifest.row(0)["frames"] == 31
