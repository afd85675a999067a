"""A run folder with everything in it, and the features of its networks, made once."""

import csv
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cvrl.config import Config, DataConfig, save_config
from cvrl.data.clips import ClipSpec
from cvrl.data.manifest import Manifest, make_manifest, read_manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.card import Result, Row, example_card
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.pretrained import load_encoder, save_model
from cvrl.report.comparison import Comparison, compare
from cvrl.report.run_summary import RunSummary, read_run

SCORES = {"trained": 0.75, "untrained": 0.5, "chance": 0.5}
METRICS = [
    {"step": 5, "epoch": 0.5, "loss": 3.0, "lr": 1e-3, "clips_per_s": 10.0, "embedding_std": 0.9},
    {"step": 10, "epoch": 1.0, "loss": 2.5, "lr": 5e-4, "clips_per_s": 20.0, "embedding_std": 0.8},
    {"step": 10, "epoch": 1.0, "knn_top1": 0.75},
]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, video_folder: Path) -> Path:
    """A finished run on the folder of videos. Not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    with seeded(1):
        encoder = build_encoder("r3d_small", width=4)
    save_model(folder / "model.safetensors", encoder, clip=ClipSpec(8, 2), size=32)
    config = Config(name="small", data=DataConfig(train=str(video_folder), hold_out=0.34))
    config.clip = dataclasses.replace(config.clip, frames=8, stride=2, size=32)
    config.augment.name = "light"
    config.train.batch_size = 4
    save_config(config, folder / "config.yaml")
    (folder / "env.txt").write_text("python 3.x\ntorch 2.x\n")
    lines = [json.dumps(record) for record in METRICS]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    rows = [Row(name, {"top1": share, "top5": None}) for name, share in SCORES.items()]
    Result(dataclasses.replace(example_card(), size=32), rows).write(folder / "eval")
    with open(folder / "quarantine.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("path", "reason"), ("bad <1>.mp4", "no video stream")])
    return folder


@pytest.fixture(scope="session")
def summary(run_folder: Path) -> RunSummary:
    return read_run(run_folder, clips_per_step=8)


@pytest.fixture(scope="session")
def encoder(run_folder: Path) -> Encoder:
    return load_encoder(run_folder)


@pytest.fixture(scope="session")
def videos(video_folder: Path) -> Manifest:
    return read_manifest(video_folder)


@pytest.fixture(scope="session")
def parts(videos: Manifest) -> Parts:
    """8 videos with labels to learn from, 4 to search with."""
    rest, held = videos.hold_out(0.34, seed=0)
    return Parts(held, rest, "held", "rest")


@pytest.fixture(scope="session")
def comparison(encoder: Encoder, parts: Parts) -> Comparison:
    return compare(encoder, parts)


@pytest.fixture(scope="session")
def unlabelled(encoder: Encoder, videos: Manifest) -> Comparison:
    """The same videos, all in one part and without labels."""
    bare = make_manifest({"path": videos.paths}, root="/")
    return compare(encoder, Parts(bare))
