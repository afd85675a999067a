"""From a file to two augmented clips: this package's loader against the bare decode and its peers.

A sample is CVRL's: two clips at a drawn interval, and its whole recipe. Every candidate reads the
frames of the same visits on one thread; peers get this package's recipe for what they read.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cvrl.bench.common.peers import split_by_installed
from cvrl.bench.common.readers import (
    PEER_READERS,
    Frames,
    Reader,
    check_alike,
    cvrl_reader,
    plain_decode,
    pytorchvideo_reader,
)
from cvrl.bench.common.sample_video import write_film
from cvrl.bench.common.timing import Goal, Report, Timing, interleave, ratio
from cvrl.data.clips import ClipSpec, Ints
from cvrl.data.dataset import FOR_AUGMENT, TrainDataset, VideoReader
from cvrl.data.manifest import Manifest, make_manifest, read_manifest
from cvrl.preparation.shards import write_shards
from cvrl.preparation.store import Encoding, Job, build_store
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.utils.seed import torch_generator
from cvrl.video.frame_cache import FrameCache
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.reader import open_video
from cvrl.views.temporal_pair import TemporalPair

READERS = ("pytorchvideo", *PEER_READERS)
Work = Callable[[], object]
SHARD_BYTES = 50 * 10**6


@dataclass(frozen=True)
class Visits:
    """The same visits to the same videos, for every candidate.

    Attributes:
        data: the data set that makes our samples.
        paths: of each visit's video.
        frames: (V, T) stored frames of each visit's clips.
        rates: frames a second of each visit's video.
    """

    data: TrainDataset
    paths: list[str]
    frames: list[Ints]
    rates: list[Fraction]

    def unique(self, visit: int) -> list[int]:
        """The frames of a visit, ascending, each once."""
        ascending: list[int] = np.unique(self.frames[visit]).tolist()
        return ascending

    def read(self, reader: Reader) -> None:
        """Read the frames of all visits."""
        for visit, path in enumerate(self.paths):
            reader(path, self.unique(visit))

    def samples(self) -> None:
        """Make all samples."""
        for visit in range(len(self.paths)):
            self.data[visit, visit % len(self.data)]

    def augment(self, visit: int, frames_NHWC: Frames, place_VT: Ints) -> torch.Tensor:
        """This package's recipe, on clips that another reader gave."""
        clips_VTHWC = torch.from_numpy(frames_NHWC)[torch.from_numpy(place_VT)]
        generator = torch_generator(self.data.seed, visit, visit % len(self.data), FOR_AUGMENT)
        return self.data.crop(clips_VTHWC.permute(0, 4, 1, 2, 3), generator)

    def peer_samples(self, reader: Reader) -> None:
        """All samples, with the frames from a reader that takes ascending numbers."""
        for visit, path in enumerate(self.paths):
            unique, place = np.unique(self.frames[visit], return_inverse=True)
            place_VT = place.reshape(self.frames[visit].shape)
            self.augment(visit, reader(path, unique.tolist()), place_VT)

    def clip_by_clip(self, visit: int) -> Frames:
        """The frames of a visit by pytorchvideo, clip after clip."""
        spec = self.data.views.spec
        return pytorchvideo_reader(
            self.paths[visit],
            self.frames[visit].flatten().tolist(),
            clip=spec.frames,
            stride=spec.stride,
            rate=self.rates[visit],
        )

    def pytorchvideo_samples(self) -> None:
        """All samples, with the frames from pytorchvideo."""
        for visit, frames_VT in enumerate(self.frames):
            place_VT = np.arange(frames_VT.size).reshape(frames_VT.shape)
            self.augment(visit, self.clip_by_clip(visit), place_VT)


def plan_visits(data: TrainDataset, count: int) -> Visits:
    """The visits 0, 1, ... of a data set, each in an epoch of its own.

    Args:
        data: the data set.
        count: how many.
    """
    visits = Visits(data, [], [], [])
    for visit in range(count):
        row = visit % len(data)
        with data.reader.open(data.manifest.path(row)) as video:
            plan, shown_L = data.plan(video, (visit, row))
            visits.paths.append(data.manifest.path(row))
            visits.frames.append(shown_L[plan.ticks_VT])
            visits.rates.append(Fraction(video.fps).limit_denominator(1001))
    return visits


def measure(
    *,
    runs: int,
    against: Sequence[str],
    videos: str | None = None,
    seconds: float = 10.0,
    height: int = 256,
    width: int = 340,
    gop: int = 250,
    frames: int = 16,
    stride: int = 2,
    size: int = 112,
    visits: int = 8,
) -> Report:
    """Time a loader's samples.

    Args:
        runs: of each candidate.
        against: peers.
        videos: a manifest, list or folder of videos at a constant rate; None writes a film.
        seconds: length of the film.
        height: of the film, pixels.
        width: of the film.
        gop: frames from one key frame of the film to the next.
        frames: of a clip.
        stride: of a clip.
        size: side of the augmented clips.
        visits: samples a run.

    Raises:
        UserError: a peer reads other frames.
    """
    here, absent = split_by_installed([name for name in against if name in READERS])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if videos is None:
            film = write_film(folder / "film.mp4", seconds=seconds, size=(height, width), gop=gop)
            manifest = make_manifest({"path": [str(film)]}, root=folder)
        else:
            manifest = read_manifest(videos)
        spec = ClipSpec(frames=frames, stride=stride)
        two, four = (_data(manifest, spec, size, clips, _reader()) for clips in (2, 4))
        planned = plan_visits(two, visits)
        candidates, notes = _against(planned, here)
        first = plan_visits(_data(manifest, spec, size, 2, VideoReader()), visits)
        candidates["sample, first visit"] = first.samples
        candidates["four clips a sample"] = plan_visits(four, visits).samples
        kept, disk = _kept(planned, folder, spec, size)
        timings = interleave(candidates | kept, runs=runs)
    facts = {
        "clips": f"2 of {frames} frames, stride {stride}, {size} pixels",
        "samples": visits,
        "threads": 1,
        "film": f"{width}x{height}, {seconds:g} s, GOP {gop}" if videos is None else videos,
        **disk,
        **{f"samples/s {name}": _rate(timings[name], visits) for name in timings},
    }
    return Report("loader", timings, _goals(timings, here), facts, absent, notes)


def _reader() -> VideoReader:
    """As in training, where a file's packets are looked at on its first visit alone."""
    return VideoReader(packet_cache=PacketIndexCache())


def _data(
    manifest: Manifest, spec: ClipSpec, size: int, clips: int, reader: VideoReader
) -> TrainDataset:
    views = TemporalPair(spec, clips=clips)
    return TrainDataset(manifest, views, recipes.cvrl(size), seed=0, reader=reader)


def _against(planned: Visits, here: Sequence[str]) -> tuple[dict[str, Work], list[str]]:
    """What reads the raw files, after a look at whether all read the same frames."""
    ours = cvrl_reader(planned.paths[0], planned.unique(0))
    notes = [check_alike("plain decode", ours, plain_decode(planned.paths[0], planned.unique(0)))]
    candidates: dict[str, Work] = {
        "plain decode": partial(planned.read, plain_decode),
        "reader": partial(planned.read, cvrl_reader),
        "sample": planned.samples,
    }
    for name in here:
        if name == "pytorchvideo":
            clips = cvrl_reader(planned.paths[0], planned.frames[0].flatten().tolist())
            notes.append(check_alike(name, clips, planned.clip_by_clip(0)))
            candidates[f"sample with {name}"] = planned.pytorchvideo_samples
            continue
        reader = PEER_READERS[name]
        notes.append(check_alike(name, ours, reader(planned.paths[0], planned.unique(0))))
        candidates[f"sample with {name}"] = partial(planned.peer_samples, reader)
    return candidates, notes


def _kept(
    planned: Visits, folder: Path, spec: ClipSpec, size: int
) -> tuple[dict[str, Work], dict[str, Any]]:
    """The same visits to a store of small videos, a cache of frames and shards; their disk."""
    encoding = Encoding()
    paths = list(dict.fromkeys(planned.paths))
    jobs = [
        Job(path, str(folder / "store" / f"{row}.mp4"), encoding) for row, path in enumerate(paths)
    ]
    if failed := build_store(folder / "store", jobs, workers=0):
        raise UserError(*next(iter(failed.items())))
    manifest = make_manifest({"path": [job.target for job in jobs]}, root=folder)
    cached = VideoReader(cache=FrameCache(folder / "cache", encoding.short_side))
    write_shards(planned.data.manifest, folder / "shards", max_bytes=SHARD_BYTES)
    packed = read_manifest(folder / "shards")
    shards = plan_visits(_data(packed, spec, size, 2, _reader()), len(planned.paths))
    store = plan_visits(_data(manifest, spec, size, 2, _reader()), len(planned.paths))
    cache = plan_visits(_data(planned.data.manifest, spec, size, 2, cached), len(planned.paths))
    minutes = 0.0
    for path in paths:
        with open_video(path) as video:
            minutes += len(video) / video.fps / 60
    disk = {
        f"MB/minute {name}": round(sum(file.stat().st_size for file in files) / 1e6 / minutes, 1)
        for name, files in {
            "raw": [Path(path) for path in paths],
            "store": [Path(job.target) for job in jobs],
            "cache": list((folder / "cache").iterdir()),
        }.items()
    }
    kept = {"store": store, "cache": cache, "shards": shards}
    return {f"sample from {name}": visits.samples for name, visits in kept.items()}, disk


def _rate(timing: Timing, visits: int) -> float:
    return round(visits / timing.median_cpu, 1)


def _goals(timings: Mapping[str, Timing], here: Sequence[str]) -> list[Goal]:
    def times(over: str, under: str) -> float | None:
        return ratio(timings, over, under) if {over, under} <= set(timings) else None

    rows = [
        ("samples/s / plain decode of the same frames", "plain decode", "sample", 0.85),
        ("reader alone / plain decode of the same frames", "plain decode", "reader", 0.95),
        ("samples/s / with pytorchvideo", "sample with pytorchvideo", "sample", 2.5),
        ("samples/s / with torchcodec", "sample with torchcodec", "sample", 1.0),
        ("samples/s from the re-encoded store / raw", "sample", "sample from store", 3.0),
        ("samples/s from the frame cache / raw", "sample", "sample from cache", 3.0),
        ("samples/s from shards / raw", "sample", "sample from shards", 0.95),
    ]
    goals = [Goal(what, times(over, under), goal, "at least") for what, over, under, goal in rows]
    four = ratio(timings, "four clips a sample", "sample")
    return [*goals, Goal("4-clip sample / 2-clip sample", four, 1.5, "at most")]
