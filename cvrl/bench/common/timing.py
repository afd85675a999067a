"""Ratios of times that a busy machine cannot bend: candidates take turns, medians are compared.

Machines differ, so seconds say little; what holds is the ratio of two candidates that did the same
work in turns. CPU seconds of the process count computing alone, wall seconds also waiting; a goal
says by which of them it is judged.
"""

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from cvrl.bench.common.peers import version
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

Clock = Literal["wall", "cpu"]
PACKAGES = (
    *("torch", "torchvision", "av", "decord2"),
    *("pytorchvideo", "torchcodec", "kornia", "lightly"),
)
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Timing:
    """What the runs of one candidate took, in the order of the runs.

    Attributes:
        name: of the candidate.
        wall_s: seconds on the clock.
        cpu_s: seconds of computing, all threads of this process together.
    """

    name: str
    wall_s: list[float]
    cpu_s: list[float]

    @property
    def median_wall(self) -> float:
        """Seconds on the clock, of the middle run."""
        return statistics.median(self.wall_s)

    @property
    def median_cpu(self) -> float:
        """Seconds of computing, of the middle run."""
        return statistics.median(self.cpu_s)

    @property
    def spread(self) -> float:
        """How far the middle half of the runs lies apart on the clock, as a share of the median."""
        if len(self.wall_s) < 2:
            return 0.0
        first, _, third = statistics.quantiles(self.wall_s, n=4, method="inclusive")
        return (third - first) / self.median_wall

    def runs(self, clock: Clock) -> list[float]:
        """Seconds of each run by that clock."""
        return self.wall_s if clock == "wall" else self.cpu_s


def interleave(
    candidates: Mapping[str, Callable[[], object]], *, runs: int, warm_up: int = 1
) -> dict[str, Timing]:
    """Time candidates in turns: one run of each, then the next of each, in changing order.

    Args:
        candidates: what to run, by name. One that leaves work to a GPU waits for it itself.
        runs: of each, counted.
        warm_up: runs of each before them, not counted.

    Raises:
        UserError: ``runs`` is below 1.

    Example:
        >>> timings = interleave({"sum": lambda: sum(range(1000))}, runs=3)
        >>> len(timings["sum"].wall_s)
        3
    """
    if runs < 1:
        raise UserError(f"runs = {runs}", "nothing would be measured", "give 1 or more")
    timings = {name: Timing(name, [], []) for name in candidates}
    for turn in range(-warm_up, runs):
        names = list(candidates)
        for name in names if turn % 2 else reversed(names):
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            candidates[name]()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn >= 0:
                timings[name].wall_s.append(wall)
                timings[name].cpu_s.append(cpu)
    return timings


def ratio(timings: Mapping[str, Timing], over: str, under: str, clock: Clock = "cpu") -> float:
    """How long one candidate took, in times of another: the median over the turns of their ratio.

    Args:
        timings: of candidates that were timed in the same turns.
        over: whose time is divided.
        under: by whose time.
        clock: wall or CPU seconds.

    Example:
        >>> a, b = Timing("a", [2.0, 4.0], [1.0, 1.0]), Timing("b", [1.0, 2.0], [2.0, 2.0])
        >>> ratio({"a": a, "b": b}, "a", "b"), ratio({"a": a, "b": b}, "a", "b", "wall")
        (0.5, 2.0)
    """
    pairs = zip(timings[over].runs(clock), timings[under].runs(clock), strict=True)
    return statistics.median(a / max(b, 1e-9) for a, b in pairs)


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was.

    Attributes:
        what: in words, with both sides of the ratio.
        ratio: the measured figure; None where it could not be measured, and ``note`` says why.
        goal: what it should be.
        better: which side of the goal is good.
        clock: what the figure was read from.
        note: the reason of a miss, what was tried, the unit of a figure that is no ratio.

    Example:
        >>> Goal("a / b", 0.5, 0.7, "at most").met, Goal("on a GPU", None, 2.0, "at least").met
        (True, None)
    """

    what: str
    ratio: float | None
    goal: float
    better: Literal["at least", "at most"]
    clock: Clock = "cpu"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None where it was not measured."""
        if self.ratio is None:
            return None
        return self.ratio >= self.goal if self.better == "at least" else self.ratio <= self.goal


@dataclass(frozen=True)
class Report:
    """The figures of one subject, and where they were taken.

    Attributes:
        subject: the name of its file in ``cvrl/bench``.
        timings: of the candidates, by name.
        goals: judged from them.
        facts: what was the same for all candidates, and figures beside: sizes, type, threads.
        absent: peers that were asked for and are not installed.
        notes: what a reader should know, such as how far outputs agreed.
        machine: see :func:`describe_machine`.
    """

    subject: str
    timings: Mapping[str, Timing]
    goals: list[Goal] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: describe_machine())

    def write(self, path: str | PathLike[str]) -> Path:
        """Write all of it as JSON, with every run."""
        content = asdict(self)
        content["goals"] = [asdict(goal) | {"met": goal.met} for goal in self.goals]
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return Path(path)

    def to_table(self) -> str:
        """Goals, times and circumstances as Markdown, goals first."""
        lines = [f"**{self.subject}**", ""]
        if self.goals:
            lines += ["| goal | measured | wanted | clock | |", "|---|---|---|---|---|"]
            lines += [_goal_row(goal) for goal in self.goals] + [""]
        if self.timings:
            lines += ["| | CPU ms | wall ms | spread |", "|---|---|---|---|"]
            lines += [_timing_row(timing) for timing in self.timings.values()] + [""]
        for facts in (self.facts, self.machine):
            lines += [", ".join(f"{key} {value}" for key, value in facts.items())] if facts else []
        lines += [f"not installed: {', '.join(self.absent)}"] if self.absent else []
        return "\n".join([*lines, *self.notes])


def _goal_row(goal: Goal) -> str:
    found = "not measured" if goal.ratio is None else f"{goal.ratio:.3g}"
    verdict = {True: "met", False: "missed", None: ""}[goal.met]
    said = ": ".join(part for part in (verdict, goal.note) if part)
    return f"| {goal.what} | {found} | {goal.better} {goal.goal:g} | {goal.clock} | {said} |"


def _timing_row(timing: Timing) -> str:
    cpu, wall = 1000 * timing.median_cpu, 1000 * timing.median_wall
    return f"| {timing.name} | {cpu:.2f} | {wall:.2f} | {timing.spread:.0%} |"


def describe_machine() -> dict[str, Any]:
    """Processor, instruction sets, cores, memory, load, GPU, and versions of packages."""
    processor, flags = _processor()
    facts: dict[str, Any] = {
        "processor": processor,
        "flags": " ".join(flag for flag in FLAGS if flag in flags),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load": round(psutil.getloadavg()[0], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }
    versions = {name: version(name) for name in PACKAGES}
    return facts | {name: found for name, found in versions.items() if found is not None}


def _processor() -> tuple[str, set[str]]:
    """Name and instruction sets; on systems other than Linux the name alone."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    pairs = dict(line.partition(":")[::2] for line in lines)
    known = {key.strip(): value.strip() for key, value in pairs.items()}
    name = known.get("model name") or platform.processor() or platform.machine()
    return name, set(known.get("flags", "").split())
