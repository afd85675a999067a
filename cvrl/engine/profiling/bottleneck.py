"""Where the time of a run goes on the user's own data, measured with the parts the run is made of.

A real :class:`~cvrl.engine.trainer.Trainer` over a temporary folder trains for some steps and is
thrown away. Samples are timed in this process as a worker would make them, and the step by itself.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from cvrl.config import Config
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import BadVideo, Batch, TrainDataset, VideoReader
from cvrl.data.loader import PREFETCH, default_workers, usable_cores
from cvrl.data.sampler import Visit
from cvrl.engine import build
from cvrl.engine.clock import Clock, Speed
from cvrl.engine.devices import build_accelerator, torch_threads
from cvrl.engine.profiling.advice import Parts, advise
from cvrl.engine.quarantine import Quarantine
from cvrl.engine.trainer import Trainer
from cvrl.utils.checks import counted
from cvrl.utils.errors import UserError
from cvrl.utils.log import track
from cvrl.video.frame_cache import FrameSource

STEPS, SECONDS = 12, 20.0  # of the loop, whichever comes first
SAMPLES, SAMPLE_SECONDS = 16, 6.0  # timed one by one, whichever comes first
ALONE = 3  # steps timed with no worker beside them
CACHED_VIDEOS = 32  # that a run with a frame cache is tried on
SHOWN_BAD = 5  # files named in the report


def describe_bottleneck(config: Config, *, steps: int = STEPS, seconds: float = SECONDS) -> str:
    """Measure a run for a short time, and say what holds it back and which setting to change.

    Args:
        config: the run. Its folder and its frame cache are left alone.
        steps: of the loop that is watched, at most.
        seconds: for which it is watched, at most.

    Returns:
        A line a fact, then a line ``change`` for each finding.

    Raises:
        UserError: the run cannot work, or is started as one of several processes.
    """
    parts, bad = measure(config, steps=steps, seconds=seconds)
    cores = usable_cores()
    facts = _facts(parts, cores)
    if bad:
        facts["bad videos"] = f"{len(bad)}, left out as in training"
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {fact}" for name, fact in facts.items()]
    shown = list(bad.items())[:SHOWN_BAD]
    lines += [f"{'bad':<{width}}  {path}: {reason}" for path, reason in shown]
    lines += [f"{'change':<{width}}  {line}" for line in advise(parts, config, cores)]
    return "\n".join(lines)


def measure(
    config: Config, *, steps: int = STEPS, seconds: float = SECONDS
) -> tuple[Parts, dict[str, str]]:
    """Time the parts of a run on its own videos.

    With a frame cache, some of the videos are visited twice over a temporary cache that lies beside
    the run's, so the times hold for the second epoch and later; the first has its own figure.

    Args:
        config: the run.
        steps: of the loop, at most.
        seconds: of the loop, at most.

    Returns:
        The times, and the reasons of the bad videos met by their paths.

    Raises:
        UserError: the run cannot work, or is started as one of several processes.
    """
    if build_accelerator(config.train).num_processes > 1:
        remedy = "start it without torchrun, with a process's share of train.batch_size"
        raise UserError("--bottleneck", "measures one process", remedy)
    place = _place_for_files(config)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".bottleneck-", dir=place)
    except OSError as error:
        key = "data.cache_dir" if place else "the folder of temporary files"
        raise UserError(key, f"cannot be written to ({error.strerror})", "name another") from error
    with folder as name:
        return _measure(Trainer(_scratch(config, Path(name), steps)), steps, seconds)


def _place_for_files(config: Config) -> Path | None:
    """A frame cache is tried on the disk that it is meant for; anything else where the system says.

    Example:
        >>> from cvrl.config import DataConfig
        >>> _place_for_files(Config(data=DataConfig(train="videos"))) is None
        True
    """
    if config.data.cache_dir is None:
        return None
    folder = Path(config.data.cache_dir).absolute()
    return next(parent for parent in (folder, *folder.parents) if parent.is_dir())


def _scratch(config: Config, folder: Path, steps: int) -> Config:
    """The run in another folder, with a cache there too, and long enough to be measured."""
    data, train = config.data, config.train
    workers = default_workers() if data.workers is None else data.workers
    cache_dir = None if data.cache_dir is None else str(folder / "cache")
    least = steps + 2 * ALONE + 2 + PREFETCH * workers
    return replace(
        config,
        output=str(folder / "run"),
        data=replace(data, workers=workers, cache_dir=cache_dir),
        train=replace(
            train,
            epochs=max(train.epochs, least),
            steps=train.steps and max(train.steps, least),
        ),
    )


def _measure(trainer: Trainer, steps: int, seconds: float) -> tuple[Parts, dict[str, str]]:
    config, device = trainer.config, trainer.accelerator.device
    cached = config.data.cache_dir is not None
    videos = len(trainer.data.train)
    if cached:
        videos = _keep_some(trainer)
    # bad videos are named in the report, and may be many among the few that are visited
    trainer.quarantine = Quarantine(trainer.folder, videos, max_fraction=1.0, writes=False)
    dataset = build.build_dataset(config, trainer.data, trainer.views)
    rows = np.unique(np.linspace(0, videos - 1, SAMPLES + 1).astype(np.int64))
    rows = np.resize(rows, max(2, len(rows)))  # the first one is not counted
    with torch_threads(1):  # as a worker has
        first = _time_samples(dataset, rows, epoch=0)
        again = rows[: 1 + first.count]
        samples = _time_samples(dataset, again, epoch=1) if cached else first
    speed, micro_batches, bad = _watch_loop(trainer, steps, seconds)
    transfer_s, device_augment_s, model_s = _time_step(trainer, micro_batches)
    fast_model_s = None
    if device.type == "cpu" and config.train.precision == "fp32" and not config.train.fast_conv:
        build.set_up_encoders(replace(config.train, fast_conv=True), trainer.task, device)
        fast_model_s = _time_step(trainer, micro_batches)[2]
    parts = Parts(
        on_gpu=device.type == "cuda",
        videos=config.train.batch_size,
        decode_s=samples.decode_s,
        first_decode_s=first.decode_s if cached else None,
        augment_s=samples.augment_s,
        short_side=samples.short_side,
        transfer_s=transfer_s,
        device_augment_s=device_augment_s,
        model_s=model_s,
        fast_model_s=fast_model_s,
        loop_step_s=(1 - speed.data_wait) * _clips(trainer) / speed.clips_per_second,
        waiting=speed.data_wait,
        workers=config.data.workers or 0,
        threads=torch.get_num_threads(),
        divides=dataset.rest is None and not trainer.views.cut_up,
    )
    return parts, dict([*first.bad, *samples.bad, *bad])


def _keep_some(trainer: Trainer) -> int:
    """Train on few videos, so that all are in the cache after two steps; returns how many.

    The list is one or two batches long. Where that is more than the videos, they take turns in it.
    """
    manifest, batch = trainer.data.train, trainer.config.train.batch_size
    length = batch * min(2, len(manifest) // batch)
    count = min(length, CACHED_VIDEOS)
    rows = np.linspace(0, len(manifest) - 1, count).astype(np.int64)
    trainer.data = replace(trainer.data, train=manifest.take(np.resize(rows, length)))
    return count


@dataclass(frozen=True)
class _Samples:
    """Means over some samples: seconds, pixels; how many, and the bad videos among them."""

    count: int
    decode_s: float
    augment_s: float
    short_side: int
    bad: list[BadVideo]


def _time_samples(dataset: TrainDataset, rows: NDArray[np.int64], epoch: int) -> _Samples:
    """Visit each video as a worker does, the first one uncounted, as far as the time goes."""
    clock = Clock(clips_per_step=1)  # its steps are samples, and what it waits for is reading
    reader = _TimedReader(**vars(dataset.reader), clock=clock)
    timed = copy(dataset)
    timed.reader = reader
    bad = list(timed[Visit(epoch, int(rows[0]))].bad)
    began, done = time.perf_counter(), 0
    clock.start(step=0)
    for row in track(rows[1:], len(rows) - 1, "sampling", "samples"):
        bad += timed[Visit(epoch, int(row))].bad
        done += 1
        if time.perf_counter() - began > SAMPLE_SECONDS:
            break
    speed = clock.lap(step=done)
    sample_s = 1 / speed.clips_per_second
    decode_s = sample_s * speed.data_wait
    side = round(statistics.median(reader.sides))
    return _Samples(done, decode_s, sample_s - decode_s, side, bad)


@dataclass(frozen=True)
class _TimedReader(VideoReader):
    """A reader whose opening and reading of videos is waiting, on a clock.

    Attributes:
        clock: that runs while a video is opened, read or closed.
        sides: height or width in pixels, whichever is smaller, of the videos opened.
    """

    clock: Clock = field(default_factory=lambda: Clock(clips_per_step=1))
    sides: list[int] = field(default_factory=list)

    def open(self, path: str, spec: ClipSpec | None = None) -> FrameSource:
        with self.clock.waiting():
            video = super().open(path, spec)
        self.sides.append(min(video.size))
        return _TimedVideo(video, self.clock)


class _TimedVideo:
    """An open video whose reading is waiting, on a clock."""

    def __init__(self, video: FrameSource, clock: Clock) -> None:
        self.fps, self.times, self.size = video.fps, video.times, video.size
        self._video, self._clock = video, clock

    def __len__(self) -> int:
        return len(self._video)

    def frames(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        with self._clock.waiting():  # a cache gives a view of its file, which is read when copied
            return np.ascontiguousarray(self._video.frames(indices))

    def __enter__(self) -> "_TimedVideo":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._clock.waiting():
            self._video.__exit__(kind, error, trace)


def _watch_loop(
    trainer: Trainer, steps: int, seconds: float
) -> tuple[Speed, list[Batch], list[BadVideo]]:
    """Train as a run does; the speed, the last batch as it came, and the bad videos.

    The first step allocates and compiles. Meanwhile the workers get ahead, which would hide for
    many steps that they are too slow: what they are ahead is taken away unused. A step later the
    loop is as it will be, and is watched.
    """
    config = trainer.config
    ahead = math.ceil(PREFETCH * (config.data.workers or 0) / config.train.accumulate)
    bad: list[BadVideo] = []

    def named(batches: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        for micro_batches in batches:
            bad.extend(entry for batch in micro_batches for entry in batch.bad)
            yield micro_batches

    with closing(trainer.batches()) as loader:
        batches = named(loader)
        _step(trainer, next(batches))
        for _ in islice(batches, ahead):
            pass
        _step(trainer, next(batches))
        began = time.perf_counter()
        trainer.clock.start(trainer.step)
        for micro_batches in track(islice(batches, steps), steps, "watching", "steps"):
            _step(trainer, micro_batches)
            if time.perf_counter() - began > seconds:
                break
        speed = trainer.clock.lap(trainer.step)
    return speed, micro_batches, bad


def _step(trainer: Trainer, micro_batches: list[Batch]) -> None:
    trainer.train_step(micro_batches)
    trainer.step += 1


def _time_step(trainer: Trainer, micro_batches: list[Batch]) -> tuple[float, float, float]:
    """Seconds of a step's copying, of its augmentation on the device, and of the model."""
    device = trainer.accelerator.device
    laps = []
    for _ in range(ALONE):
        began = _now(device)
        moved = [batch.to(device, non_blocking=True) for batch in micro_batches]
        copied = _now(device)
        moved = [batch.augmented(trainer.rest) for batch in moved]
        augmented = _now(device)
        del moved  # a step needs the memory
        _step(trainer, micro_batches)
        model_s = _now(device) - augmented - (augmented - began)  # a step does both once more
        laps.append((copied - began, augmented - copied, max(0.0, model_s)))
    transfer_s, device_augment_s, model_s = (
        statistics.median(lap) for lap in zip(*laps, strict=True)
    )
    return transfer_s, device_augment_s, model_s


def _now(device: torch.device) -> float:
    """Seconds on a clock, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _clips(trainer: Trainer) -> int:
    """Clips a step, as the trainer's clock counts them."""
    return trainer.config.train.batch_size * trainer.views.clips


def _facts(parts: Parts, cores: int) -> dict[str, str]:
    """What was measured, in words."""
    decode = f"{_ms(parts.decode_s)} a sample"
    if parts.first_decode_s is not None:
        decode += f", from the frame cache; {_ms(parts.first_decode_s)} where it has to be filled"
    augment = f"{_ms(parts.augment_s)} a sample, in a worker"
    if parts.device_augment_s > 1e-4:
        augment += f"; {_ms(parts.device_augment_s)} a step, on the device"
    model = f"{_ms(parts.model_s)} a step"
    if parts.fast_model_s is not None:
        model += f"; {_ms(parts.fast_model_s)} with train.fast_conv"
    capped = "" if parts.enough <= cores else f", more than there are cores: use {cores}"
    device = "a GPU" if parts.on_gpu else f"a CPU, {counted(parts.threads, 'thread')}"
    shape = f"{counted(parts.workers, 'worker')}, {counted(parts.videos, 'video')} a step"
    return {
        "runs on": f"{device}; {counted(cores, 'core')}, {shape}",
        "decode": decode,
        "augment": augment,
        "transfer": f"{_ms(parts.transfer_s)} a step",
        "model": model,
        "whole step": f"{_ms(parts.step_s)} alone, {_ms(parts.loop_step_s)} in the loop",
        "waiting": f"{parts.waiting:.1%} of the time, for batches",
        "enough workers": f"{parts.enough}{capped}",
    }


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
