"""Training from shards is training from files: the same weights, also after a stop."""

import pytest
import torch

from cvrl.config import load_config
from cvrl.data.manifest import read_manifest
from cvrl.engine.checkpoint import list_checkpoints, load_checkpoint
from cvrl.engine.trainer import Trainer, train
from cvrl.preparation.shards import write_shards

TINY = """
name: tiny
clip: {frames: 8, stride: 2, size: 32}
augment: {name: light}
encoder: {name: r3d_small, width: 4, blocks: [1, 1, 1, 1]}
method: {name: simclr, hidden: 16, hidden_layers: 1, dim: 8}
optim: {name: sgd, lr: 0.05, warmup_epochs: 0}
train: {steps: 5, batch_size: 4, threads: 1}
data: {workers: 0}
checkpoint: {every_steps: 2}
eval: {every_epochs: 0}
log: {every_steps: 1, tensorboard: false}
"""


@pytest.fixture(scope="module")
def shards(video_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "shards"
    write_shards(read_manifest(video_folder), folder, max_bytes=20_000)
    return folder


@pytest.fixture
def weights(tmp_path):
    """Trains, and gives the weights of the last checkpoint."""
    (tmp_path / "tiny.yaml").write_text(TINY)

    def run(source, name, *more):
        output = tmp_path / name
        given = [f"data.train={source}", f"output={output}", *more]
        train(load_config(tmp_path / "tiny.yaml", given))
        return load_checkpoint(list_checkpoints(output / "checkpoints")[-1])["task"]

    return run


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one) and one.keys() == other.keys()


def test_shards_and_files_give_the_same_weights(weights, video_folder, shards):
    files = weights(video_folder, "files")
    assert same(files, weights(shards, "shards", "data.workers=1"))
    assert not same(files, weights(shards, "seed", "seed=9"))


class StopAfter:
    """A stop request that comes after so many steps."""

    def __init__(self, steps):
        self.left = steps

    @property
    def requested(self):
        self.left -= 1
        return self.left <= 0

    def check_while_waiting(self):
        """Batches come at once here."""


def test_a_run_from_shards_resumes_exactly(weights, video_folder, shards, tmp_path):
    whole = weights(video_folder, "whole")
    given = [f"data.train={shards}", f"output={tmp_path / 'cut'}"]
    Trainer(load_config(tmp_path / "tiny.yaml", given)).fit(StopAfter(3))
    assert [path.stem for path in list_checkpoints(tmp_path / "cut" / "checkpoints")] != []
    assert same(whole, weights(shards, "cut"))
