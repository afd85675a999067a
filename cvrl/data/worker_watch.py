"""What loader workers work on, seen from the main process: a stuck or dead one is named.

A worker writes the file it opens into memory that the main process shares. A file is stuck when its
worker has used no processor time for long: the mount does not answer, or the process was stopped.
Slow work is not, since it computes.
"""

import ctypes
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from typing import Any

import psutil
from torch.utils.data import get_worker_info

from cvrl.utils.errors import UserError

STALL_SECONDS = 120.0
PATH_BYTES = 4096
_LEAST_CPU_S = 0.02  # what counts as a sign of life


class LoaderError(UserError):
    """A loader worker died or hangs. It is raised between two batches."""


class Board:
    """The file each worker has open, written by the workers and read by the main process.

    Args:
        workers: how many there are.

    Example:
        >>> board = Board(workers=2)
        >>> board.begin(1, "a.mp4")
        >>> board.path(0), board.path(1)
        ('', 'a.mp4')
    """

    def __init__(self, workers: int) -> None:
        self._lines: list[Any] = [RawArray(ctypes.c_char, PATH_BYTES) for _ in range(workers)]
        self._last = b""

    def begin(self, worker: int, path: str) -> None:
        """A worker opens a file."""
        self._last = path.encode("utf-8", "surrogateescape")[: PATH_BYTES - 1]
        self._lines[worker].value = self._last

    def rest(self, worker: int) -> None:
        """A worker hands its result over."""
        self._lines[worker].value = b""

    def go_on(self, worker: int) -> None:
        """A worker takes up the file it had before."""
        self._lines[worker].value = self._last

    def path(self, worker: int) -> str:
        """The file that a worker has open; empty between two."""
        return bytes(self._lines[worker].value).decode("utf-8", "surrogateescape")


def note_file(path: str) -> None:
    """Tell the main process that this worker opens a file; nothing outside of a worker."""
    worker = get_worker_info()
    board = getattr(worker.dataset, "board", None) if worker is not None else None
    if worker is not None and board is not None:
        board.begin(worker.id, path)


class Watch:
    """Looks at the workers of one pass over the data.

    Args:
        workers: the processes.
        board: what they work on.
        stall_seconds: without processor time, after which a file is stuck.
    """

    def __init__(
        self, workers: Sequence[BaseProcess], board: Board, stall_seconds: float = STALL_SECONDS
    ) -> None:
        self._workers = workers
        self._board = board
        self._stall_seconds = stall_seconds
        self._alive: dict[int, tuple[str, float, float]] = {}  # file, processor time, since when

    @property
    def has_workers(self) -> bool:
        """Whether there are worker processes."""
        return bool(self._workers)

    def check(self) -> None:
        """Look for a worker that does nothing; to be called now and then while a batch is awaited.

        Raises:
            LoaderError: naming the file.
        """
        now = time.monotonic()
        for number, worker in enumerate(self._workers):
            path, used = self._board.path(number), _cpu_seconds(worker)
            former = self._alive.get(number)
            if not path or former is None or former[0] != path or used - former[1] > _LEAST_CPU_S:
                self._alive[number] = (path, used, now)
            elif now - former[2] > self._stall_seconds:
                raise LoaderError(
                    path,
                    f"reading it has stood still for {now - former[2]:.0f} s",
                    "see whether its disk answers, or leave it out; then repeat the command",
                )

    def has_death(self, within_s: float = 5.0) -> bool:
        """Whether a worker died; one that is about to is waited for."""
        return bool(wait([worker.sentinel for worker in self._workers], timeout=within_s))

    def death(self) -> LoaderError:
        """The error of a worker that died."""
        codes = {worker.pid: worker.exitcode for worker in self._workers if worker.exitcode}
        pid, code = next(iter(codes.items()), (0, 0))
        name = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        remedy = "use fewer data.workers or --workers if memory ran out; then repeat the command"
        if name == "SIGBUS":
            remedy = "make space in /dev/shm, or use data.workers=0; then repeat the command"
        return LoaderError(f"loader worker {pid}", f"was ended from outside ({name})", remedy)

    def end(self) -> None:
        """End the workers that are still there, whatever they wait for."""
        for worker in self._workers:
            if worker.is_alive():
                worker.kill()


def _cpu_seconds(worker: BaseProcess) -> float:
    try:
        times = psutil.Process(worker.pid).cpu_times()
        return float(times.user + times.system)
    except psutil.Error:  # it has ended, which the loader notices
        return 0.0
