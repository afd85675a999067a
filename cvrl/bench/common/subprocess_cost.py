"""What a piece of work needs in a process of its own: the peak of its memory, and its time."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

EVERY_S = 0.01  # from one look at the memory to the next


@dataclass(frozen=True)
class Needs:
    """What a function took in a fresh process.

    Memory is the process's own: pages of files, such as libraries and a memory-mapped gallery, are
    not counted, since the system takes them back where it needs room.

    Attributes:
        result: what it returned.
        cpu_s: seconds of computing.
        peak_mb: the most memory the process held. The system keeps a peak that has pages of files
            in it; the most of those that was seen is taken off, and what is left is no more than
            the true peak, nor less than what was seen.
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
    with _Watch() as watch:
        before, cpu = watch.own_mb, time.process_time()
        result = function(*arguments, **keywords)
        cpu_s = time.process_time() - cpu
    return Needs(result, cpu_s, watch.own_mb, before)


class _Watch:
    """The most memory that this process held of its own so far, looked at now and then.

    ``getrusage`` would not do: its peak may be that of the parent, from which a child was forked.

    Attributes:
        own_mb: the most that belongs to no file.
    """

    def __init__(self) -> None:
        self.own_mb = self._files_mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> "_Watch":
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.own_mb = max(self.own_mb, self._look() - self._files_mb)  # what no look met

    def _look_on(self) -> None:
        while not self._over.wait(EVERY_S):
            self._look()

    def _look(self) -> float:
        """Take note of what is held now; the peak of all that ever was, pages of files included."""
        status = Path("/proc/self/status")
        if not status.exists():
            held_mb = psutil.Process(os.getpid()).memory_info().rss / 2**20
            self.own_mb = max(self.own_mb, held_mb)
            return self.own_mb
        lines = dict(line.partition(":")[::2] for line in status.read_text().splitlines())
        held, peak, of_files = (
            int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM", "RssFile")
        )
        self._files_mb = max(self._files_mb, of_files)
        self.own_mb = max(self.own_mb, held - of_files)
        return peak
