"""Loaders: worker processes that decode and augment while the model computes."""

import math
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from cvrl.data.dataset import Batch, EvalBatch, EvalDataset, TrainDataset, collate, collate_eval
from cvrl.data.sampler import Visit
from cvrl.data.worker_watch import STALL_SECONDS, Board, LoaderError, Watch
from cvrl.utils.errors import CorruptVideoError, UserError

Item = TypeVar("Item")
Joined = TypeVar("Joined")
PREFETCH = 2  # batches a worker is ahead
LOOK_EVERY_S = 2.0  # how often workers are looked at while a batch is awaited


class StopWaitingError(Exception):
    """Raised by ``on_wait`` to end the run while a batch is awaited."""


def usable_cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has.

    Example:
        >>> usable_cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(ranks_here: int = 1) -> int:
    """Worker processes a rank: the cores this process may use, shared among the ranks here.

    Example:
        >>> default_workers() >= 1
        True
    """
    return max(1, min(16, usable_cores() // ranks_here))


def enough_workers(batch_s: float, step_s: float) -> int:
    """Worker processes with which data keeps up: a batch's cost divided among them fits a step.

    Args:
        batch_s: seconds that one process needs for the samples of a batch.
        step_s: seconds of a training step, above 0.

    Example:
        >>> enough_workers(1.0, 0.4), enough_workers(0.1, 0.4)
        (3, 1)
    """
    return max(1, math.ceil(batch_s / step_s))


class Batches(Generic[Joined]):
    """The batches of a loader, iterated once; an error a worker handed over is raised here.

    Args:
        loader: with workers, its ``timeout`` is how often they are looked at, and its dataset has
            a ``board``.
        on_wait: called that often while a batch is awaited; what it raises ends the iteration.
        stall_seconds: see :class:`cvrl.data.worker_watch.Watch`.

    Raises:
        LoaderError: a worker was killed, or a file does not answer.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        *,
        on_wait: Callable[[], None] | None = None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._loader = loader
        self._on_wait = on_wait
        self._stall_seconds = stall_seconds

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Generator[Joined, None, None]:
        batches = self._begin()
        workers = getattr(batches, "_workers", [])
        board = getattr(self._loader.dataset, "board", None) or Board(len(workers))
        watch = Watch(workers, board, self._stall_seconds)
        guard = _Guard(watch, self._on_wait)
        try:
            while (batch := self._next(batches, guard)) is not None:
                if isinstance(batch, ValueError):
                    raise batch
                yield batch[0]
        except (LoaderError, KeyboardInterrupt, StopWaitingError):
            watch.end()
            raise
        finally:
            guard.ended.set()
            # Left to itself, DataLoader stops its workers when it is collected, which after an
            # error is never: the traceback holds it, and the process would wait for them for ever.
            stop_workers = getattr(batches, "_shutdown_workers", None)
            if stop_workers is not None:
                stop_workers()
            watch.end()  # they ignore the signal to stop, and may wait for a file for ever

    def _begin(self) -> Iterator[Any]:
        """Start the workers. A worker's death is met on waiting, not in the middle of a step."""
        former = signal.getsignal(signal.SIGCHLD)
        batches = iter(self._loader)
        if threading.current_thread() is threading.main_thread() and former is not None:
            signal.signal(signal.SIGCHLD, former)  # torch's raises wherever the program is
        return batches

    def _next(self, batches: Iterator[Any], guard: "_Guard") -> tuple[Joined] | ValueError | None:
        """The next batch, an error that a worker handed over, or None at the end."""
        guard.waiting.set()
        try:
            while True:
                try:
                    batch = next(batches)
                    return batch if isinstance(batch, ValueError) else (batch,)
                except StopIteration:
                    return None
                except (RuntimeError, OSError, EOFError) as error:
                    if guard.failure is not None:
                        raise guard.failure from error
                    if str(error).startswith("DataLoader timed out"):
                        continue
                    dead = str(error).startswith("DataLoader worker (pid")
                    # taking over what a dead worker had sent gives errors of the connection
                    if dead or (not isinstance(error, RuntimeError) and guard.watch.has_death()):
                        raise guard.watch.death() from error
                    raise
        finally:
            guard.waiting.clear()


class _Guard:
    """Looks at the workers while a batch is awaited, from a thread, and ends those that hang.

    The main thread itself may hang in taking over a batch from a stopped worker; ending that worker
    sets it free.
    """

    def __init__(self, watch: Watch, on_wait: Callable[[], None] | None) -> None:
        self.watch = watch
        self.waiting, self.ended = threading.Event(), threading.Event()
        self.failure: LoaderError | StopWaitingError | None = None
        self._on_wait = on_wait
        if watch.has_workers:
            threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self.ended.wait(LOOK_EVERY_S):
            if not self.waiting.is_set():
                continue
            try:
                self.watch.check()
                if self._on_wait is not None:
                    self._on_wait()
            except (LoaderError, StopWaitingError) as failure:
                self.failure = failure
                self.watch.end()
                return


def train_loader(
    dataset: TrainDataset,
    sampler: Sampler[list[Visit]],
    *,
    workers: int,
    pin_memory: bool = False,
    on_wait: Callable[[], None] | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> Batches[Batch]:
    """Batches in the sampler's order; the number of workers changes the speed and nothing else.

    Args:
        dataset: what a visit becomes.
        sampler: which visits, in which order.
        workers: worker processes; 0 works in this process.
        pin_memory: copy batches to page-locked memory, for a GPU.
        on_wait: see :class:`Batches`.
        stall_seconds: see :class:`Batches`.

    Raises:
        CorruptVideoError: no substitute could be found for a bad video.
        LoaderError: a worker was killed, or a file does not answer.
    """
    loader = DataLoader(
        _Guarded(dataset, workers),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_GuardedCollate(collate),
        pin_memory=pin_memory,
        worker_init_fn=begin_worker if workers else None,
        prefetch_factor=PREFETCH if workers else None,
        timeout=LOOK_EVERY_S if workers else 0,
    )
    return Batches(loader, on_wait=on_wait, stall_seconds=stall_seconds)


def eval_loader(
    dataset: EvalDataset,
    *,
    batch_videos: int,
    workers: int,
    first: int = 0,
    last: int | None = None,
) -> Batches[EvalBatch]:
    """The videos ``first`` to ``last`` (excluded) in the manifest's order, some at a time.

    Args:
        dataset: the videos and how their clips are cut.
        batch_videos: videos a batch.
        workers: worker processes; 0 works in this process.
        first: the first video.
        last: the video to stop before; None reads to the end.

    Raises:
        CorruptVideoError: a file cannot be decoded, unless the dataset names such files.
    """
    loader = DataLoader(
        _Guarded(dataset, workers),
        batch_size=batch_videos,
        sampler=range(first, len(dataset) if last is None else last),
        num_workers=workers,
        collate_fn=_GuardedCollate(collate_eval),
        worker_init_fn=begin_worker if workers else None,
        timeout=LOOK_EVERY_S if workers else 0,
    )
    return Batches(loader)


def stream_loader(stream: IterableDataset[Item], workers: int) -> Batches[Item]:
    """Decode a stream in worker processes while the model computes.

    Args:
        stream: the clips, in pieces; its workers take their share of it.
        workers: processes; 0 decodes in this one.

    Returns:
        Single pieces: those of one video come in order, videos may interleave.

    Raises:
        LoaderError: a worker was killed, or a file does not answer.
    """
    loader = DataLoader(
        _WatchedStream(stream, workers),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=begin_worker if workers else None,
        timeout=LOOK_EVERY_S if workers else 0,
    )
    return Batches(loader)


def begin_worker(worker_id: int) -> None:
    """Prepare a loader process: one thread, and signals left to the main process."""
    torch.set_num_threads(1)
    # A scheduler or Ctrl-C signals the whole group of processes. The main process decides when to
    # stop and first saves a checkpoint, for which it may still need the batch a worker is making.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


class _Guarded(Dataset[Any]):
    """Hands a user's errors over as values: DataLoader would rebuild them as RuntimeErrors."""

    def __init__(self, dataset: TrainDataset | EvalDataset, workers: int) -> None:
        self.dataset = dataset
        self.board = Board(workers)

    def __getitem__(self, key: Any) -> object:
        try:
            return self.dataset[key]
        except (CorruptVideoError, UserError) as error:
            return error
        finally:
            worker = get_worker_info()
            if worker is not None:
                self.board.rest(worker.id)


class _WatchedStream(IterableDataset[Item]):
    """A stream that tells the main process when its worker rests."""

    def __init__(self, stream: IterableDataset[Item], workers: int) -> None:
        super().__init__()
        self.stream = stream
        self.board = Board(workers)

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        if worker is None:
            yield from self.stream
            return
        for piece in self.stream:
            self.board.rest(worker.id)
            yield piece
            self.board.go_on(worker.id)
        self.board.rest(worker.id)


class _GuardedCollate(Generic[Item, Joined]):
    """``collate``, or the first error among the items."""

    def __init__(self, collate: Callable[[Sequence[Item]], Joined]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Item | ValueError]) -> Joined | ValueError:
        whole: list[Item] = []
        for item in items:
            if isinstance(item, ValueError):
                return item
            whole.append(item)
        return self.collate(whole)
