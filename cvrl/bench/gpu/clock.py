"""Seconds and memory of work on a device, and the device's peak."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

WARM_UP = 3  # runs before those that are timed
SIDE = 8192  # of the matrices whose product is a GPU's peak
SIDE_ON_CPU = 512


@dataclass(frozen=True)
class Measured:
    """The median time of some work and the most memory it took.

    Attributes:
        seconds: of a run, the median.
        spread: how far the middle half of the runs lies apart, as a share of the median.
        memory_gb: the device's peak; 0 on a CPU.
    """

    seconds: float
    spread: float
    memory_gb: float


def time_on(
    device: torch.device, work: Callable[[], object], *, seconds: float = 1.0, most: int = 20
) -> Measured:
    """Run some work a few times for warm-up, then time it.

    Args:
        device: what it runs on; it is waited for after each run.
        work: one run.
        seconds: after which no further run is begun.
        most: runs.

    Example:
        >>> time_on(torch.device("cpu"), lambda: torch.rand(10), most=3).memory_gb
        0.0
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(WARM_UP):
        work()
    wait_for(device)
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < most and (len(found) < 3 or time.perf_counter() - begun < seconds):
        start = time.perf_counter()
        work()
        wait_for(device)
        found.append(time.perf_counter() - start)
    first, median, third = statistics.quantiles(found, n=4, method="inclusive")
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    return Measured(median, (third - first) / median, memory)


def wait_for(device: torch.device) -> None:
    """Return once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device, precision: str) -> float:
    """TFLOP/s of a large product of random matrices.

    Args:
        device: where.
        precision: ``fp32``, ``tf32`` or ``bf16``.
    """
    side = SIDE if device.type == "cuda" else SIDE_ON_CPU
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    with tf32(precision == "tf32"):
        return 2 * side**3 / time_on(device, lambda: a @ b, seconds=0.3).seconds / 1e12


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside the block, matrix products and convolutions of float32 may use TF32, or may not."""
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = cudnn
