"""The model that is kept: the last, or the best on held-out groups, and never by the test part."""

import pytest
import torch

from cvrl.config import load_config
from cvrl.engine.checkpoint import list_checkpoints, load_checkpoint
from cvrl.engine.trainer import Trainer, train
from cvrl.pretrained import load_classifier
from cvrl.utils.errors import UserError
from cvrl.utils.log import read_metrics

TINY = """
name: tiny
clip: {frames: 8, stride: 2, size: 32}
views: {name: temporal_pair, clips: 1}
augment: {name: light}
encoder: {name: r3d_small, width: 2}
method: {name: finetune, dropout: 0.0}
optim: {warmup_epochs: 0, lr: 0.05}
train: {epochs: 5, batch_size: 3, threads: 1}
data: {workers: 0, hold_out: 0.5}
checkpoint: {select: best, every_steps: 1, keep: 100}
eval: {every_epochs: 1, clips_per_video: 1, k: 2}
log: {tensorboard: false, every_steps: 1}
"""


@pytest.fixture
def settings(tmp_path, video_folder):
    (tmp_path / "tiny.yaml").write_text(TINY)

    def settle(*overrides):
        wish = [f"data.train={video_folder}", f"output={tmp_path / 'run'}"]
        return load_config(tmp_path / "tiny.yaml", [*wish, *overrides])

    return settle


def state_of(run, step):
    files = list_checkpoints(run / "checkpoints")
    return next(c for c in map(load_checkpoint, files) if c["step"] == step)["task"]


def scores_of(run):
    rows = read_metrics(run / "metrics.jsonl")
    return {row["step"]: row["classifier_top1"] for row in rows if "classifier_top1" in row}


def assert_keeps(run, step):
    weight = load_classifier(run).head.weight
    assert torch.equal(weight, state_of(run, step)["classifier.weight"]), scores_of(run)


def test_the_first_of_the_best_steps_is_kept(settings):
    run = train(settings())
    scores = scores_of(run)
    assert len(scores) == 5  # two steps an epoch
    assert_keeps(run, max(scores, key=lambda step: (scores[step], -step)))


def test_the_score_that_decides_is_the_classifiers(settings, monkeypatch):
    found = iter([0.2, 0.7, 0.4, 0.7, 0.1])
    monkeypatch.setattr(
        "cvrl.engine.monitor._classifier_top1", lambda head, features, videos: next(found)
    )
    assert_keeps(train(settings()), 4)


def test_a_resumed_run_remembers_what_was_best(settings, monkeypatch):
    found = iter([0.9, 0.1, 0.2, 0.3, 0.4])
    monkeypatch.setattr(
        "cvrl.engine.monitor._classifier_top1", lambda head, features, videos: next(found)
    )

    class StopAfterThree:
        steps = 0

        @property
        def requested(self):
            self.steps += 1
            return self.steps >= 3

        def check_while_waiting(self):
            """Batches come at once here."""

    config = settings()
    Trainer(config).fit(StopAfterThree())
    assert_keeps(train(config), 2)


def test_by_default_the_last_step_is_kept(settings):
    run = train(settings("checkpoint.select=last"))
    assert_keeps(run, 10)


def test_the_test_part_never_decides(settings):
    with pytest.raises(UserError, match=r"checkpoint\.select.*test part.*data\.hold_out"):
        settings("data.hold_out=0")
    with pytest.raises(UserError, match=r"eval\.every_epochs"):
        settings("eval.every_epochs=0")


def test_the_two_ways_to_say_how_many_labels_exclude_each_other(settings):
    with pytest.raises(UserError, match=r"labels_per_class = 2.*one of the two"):
        settings("data.labels_per_class=2", "data.label_fraction=0.1")
