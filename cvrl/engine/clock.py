"""How fast a run is, and how much of its time it waits for data."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Speed:
    """Clips a second over all devices, and the share of time spent waiting for data, in [0, 1]."""

    clips_per_second: float
    data_wait: float


class Clock:
    """Measures laps of a run.

    Args:
        clips_per_step: clips an optimiser step, over all devices.

    Example:
        >>> clock = Clock(clips_per_step=8)
        >>> clock.start(step=0)
        >>> clock.lap(step=2).clips_per_second > 0
        True
    """

    def __init__(self, clips_per_step: int) -> None:
        self._clips_per_step = clips_per_step
        self.start(0)

    def start(self, step: int) -> None:
        """Begin the first lap at ``step``."""
        self._step, self._began, self._waited = step, time.perf_counter(), 0.0

    def lap(self, step: int) -> Speed:
        """The speed since the last lap; begins the next one."""
        spent = max(time.perf_counter() - self._began, 1e-9)
        speed = Speed(
            clips_per_second=(step - self._step) * self._clips_per_step / spent,
            data_wait=self._waited / spent,
        )
        self.start(step)
        return speed

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent in this block is waiting for data."""
        asked = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - asked

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent in this block is not part of the lap."""
        left = time.perf_counter()
        yield
        self._began += time.perf_counter() - left
