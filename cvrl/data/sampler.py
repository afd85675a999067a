"""The order in which videos are visited: a function of the seed and the step, of nothing else."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from cvrl.utils.seed import numpy_rng


class Visit(NamedTuple):
    """One visit to a video: with the seed, all that the randomness of a sample depends on."""

    epoch: int
    video: int


class EveryVideo(Sampler[list[Visit]]):
    """Batches of visits in rounds that leave no video out; the last one of a round is smaller.

    Args:
        videos: how many videos there are.
        batch_size: videos a batch.
        visits: rounds.
        first_visit: the number of the first round.

    Example:
        >>> [[visit.video for visit in batch] for batch in EveryVideo(3, batch_size=2, visits=2)]
        [[0, 1], [2], [0, 1], [2]]
    """

    def __init__(
        self, videos: int, *, batch_size: int, visits: int = 1, first_visit: int = 0
    ) -> None:
        self.videos, self.batch_size = videos, batch_size
        self.rounds = range(first_visit, first_visit + visits)

    def __iter__(self) -> Iterator[list[Visit]]:
        for visit in self.rounds:
            for first in range(0, self.videos, self.batch_size):
                last = min(first + self.batch_size, self.videos)
                yield [Visit(visit, video) for video in range(first, last)]


class VisitSampler(Sampler[list[Visit]]):
    """Batches of visits for this rank, from any step on.

    Each epoch is a fresh permutation of all videos. A global batch is cut into ``accumulate`` micro
    batches and each of those into one run of rows a rank, so the ranks' rows, joined in rank order,
    are the rows one process would see. What is left of an epoch after its last whole batch is
    skipped: that keeps every step's batch equal, and other videos are left in the next epoch.

    Args:
        videos: how many videos there are.
        batch_size: videos an optimiser step, over all ranks and micro batches.
        seed: of the permutations.
        first_step: the optimiser step to begin with; a resumed run gives the step it stopped at.
        last_step: the step to stop before.
        accumulate: micro batches a step.
        rank: this process.
        world_size: how many processes.

    Raises:
        ValueError: fewer videos than a batch.

    Example:
        >>> sampler = VisitSampler(videos=5, batch_size=2, seed=0, last_step=3)
        >>> [[visit.epoch for visit in batch] for batch in sampler]
        [[0, 0], [0, 0], [1, 1]]
    """

    def __init__(
        self,
        *,
        videos: int,
        batch_size: int,
        seed: int,
        last_step: int,
        first_step: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if videos < batch_size:
            raise ValueError(f"{videos} videos do not fill a batch of {batch_size}")
        self.videos = videos
        self.batch_size = batch_size
        self.seed = seed
        self.first_step = first_step
        self.last_step = last_step
        self.accumulate = accumulate
        self.rank = rank
        self.world_size = world_size

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches an epoch."""
        return self.videos // self.batch_size

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[Visit]]:
        order, order_epoch = np.empty(0, dtype=np.int64), -1
        for step in range(self.first_step, self.last_step):
            epoch, batch = divmod(step, self.steps_per_epoch)
            if epoch != order_epoch:
                order, order_epoch = numpy_rng(self.seed, epoch).permutation(self.videos), epoch
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            for micro_batch in np.array_split(rows, self.accumulate):
                mine = np.array_split(micro_batch, self.world_size)[self.rank]
                yield [Visit(epoch, int(video)) for video in mine]
