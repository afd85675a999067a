"""``tools/report.py`` as a user runs it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cvrl.config import Config, DataConfig, save_config
from cvrl.data.clips import ClipSpec
from cvrl.models.backbones import build_encoder
from cvrl.pretrained import save_model

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / "tools" / "report.py"


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), "--workers", "0", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)


def make_run(folder: Path, videos: Path) -> Path:
    """A run on a folder of videos, with a recipe that normalises."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder("r3d_small", width=4)
    save_model(folder / "model.safetensors", encoder, clip=ClipSpec(8, 2), size=32, normalise=True)
    config = Config(name="x", data=DataConfig(train=str(videos), hold_out=0.34))
    config.clip.frames, config.clip.stride, config.clip.size = 8, 2, 32
    config.augment.name, config.augment.keywords = "light", {"normalise": True}
    config.train.batch_size = 2
    config.data.augment_on = "device"
    save_config(config, folder / "config.yaml")
    return folder


def test_the_tool_writes_page_and_picture(tmp_path: Path, video_folder: Path) -> None:
    run = make_run(tmp_path / "run", video_folder)
    done = call("--run", run, "--searches", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {run / 'report.html'} and {run / 'report.png'}\n"
    page = (run / "report.html").read_text("utf-8")
    assert page.count('class="search"') == 2
    assert page.count('class="pair"') == 6
    assert "Not evaluated yet" in page


def test_videos_without_labels(tmp_path: Path, video_folder: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(video_folder.rglob("*.mp4"))[:5]:
        shutil.copy(path, flat)
    run = make_run(tmp_path / "run", flat)
    done = call("--run", run, "--searches", 2)
    assert done.returncode == 0, done.stderr
    assert "their own video" in (run / "report.html").read_text("utf-8")


@pytest.mark.parametrize("missing", ["everything", "model.safetensors", "config.yaml"])
def test_what_is_no_run_is_refused_in_one_line(
    tmp_path: Path, video_folder: Path, missing: str
) -> None:
    run = tmp_path / "run"
    if missing != "everything":
        make_run(run, video_folder)
        (run / missing).unlink()
    done = call("--run", run)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert str(run) in done.stderr


def test_the_tool_stays_small() -> None:
    assert len(TOOL.read_text().splitlines()) <= 80
