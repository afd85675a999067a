"""Loaders: worker processes that decode and augment while the model computes."""

import math
import os
import signal
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cvrl.data.dataset import Batch, EvalBatch, EvalDataset, TrainDataset, collate, collate_eval
from cvrl.data.sampler import Visit
from cvrl.utils.errors import CorruptVideoError, UserError

Item = TypeVar("Item")
Joined = TypeVar("Joined")
PREFETCH = 2  # batches a worker is ahead


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
    """The batches of a loader, iterated once; an error a worker handed over is raised here."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Generator[Joined, None, None]:
        batches = iter(self._loader)
        try:
            for batch in batches:
                if isinstance(batch, ValueError):
                    raise batch
                yield batch
        finally:
            # Left to itself, DataLoader stops its workers when it is collected, which after an
            # error is never: the traceback holds it, and the process would wait for them for ever.
            stop_workers = getattr(batches, "_shutdown_workers", None)
            if stop_workers is not None:
                stop_workers()


def train_loader(
    dataset: TrainDataset, sampler: Sampler[list[Visit]], *, workers: int, pin_memory: bool = False
) -> Batches[Batch]:
    """Batches in the sampler's order; the number of workers changes the speed and nothing else.

    Args:
        dataset: what a visit becomes.
        sampler: which visits, in which order.
        workers: worker processes; 0 works in this process.
        pin_memory: copy batches to page-locked memory, for a GPU.

    Raises:
        CorruptVideoError: no substitute could be found for a bad video.
    """
    loader = DataLoader(
        _Guarded(dataset),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_GuardedCollate(collate),
        pin_memory=pin_memory,
        worker_init_fn=_begin_worker if workers else None,
        prefetch_factor=PREFETCH if workers else None,
    )
    return Batches(loader)


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
        _Guarded(dataset),
        batch_size=batch_videos,
        sampler=range(first, len(dataset) if last is None else last),
        num_workers=workers,
        collate_fn=_GuardedCollate(collate_eval),
        worker_init_fn=_begin_worker if workers else None,
    )
    return Batches(loader)


def _begin_worker(worker_id: int) -> None:
    torch.set_num_threads(1)
    # A scheduler or Ctrl-C signals the whole group of processes. The main process decides when to
    # stop and first saves a checkpoint, for which it may still need the batch a worker is making.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Guarded(Dataset[Any]):
    """Hands a user's errors over as values: DataLoader would rebuild them as RuntimeErrors."""

    def __init__(self, dataset: TrainDataset | EvalDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> object:
        try:
            return self.dataset[key]
        except (CorruptVideoError, UserError) as error:
            return error


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
