"""The benchmark of a GPU runs in its small form where there is none."""

import pytest

from cvrl.bench import bench_gpu
from cvrl.utils.errors import UserError


def test_steps_and_checks_in_the_small_form():
    parts = ["equality", "steps", "augment", "batch"]
    report = bench_gpu.measure(runs=1, against=["torchvision"], parts=parts)
    said = "\n".join(report.notes)
    assert "| r3d_small | 32 | fp32 | cvrl 2D forms |" in said and "torchvision" in said
    assert "bit-equal" in said and "clips/s" in said
    assert [goal.met for goal in report.goals] == [None] * 4


@pytest.mark.slow
def test_runs_and_resume_in_the_small_form():
    report = bench_gpu.measure(runs=1, against=[], parts=["extract", "runs", "resume"])
    said = "\n".join(report.notes)
    assert "| r3d18 112, moco, cache |" in said
    assert "is bit-identical to" in said


def test_what_is_unknown_is_refused_and_what_is_late_is_said():
    with pytest.raises(UserError, match="speeds"):
        bench_gpu.measure(runs=1, against=[], parts=["speeds"])
    report = bench_gpu.measure(runs=1, against=[], parts=["steps"], seconds=0)
    assert report.notes == ["steps: left out, the time was up"]
