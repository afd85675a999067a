"""Whether data keeps up with training: waiting for batches, workers needed, memory over a long run.

A step is one forward and backward pass of an encoder over the clips of a batch. With W workers a
step waits where W samples take longer than W steps of one sample; so many workers are enough as
make a sample's cost, divided among them, less than a step's.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil
import torch

from cvrl.bench.common.sample_video import write_film
from cvrl.bench.common.timing import Goal, Report, interleave
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import Batch, TrainDataset
from cvrl.data.loader import enough_workers, train_loader
from cvrl.data.manifest import make_manifest
from cvrl.data.sampler import EveryVideo
from cvrl.models.backbones import build_encoder
from cvrl.transforms import recipes
from cvrl.utils.log import track
from cvrl.views.temporal_pair import TemporalPair

SETTLED = 0.1  # of the visits, after which memory is compared: buffers have their size by then


def waiting(batches: Iterable[Batch], step: Callable[[Batch], object]) -> float:
    """The share of a loop's time that is spent waiting for batches, the first left out.

    Args:
        batches: a loader's; two or more.
        step: what is done with each.

    Example:
        >>> 0.0 <= waiting([None, None], lambda batch: sum(range(1000))) < 1.0
        True
    """
    waited, began, asked = 0.0, 0.0, 0.0
    for place, batch in enumerate(batches):
        now = time.perf_counter()
        if place == 0:  # workers start and decode their first batches
            began = now
        else:
            waited += now - asked
        step(batch)
        asked = time.perf_counter()
    return waited / max(asked - began, 1e-9)


def growth(data: TrainDataset, visits: int) -> float:
    """How much the process's resident memory grows over many samples, as a share.

    Args:
        data: the samples.
        visits: how many; memory is compared from a tenth of them on.
    """
    process = psutil.Process(os.getpid())
    settled = max(1, round(SETTLED * visits))
    before = 0
    for visit in track(range(visits), visits, "sampling", "samples"):
        data[visit, visit % len(data)]
        if visit + 1 == settled:
            before = process.memory_info().rss
    return process.memory_info().rss / before - 1


def measure(
    *,
    runs: int,
    against: Sequence[str] = (),
    encoder: str = "r3d_small",
    seconds: float = 10.0,
    height: int = 256,
    width: int = 340,
    frames: int = 16,
    size: int = 112,
    batch: int = 4,
    steps: int = 20,
    visits: int = 20_000,
) -> Report:
    """Time samples against steps, wait for batches, and watch memory.

    Args:
        runs: of each candidate.
        against: peers; none is asked.
        encoder: whose step is timed, by its name in a config.
        seconds: length of the film.
        height: of the film, pixels.
        width: of the film.
        frames: of a clip, every second frame of the film.
        size: side of the clips.
        batch: videos a step.
        steps: of the loop that waits.
        visits: samples over which memory is watched, of a film of a second and 48x64 pixels.
    """
    with tempfile.TemporaryDirectory() as place:
        films = [
            write_film(Path(place) / "a.mp4", seconds=seconds, size=(height, width)),
            write_film(Path(place) / "b.mp4", seconds=1.0, size=(48, 64)),
        ]
        data, small = (
            _data(film, batch, frames, side) for film, side in zip(films, (size, 32), strict=True)
        )
        network = build_encoder(encoder)

        def step(batch: Batch) -> None:
            network(batch.clips_BVCTHW.flatten(0, 1)).square().mean().backward()

        first = next(iter(train_loader(data, EveryVideo(batch, batch_size=batch), workers=0)))
        timings = interleave(
            {
                "a batch of samples": lambda: [data[0, row] for row in range(batch)],
                "a step": lambda: step(first),
            },
            runs=runs,
        )
        costs = [timing.median_cpu for timing in timings.values()]
        enough = enough_workers(*costs)
        order = EveryVideo(batch, batch_size=batch, visits=steps)
        wait = waiting(train_loader(data, order, workers=enough), step)
        grown = growth(small, visits)
    goals = [
        Goal(f"data wait / step time with {enough} workers", wait, 0.05, "at most", "wall"),
        Goal(f"memory grown over {visits} samples", grown, 0.05, "at most"),
    ]
    facts = {
        "encoder": encoder,
        "batch": f"{batch} videos, 2 clips of {frames} frames at {size}",
        "workers that are enough": enough,
        "threads": torch.get_num_threads(),
    }
    return Report("supply", timings, goals, facts)


def _data(film: Path, videos: int, frames: int, size: int) -> TrainDataset:
    manifest = make_manifest({"path": [str(film)] * videos}, root="/")
    views = TemporalPair(ClipSpec(frames=frames, stride=2))
    return TrainDataset(manifest, views, recipes.cvrl(size), seed=0)
