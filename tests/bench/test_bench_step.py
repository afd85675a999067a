"""The benchmark of training steps runs, compares equal work, and says so where it is not."""

import copy

import pytest
import torch

from cvrl.bench import bench_step as step
from cvrl.bench.common.networks import peer_network, settle, smooth_clips
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


def test_a_small_setting():
    report = step.measure(
        runs=1, against=["torchvision"], encoders=["r3d_small"], clips=4, frames=8, size=64
    )
    assert set(report.timings) == {
        f"r3d_small {k}" for k in ("cvrl", "torchvision", "matrix product")
    }
    [goal] = report.goals
    assert 0 < goal.ratio < 10
    assert "gradients differ by" in report.notes[0]


def test_without_its_peer_a_goal_is_not_measured():
    report = step.measure(runs=1, against=[], encoders=["r3d_small"], clips=4, frames=8, size=64)
    assert [goal.met for goal in report.goals] == [None]


def test_unequal_work_is_refused():
    torch.manual_seed(0)
    x = smooth_clips(2, 8, 32)
    encoder = settle(build_encoder("r3d_small", width=2), x).train()
    other = copy.deepcopy(encoder)
    assert "float64" in step.check_alike(encoder, peer_network(encoder), x)
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    with pytest.raises(UserError, match="unequal work"):
        step.check_alike(other, encoder, x)
