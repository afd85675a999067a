"""Ratios of times that a busy machine cannot bend: candidates take turns, medians are compared.

Machines differ, so seconds say little; what holds is the ratio of two candidates that did the same
work in turns. CPU seconds of the process and its children count work alone, wall seconds also
waiting; a goal says by which of them it is judged.
"""

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cvrl.utils.io import atomic_path

PACKAGES = (
    "torch",
    "torchvision",
    "pytorchvideo",
    "torchcodec",
    "kornia",
    "lightly",
    "av",
    "decord2",
)
PEERS = ("pytorchvideo", "torchcodec", "torchvision", "kornia", "lightly")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "amx_int8")
Clock = Literal["wall", "cpu"]


@dataclass(frozen=True)
class Timing:
    """What the runs of one candidate took, in the order of the runs.

    Attributes:
        wall_s: seconds on the clock.
        cpu_s: seconds of computing, all threads of this process together.
    """

    wall_s: list[float]
    cpu_s: list[float]

    def median(self, clock: Clock = "wall") -> float:
        """The middle run, in seconds."""
        return statistics.median(self._runs(clock))

    def spread(self, clock: Clock = "wall") -> float:
        """Half the runs lie within this share of the median, around it."""
        runs = self._runs(clock)
        if len(runs) < 2:
            return 0.0
        quarters = statistics.quantiles(runs, n=4)
        return (quarters[2] - quarters[0]) / statistics.median(runs)

    def _runs(self, clock: Clock) -> list[float]:
        return self.wall_s if clock == "wall" else self.cpu_s


def interleave(
    candidates: Mapping[str, Callable[[], object]], *, runs: int, warm_up: int = 1
) -> dict[str, Timing]:
    """Time candidates in turns: one run of each, then the next of each, in changing order.

    Args:
        candidates: what to run, by name.
        runs: of each, counted.
        warm_up: runs of each before them, not counted.

    Example:
        >>> timings = interleave({"sum": lambda: sum(range(1000))}, runs=3)
        >>> len(timings["sum"].wall_s)
        3
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for turn in range(-warm_up, runs):
        names = list(candidates)
        for name in names if turn % 2 else reversed(names):
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            candidates[name]()
            took = (time.perf_counter() - wall, time.process_time() - cpu)
            if turn >= 0:
                taken[name].append(took)
    return {
        name: Timing([wall for wall, _ in pairs], [cpu for _, cpu in pairs])
        for name, pairs in taken.items()
    }


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was.

    Attributes:
        what: in words, with both sides of the ratio.
        found: the measured figure; None where it could not be measured, which ``note`` explains.
        goal: what it should be.
        better: which side of the goal is good.
        unit: of both figures; empty for a ratio.
        note: why a goal was missed or not measured, and what was tried.
    """

    what: str
    found: float | None
    goal: float
    better: Literal["at least", "at most"]
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None where it was not measured."""
        if self.found is None:
            return None
        return self.found >= self.goal if self.better == "at least" else self.found <= self.goal


@dataclass(frozen=True)
class Report:
    """The figures of one subject, and where they were taken.

    Attributes:
        subject: loader, augment, step, extract, views, scale.
        facts: what was the same for all candidates: sizes, type, threads.
        timings: of the candidates, by name.
        goals: judged from them.
        absent: peers that were asked for and are not installed.
        notes: what a reader should know, such as how far outputs agreed.
        machine: see :func:`describe_machine`.
    """

    subject: str
    facts: dict[str, Any]
    timings: dict[str, Timing]
    goals: list[Goal] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: describe_machine())

    def write(self, path: str | PathLike[str]) -> Path:
        """Write all of it as JSON, whole or not at all."""
        content = asdict(self)
        content["goals"] = [asdict(goal) | {"met": goal.met} for goal in self.goals]
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return Path(path)

    def render(self) -> RenderableType:
        """Lay it out for a terminal: times, goals, circumstances."""
        times = Table("", title=self.subject, title_justify="left")
        for column in ("wall ms", "spread", "CPU ms"):
            times.add_column(column, justify="right")
        for name, timing in self.timings.items():
            wall, cpu = 1000 * timing.median(), 1000 * timing.median("cpu")
            times.add_row(name, f"{wall:.2f}", f"{timing.spread():.0%}", f"{cpu:.2f}")
        goals = Table("goal", "found", "wanted", "", title_justify="left")
        for goal in self.goals:
            found = "not measured" if goal.found is None else f"{goal.found:.3g} {goal.unit}"
            wanted = f"{goal.better} {goal.goal:g} {goal.unit}"
            verdict = {True: "met", False: "MISSED", None: ""}[goal.met]
            goals.add_row(goal.what, found, wanted, f"{verdict} {goal.note}".strip())
        facts = ", ".join(f"{key} {value}" for key, value in self.facts.items())
        machine = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        absent = [f"not installed: {', '.join(self.absent)}"] if self.absent else []
        return Group(times, goals, Text("\n".join([facts, machine, *absent, *self.notes])))


def ratio(timings: Mapping[str, Timing], over: str, under: str, clock: Clock = "wall") -> float:
    """How long one candidate took, in times of another: the median over the turns of their ratio.

    Args:
        timings: of candidates that were timed in the same turns.
        over: whose time is divided.
        under: by whose time.
        clock: wall or CPU seconds.

    Example:
        >>> two = {"a": Timing([2.0, 4.0], [1.0, 1.0]), "b": Timing([1.0, 2.0], [2.0, 2.0])}
        >>> ratio(two, "a", "b"), ratio(two, "a", "b", "cpu")
        (2.0, 0.5)
    """
    pairs = zip(timings[over]._runs(clock), timings[under]._runs(clock), strict=True)
    return statistics.median(a / max(b, 1e-9) for a, b in pairs)


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, instruction sets and versions."""
    cpu, flags = _processor()
    return {
        "processor": cpu,
        "flags": " ".join(flag for flag in FLAGS if flag in flags),
        "cores": psutil.cpu_count(logical=True),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load": round(os.getloadavg()[0], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    } | {name: version for name in PACKAGES if (version := _version(name)) is not None}


def missing_peers(names: Sequence[str]) -> list[str]:
    """Those of some packages that are not installed.

    Example:
        >>> missing_peers(["torch", "no-such-package"])
        ['no-such-package']
    """
    return [name for name in names if _version(name) is None]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> tuple[str, set[str]]:
    """Name and instruction sets; on systems other than Linux the name alone."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine(), set()
    lines = dict(
        line.split(":", 1)
        for line in info.read_text().replace("\t", "").splitlines()
        if ":" in line
    )
    name = lines.get("model name", platform.machine()).strip()
    return name, set(lines.get("flags", "").split())
