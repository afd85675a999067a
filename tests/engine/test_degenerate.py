"""Runs that could learn nothing are refused before they start."""

import logging

import pytest

from cvrl.config import Config, DataConfig, TrainConfig
from cvrl.data.manifest import make_manifest
from cvrl.engine.degenerate import check_batch, check_task
from cvrl.methods.finetune import Finetune
from cvrl.methods.joint import Joint
from cvrl.methods.simclr import SimCLR
from cvrl.methods.swav import SwAV
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    monkeypatch.setattr(logging.getLogger("cvrl"), "propagate", True)


def config(batch_size, accumulate=1):
    train = TrainConfig(batch_size=batch_size, accumulate=accumulate)
    return Config(data=DataConfig(train="videos"), train=train)


def videos(number, classes=2):
    names = [f"{i}.mp4" for i in range(number)]
    labels = [f"class {i % classes}" for i in range(number)]
    return make_manifest({"path": names, "label": labels}, root="/x")


@pytest.fixture(scope="module")
def simclr():
    encoder = build_encoder("r3d_small", width=4, blocks=[1, 1, 1, 1])
    return SimCLR(encoder, hidden=8, hidden_layers=1, dim=4)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (
            20,
            r"videos: has 20 training videos, too few for a batch of 32; set train\.batch_size=10",
        ),
        (2, r"has 2 training videos, too few to learn anything .* only tries the program out"),
        (1, r"has 1 training video, too few to learn anything .*; add videos, hundreds at least$"),
    ],
)
def test_fewer_videos_than_a_batch_are_told_the_truth(number, words):
    with pytest.raises(UserError, match=words):
        check_batch(config(32), videos(number))


def test_very_few_videos_are_a_trial(caplog):
    check_batch(config(2), videos(2))
    assert "nothing that holds for other videos is learned" in caplog.text
    caplog.clear()
    check_batch(config(2), videos(8))
    assert caplog.text == ""


@pytest.mark.parametrize(("batch", "accumulate"), [(1, 1), (4, 4)])
def test_a_video_without_others_to_compare_with_is_refused(simclr, batch, accumulate):
    with pytest.raises(UserError, match=r"nothing to compare it with; .*train\.clips_at_once"):
        check_task(config(batch, accumulate), videos(9), simclr)


def test_parts_of_a_batch_are_another_objective(simclr, caplog):
    check_task(config(8), videos(9), simclr)
    assert caplog.text == ""
    check_task(config(8, accumulate=2), videos(9), simclr)
    assert "compares 4 videos at a time instead of 8, which is another objective" in caplog.text


def test_one_class_is_refused():
    encoder = build_encoder("r3d_small", width=4, blocks=[1, 1, 1, 1])
    task = Finetune(encoder, class_names=["class 0", "class 1"])
    check_task(config(4), videos(9), task)
    with pytest.raises(UserError, match="has one class among its training videos, class 0"):
        check_task(config(4), videos(9, classes=1), task)


def test_who_compares_videos_of_a_batch():
    assert SimCLR.needs_negatives and not SwAV.needs_negatives and not Joint.needs_negatives
