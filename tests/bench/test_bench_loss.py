"""The benchmark of losses runs, and refuses to compare unequal ones."""

import pytest
import torch

from cvrl.bench import bench_loss as loss
from cvrl.bench.common.peers import version
from cvrl.losses.contrastive import info_nce
from cvrl.utils.errors import UserError


def test_without_a_peer():
    report = loss.measure(runs=1, against=[], videos=[8], dim=4)
    assert list(report.timings) == ["cvrl, 8 videos"]
    assert [goal.met for goal in report.goals] == [None]


@pytest.mark.skipif(version("lightly") is None, reason="lightly is not installed")
def test_beside_lightly():
    report = loss.measure(runs=1, against=["lightly"], videos=[8, 16], dim=4)
    assert len(report.timings) == 4
    assert all(goal.ratio > 0 for goal in report.goals)
    assert "gradients differ" in report.notes[0]


def test_unequal_losses_are_refused():
    views = torch.randn(4, 3), torch.randn(4, 3)
    assert "0.0e+00" in loss.check_alike(info_nce, info_nce, *views)
    with pytest.raises(UserError, match="unequal work"):
        loss.check_alike(info_nce, lambda a, b: 2 * info_nce(a, b), *views)
