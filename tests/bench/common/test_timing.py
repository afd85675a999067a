"""Turns, medians and verdicts, against numbers worked out by hand."""

import json
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvrl.bench.common.peers import version
from cvrl.bench.common.timing import (
    Goal,
    Report,
    Timing,
    describe_machine,
    interleave,
    ratio,
)
from cvrl.engine.devices import torch_threads
from cvrl.utils.errors import UserError


def test_candidates_take_turns_in_changing_order():
    calls = []
    candidates = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    timings = interleave(candidates, runs=3, warm_up=1)
    assert "".join(calls) == "abbaabba"
    assert [len(timings[name].wall_s) for name in "ab"] == [3, 3]
    assert [timings[name].name for name in timings] == ["a", "b"]


def test_without_a_run_nothing_is_measured():
    with pytest.raises(UserError, match="runs = 0"):
        interleave({"a": list}, runs=0)


def test_sleep_takes_time_and_no_computing():
    def compute():
        sum(i * i for i in range(300_000))

    timings = interleave({"sleep": lambda: time.sleep(0.05), "compute": compute}, runs=3)
    assert timings["sleep"].median_wall >= 0.05 > 10 * timings["sleep"].median_cpu
    assert timings["compute"].median_cpu > timings["sleep"].median_cpu
    assert ratio(timings, "sleep", "compute") < 0.5


def test_median_and_spread():
    timing = Timing("a", [1.0, 2.0, 3.0, 4.0, 10.0], [1.0])
    assert timing.median_wall == 3.0 and timing.median_cpu == 1.0
    assert timing.spread == pytest.approx((4.0 - 2.0) / 3)
    assert Timing("a", [1.0], [1.0]).spread == 0.0


def test_a_ratio_pairs_the_runs_of_a_turn():
    # One slow turn hurts both, and so not their ratio; medians alone would give 2 / 1.
    a, b = Timing("a", [2.0, 2.0, 90.0], [1, 1, 1]), Timing("b", [1.0, 0.5, 30.0], [1, 1, 1])
    assert ratio({"a": a, "b": b}, "a", "b", "wall") == 3.0


@given(
    turns=st.lists(st.tuples(*[st.floats(0.01, 100)] * 3), min_size=1, max_size=9),
)
def test_a_machine_that_slows_between_turns_does_not_bend_a_ratio(turns):
    def timings(slow):
        first = Timing("a", [a * s for a, _, s in slow], [])
        return {"a": first, "b": Timing("b", [b * s for _, b, s in slow], [])}

    steady = ratio(timings([(a, b, 1.0) for a, b, _ in turns]), "a", "b", "wall")
    assert ratio(timings(turns), "a", "b", "wall") == pytest.approx(steady)


def test_candidates_of_different_turns_have_no_ratio():
    unequal = {"a": Timing("a", [1.0, 2.0], []), "b": Timing("b", [1.0], [])}
    with pytest.raises(ValueError, match="shorter"):
        ratio(unequal, "a", "b", "wall")


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("found", "better", "met"),
    [
        (2.0, "at least", True),
        (1.9, "at least", False),
        (2.0, "at most", True),
        (2.1, "at most", False),
        (None, "at most", None),
    ],
)
def test_a_goal_is_met_or_not(found, better, met):
    assert Goal("speed", found, 2.0, better).met is met


@pytest.fixture
def report():
    goals = [
        Goal("a / b", 0.5, 0.7, "at most"),
        Goal("c", None, 1.0, "at least", note="no GPU"),
        Goal("d", 0.5, 1.0, "at least", "wall"),
    ]
    timings = {"a": Timing("a", [0.1], [0.0125])}
    return Report("step", timings, goals, {"threads": 1}, ["kornia"], ["outputs agree"])


def test_a_report_is_written_whole(report, tmp_path):
    content = json.loads(report.write(tmp_path / "x" / "step.json").read_text())
    assert [goal["met"] for goal in content["goals"]] == [True, None, False]
    assert content["timings"]["a"] == {"name": "a", "wall_s": [0.1], "cpu_s": [0.0125]}
    assert content["machine"]["torch"] == version("torch")
    assert content["absent"] == ["kornia"]


def test_a_report_is_a_table(report):
    lines = report.to_table().splitlines()
    assert "| a / b | 0.5 | at most 0.7 | cpu | met |" in lines
    assert "| c | not measured | at least 1 | cpu | no GPU |" in lines
    assert "| d | 0.5 | at least 1 | wall | missed |" in lines
    assert "| a | 12.50 | 100.00 | 0% |" in lines
    assert lines[-2:] == ["not installed: kornia", "outputs agree"]


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["processor"] and machine["memory_gb"] > 0 and machine["cores"] >= 1
    assert {"av", "torchvision", "pytorchvideo"} <= set(machine)
