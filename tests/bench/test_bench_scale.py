"""The benchmark of growth runs with small numbers, and measures memory that was really taken."""

import torch

from cvrl.bench.bench_scale import measure
from cvrl.bench.common.subprocess_cost import needs


def take(megabytes: int) -> int:
    return len(b"x" * (megabytes * 2**20))


def test_the_peak_is_that_of_the_function():
    ballast = torch.ones(300 * 2**20, dtype=torch.uint8)  # of this process, not of the other
    found = needs(take, 200)
    assert found.result == 200 * 2**20
    assert 190 < found.added_mb < 260
    assert len(ballast)


def test_a_small_setting():
    small = {"rows": 3000, "queries": 5, "dim": 8, "encoder": "r3d_small"}
    report = measure(runs=1, clips=8, size=32, frames=8, **small)
    goals = {goal.what: goal for goal in report.goals}
    assert goals["error of cached gradients"].met
    assert goals["open the list, seconds"].ratio > 0
    assert goals["open the index of shards / the list, seconds"].ratio > 0
    assert goals["open the list, MB a worker holds alone"].ratio < 30
    assert {"step plain MB", "step recomputed MB", "step cached CPU s"} <= set(report.facts)
    assert len(report.timings) == 2
