"""Turns, medians and verdicts, against numbers worked out by hand."""

import json
import time

import pytest
from rich.console import Console

from cvrl.bench.timing import Goal, Report, Timing, describe_machine, interleave, ratio


def test_candidates_take_turns_in_changing_order():
    calls = []
    candidates = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    timings = interleave(candidates, runs=3, warm_up=1)
    assert "".join(calls) == "abbaabba"
    assert [len(timings[name].wall_s) for name in "ab"] == [3, 3]


def test_sleep_takes_time_and_no_computing():
    def compute():
        sum(i * i for i in range(300_000))

    timings = interleave({"sleep": lambda: time.sleep(0.05), "compute": compute}, runs=3)
    assert timings["sleep"].median() >= 0.05 > 10 * timings["sleep"].median("cpu")
    assert timings["compute"].median("cpu") > timings["sleep"].median("cpu")
    assert ratio(timings, "sleep", "compute", "cpu") < 0.5


def test_median_and_spread():
    timing = Timing([1.0, 2.0, 3.0, 4.0, 10.0], [1.0])
    assert timing.median() == 3.0 and timing.spread() == pytest.approx((7.0 - 1.5) / 3)
    assert timing.spread("cpu") == 0.0


@pytest.mark.parametrize(
    ("found", "better", "met"),
    [
        (2.0, "at least", True),
        (1.9, "at least", False),
        (2.1, "at most", False),
        (None, "at most", None),
    ],
)
def test_a_goal_is_met_or_not(found, better, met):
    assert Goal("speed", found, 2.0, better).met is met


def test_a_report_is_written_whole_and_shown(tmp_path):
    goals = [Goal("a / b", 0.5, 0.7, "at most"), Goal("c", None, 1.0, "at least", note="no GPU")]
    report = Report("step", {"threads": 1}, {"a": Timing([0.1], [0.1])}, goals, ["kornia"])
    content = json.loads(report.write(tmp_path / "x" / "step.json").read_text())
    assert [goal["met"] for goal in content["goals"]] == [True, None]
    assert content["timings"]["a"]["wall_s"] == [0.1]
    assert content["machine"]["torch"] and content["machine"]["cores"] >= 1
    console = Console(record=True, width=120)
    console.print(report.render())
    text = console.export_text()
    assert "met" in text and "not installed: kornia" in text and "no GPU" in text


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["processor"] and machine["memory_gb"] > 0 and "av" in machine
