"""What a piece of work needs in a process of its own: the peak of its memory, and its time."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch


@dataclass(frozen=True)
class Needs:
    """What a function took in a fresh process.

    Memory is the process's own: pages of files, such as libraries and a memory-mapped gallery, are
    not counted, since the system takes them back where it needs room.

    Attributes:
        result: what it returned.
        cpu_s: seconds of computing.
        peak_mb: the most memory the process held.
        before_mb: what it held after its imports, before the function ran.
    """

    result: Any
    cpu_s: float
    peak_mb: float
    before_mb: float

    @property
    def added_mb(self) -> float:
        """The peak over what was held before."""
        return self.peak_mb - self.before_mb


def needs(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Needs:
    """Run a function in a fresh process.

    Args:
        function: of a module, so that the process can import it.
        arguments: its arguments, which can be pickled, as what it returns.
        keywords: further ones.

    Example:
        >>> needs(sum, [1, 2]).result
        3
    """
    context = multiprocessing.get_context("spawn")
    threads = torch.get_num_threads()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, threads, function, arguments, keywords).result()


def _measured(
    threads: int, function: Callable[..., Any], arguments: Any, keywords: dict[str, Any]
) -> Needs:
    torch.set_num_threads(threads)
    before, cpu = _own_mb("VmRSS"), time.process_time()
    result = function(*arguments, **keywords)
    return Needs(result, time.process_time() - cpu, _own_mb("VmHWM"), before)


def _own_mb(field: str) -> float:
    """Memory now (VmRSS) or at its peak (VmHWM), since the process began to run its own program.

    The peak that ``getrusage`` gives may be that of the parent, from which a child was forked.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float(psutil.Process(os.getpid()).memory_info().rss / 2**20)
    lines = dict(line.partition(":")[::2] for line in status.read_text().splitlines())
    held, of_files = (int(lines[name].split()[0]) for name in (field, "RssFile"))
    return (held - of_files) / 1024
