"""Runs on videos with sound: the same bits whatever the workers and after a stop."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from cvrl.config import load_config
from cvrl.engine.checkpoint import list_checkpoints, load_checkpoint
from cvrl.engine.trainer import train

SCRIPTS = Path(__file__).parents[2] / "datasets"
TINY = """
name: tiny
clip: {frames: 8, stride: 2, size: 32}
augment: {name: light}
encoder: {name: r3d_small, width: 4}
views: {name: audio_pair, seconds: 0.5, bins: 16}
method: {name: cross_modal, audio_width: 4, hidden: 16, dim: 8}
optim: {name: sgd, lr: 0.05, warmup_epochs: 0}
train: {epochs: 3, batch_size: 4, threads: 1}
checkpoint: {every_steps: 1}
eval: {every_epochs: 0}
log: {every_steps: 1, tensorboard: false}
"""


@pytest.fixture(scope="module")
def humming(tmp_path_factory, make_video):
    """Eight synthetic videos that hum, and one that does not."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        make_synthetic = importlib.import_module("make_synthetic")
    finally:
        sys.path.remove(str(SCRIPTS))
    folder = tmp_path_factory.mktemp("humming")
    classes = ("person_hop", "hound_loom")
    plan = make_synthetic.Plan(0, 4, classes, width=64, height=48, sound=True)
    make_synthetic.make(plan, folder, workers=0)
    (folder / "manifest.csv").unlink()
    make_video(folder / "hound_loom" / "mute.mp4", 60)
    return folder


def run(folder, tmp_path, name, workers=0):
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    given = [f"data.train={folder}", f"output={tmp_path / name}", f"data.workers={workers}"]
    return train(load_config(file, given))


def weights(folder):
    return load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])["task"]


def test_workers_and_a_stop_change_nothing(humming, tmp_path, capsys):
    straight = weights(run(humming, tmp_path, "straight"))
    assert "1 of 9 videos have no sound" in capsys.readouterr().err
    workers = weights(run(humming, tmp_path, "workers", workers=2))
    run(humming, tmp_path, "stopped")
    for checkpoint in list_checkpoints(tmp_path / "stopped" / "checkpoints")[1:]:
        checkpoint.unlink()  # as after a kill
    resumed = weights(run(humming, tmp_path, "stopped"))
    for key, value in straight.items():
        assert torch.equal(value, workers[key]), key
        assert torch.equal(value, resumed[key]), key
