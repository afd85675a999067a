"""Whole training runs on a device: where the time goes, methods side by side, an exact resume."""

import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cvrl.bench.common.sample_video import write_film
from cvrl.engine.trainer import train_from
from cvrl.utils.processes import Beat, map_in_processes

CONFIG = """\
name: run
data: {augment_on: device}
clip: {frames: 16, stride: 2, size: 112}
views: {name: temporal_pair, clips: 2, prior: decreasing}
augment: {name: cvrl}
encoder: {name: r3d18}
method: {name: simclr}
optim: {name: sgd, lr: 0.01}
train: {batch_size: 32, precision: bf16, channels_last: true}
eval: {every_epochs: 0}
log: {every_steps: 4, tensorboard: false}
checkpoint: {every_steps: 100000, keep: 2}
"""
# Views, augmentation and keywords of methods that contrast or predict.
METHODS: dict[str, list[str]] = {
    "simclr": [],
    "moco": ["method={name: moco, queue: 4096}"],
    "byol": ["method={name: byol}"],
    "swav, multi-crop": [
        "views={name: multi_crop, clips: 2, small: 4, small_size: 64}",
        "data.augment_on=worker",
        "method={name: swav, prototypes: 300}",
    ],
}


@dataclass(frozen=True)
class RunSpeed:
    """The steady speed of a run.

    Attributes:
        clips_per_second: trained on, waiting included.
        waiting: share of the time in which the device waits for data.
        memory_gb: the most that was in use.
    """

    clips_per_second: float
    waiting: float
    memory_gb: float

    def row(self, name: str) -> str:
        """A row of Markdown."""
        speed, waiting = f"{self.clips_per_second:.0f}", f"{self.waiting:.1%}"
        return f"| {name} | {speed} | {waiting} | {self.memory_gb:.1f} |"


HEAD = ["| run | clips/s | waiting for data | GB |", "|---|---|---|---|"]


def write_films(folder: Path, count: int, *, seconds: float, workers: int) -> Path:
    """Write sample videos of 340 x 256 pixels in parallel.

    Args:
        folder: made.
        count: of videos.
        seconds: length of each.
        workers: processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    items = [(folder / f"{index:03d}.mp4", seconds, index) for index in range(count)]
    for _ in map_in_processes(_write, items, workers=workers):
        pass
    return folder


def _write(item: tuple[Path, float, int], beat: Beat) -> None:
    path, seconds, seed = item
    write_film(path, seconds=seconds, seed=seed)


def speed_of(folder: Path, videos: Path, overrides: Sequence[str], *, steps: int) -> RunSpeed:
    """Train for some steps and report the second half of them.

    Args:
        folder: of the run, new.
        videos: to train on.
        overrides: of the config.
        steps: of the optimiser.
    """
    _train(folder, videos, [f"train.steps={steps}", *overrides])
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "clips_per_s" in row]
    late = rows[len(rows) // 2 :]
    return RunSpeed(
        statistics.median(row["clips_per_s"] for row in late),
        statistics.median(row["data_wait"] for row in late),
        max(row["memory_gb"] for row in rows),
    )


def resumes_exactly(place: Path, videos: Path, overrides: Sequence[str] = ()) -> bool:
    """Whether a run resumed at step 3 ends in the bits of one that was not stopped.

    Args:
        place: for the two run folders.
        videos: to train on.
        overrides: of the config.
    """
    config = ["train.steps=6", "checkpoint.every_steps=3", "train.deterministic=true", *overrides]
    whole, resumed = place / "whole", place / "resumed"
    _train(whole, videos, config)
    _train(resumed, videos, [*config, "checkpoint.keep=2"])
    last = max((resumed / "checkpoints").iterdir())
    shutil.rmtree(last) if last.is_dir() else last.unlink()
    _train(resumed, videos, [*config, "checkpoint.keep=2"])
    files = [(run / "model.safetensors").read_bytes() for run in (whole, resumed)]
    return files[0] == files[1]


def _train(folder: Path, videos: Path, overrides: Sequence[str]) -> None:
    file = folder.parent / "run.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    train_from(file, [f"data.train={videos}", f"output={folder}", *overrides])


def on_device(device: torch.device) -> list[str]:
    """Overrides that make a run small where there is no GPU."""
    if device.type == "cuda":
        return []
    small = ["encoder={name: r3d_small, width: 4}", "clip.size=32", "clip.frames=8"]
    return [*small, "train.precision=fp32", "train.batch_size=8", "data.workers=0"]
