"""The benchmark of dense features runs, and says what it compared."""

import pytest

from cvrl.bench.bench_dense import GOALS, measure
from cvrl.engine.devices import torch_threads


def test_a_small_setting():
    with torch_threads(1):
        report = measure(runs=1, clips=3, frames=4, size=32, at_once=2)
    assert len(report.timings) == 2 * len(GOALS)
    assert report.facts["once a frame"] == "stem res2 res3"
    *ratios, error = report.goals
    assert all(0 < goal.ratio < 2 for goal in ratios)
    assert error.met


@pytest.mark.parametrize("overlap", GOALS)
def test_goals_are_of_an_overlap(overlap):
    assert 0 < 1 - overlap <= GOALS[overlap] < 1
