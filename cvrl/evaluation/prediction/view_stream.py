"""The frames of many views of a video, decoded in one pass and kept small.

A test looks at a video through ten clips and three crops, and an ensemble through several clip
shapes. Decoded frames are shared by all of them: each is decoded once, resized once, kept as
uint8, and cut into views only where they are encoded. A video whose frames would not fit into
memory comes in pieces.

Shape suffixes: N clips of a piece, R crops, F frames of a piece, C channels, T frames, H, W.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from cvrl.data.clips import ClipSpec, Ints, clip_indices, timed_ticks
from cvrl.data.dataset import VideoReader, read_clips
from cvrl.data.loader import Batches, stream_loader
from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.transforms.crops import Crops
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.video.frame_cache import FrameSource

PIECE_BYTES = 2**28
"""Decoded frames held at a time, or those of one clip; 290 frames of 640x480 pixels fit."""


@dataclass(frozen=True)
class Lens:
    """How one network looks at a video.

    Attributes:
        spec: the shape of its clips.
        crops: what it takes of their frames.
    """

    spec: ClipSpec
    crops: Crops


@dataclass(frozen=True)
class LensFrames:
    """What one lens needs of a piece: each frame once, and which frames its clips are made of."""

    frames_CFHW: Tensor
    place_NT: Tensor

    def views(self, crops: Crops, device: torch.device) -> Iterator[Tensor]:
        """The crops (R, C, T, S, S) of each clip in turn, float32, on a device."""
        frames_CFHW = self.frames_CFHW.to(device)
        for place_T in self.place_NT:
            yield crops.cut(frames_CFHW[:, place_T.to(device)])


@dataclass(frozen=True)
class ViewPiece:
    """Some clips of one video in order, or the news that it cannot be decoded.

    Attributes:
        row: of the video in the list.
        seen: the frames through each lens; empty where the video is bad.
        start_N: start of each clip in seconds of the video, through the first lens.
        end_N: end of each clip's last frame in seconds.
        last: whether the video ends here.
        bad: why the video cannot be used; earlier pieces of it are void.
    """

    row: int
    seen: tuple[LensFrames, ...]
    start_N: Tensor
    end_N: Tensor
    last: bool
    bad: str | None = None


class ViewStream(IterableDataset[Any]):
    """The views of every video of a list. Workers take the videos in turn.

    Args:
        manifest: the videos.
        lenses: how the networks look at them.
        choice: which clips; one every so often goes with a single lens.
        reader: how files are opened.
        name_bad: a file that cannot be decoded gives a piece that says so, for a caller that
            reports it, instead of an error.

    Yields:
        :class:`ViewPiece`; or the CorruptVideoError itself, which :func:`view_loader` raises.
    """

    def __init__(
        self,
        manifest: Manifest,
        lenses: Sequence[Lens],
        choice: ClipChoice,
        *,
        reader: VideoReader,
        name_bad: bool = False,
    ) -> None:
        super().__init__()
        self.manifest = manifest
        self.lenses = tuple(lenses)
        if len({lens.spec.crop_bars for lens in lenses}) > 1:
            reason = "disagree on clip.crop_bars, so they cannot share a decode"
            raise UserError("the classifiers", reason, "score them one by one")
        self.choice = choice
        self.reader = reader
        self.name_bad = name_bad

    def __iter__(self) -> Iterator[ViewPiece | CorruptVideoError]:
        """Yield the pieces of this worker's videos, each video whole before the next."""
        worker = get_worker_info()
        rows = range(len(self.manifest))
        for row in rows if worker is None else rows[worker.id :: worker.num_workers]:
            try:
                yield from self._pieces(row)
            except CorruptVideoError as error:
                none = torch.empty(0)
                bad = ViewPiece(row, (), none, none, last=True, bad=error.reason)
                yield bad if self.name_bad else error

    def _pieces(self, row: int) -> Iterator[ViewPiece]:
        with self.reader.open(self.manifest.path(row), self.lenses[0].spec) as video:
            clips = [_LensClips.of(video, lens, self.choice) for lens in self.lenses]
            height, width = video.size
            most = max(1, PIECE_BYTES // (3 * height * width))
            parts = list(_runs([one.frames_NT for one in clips], most))
            for part in parts:
                yield ViewPiece(
                    row,
                    _look(video, self.lenses, [one.frames_NT[part] for one in clips]),
                    torch.from_numpy(clips[0].start_N[part]),
                    torch.from_numpy(clips[0].end_N[part]),
                    last=part is parts[-1],
                )


def view_loader(stream: ViewStream, workers: int) -> Batches[ViewPiece]:
    """Decode a stream in worker processes while the model computes.

    Args:
        stream: the views.
        workers: processes; 0 decodes in this one.

    Returns:
        Single pieces: those of one video come in order, videos may interleave.

    Raises:
        CorruptVideoError: a file cannot be decoded, unless the stream names such files.
    """
    return stream_loader(stream, workers)


@dataclass(frozen=True)
class _LensClips:
    """Stored frames of all clips of a video, and when each clip starts and ends in seconds."""

    frames_NT: Ints
    start_N: np.ndarray[Any, np.dtype[np.float64]]
    end_N: np.ndarray[Any, np.dtype[np.float64]]

    @staticmethod
    def of(video: FrameSource, lens: Lens, choice: ClipChoice) -> "_LensClips":
        """What a lens takes of an open video."""
        shown_L, seconds_L = timed_ticks(video.times, lens.spec.fps, choice.every)
        start_N = choice.starts(seconds_L, lens.spec)
        ticks_NT = np.stack([clip_indices(int(s), lens.spec, len(shown_L)) for s in start_N])
        end_N = np.minimum(start_N + lens.spec.span, len(shown_L)) - 1
        return _LensClips(
            frames_NT=shown_L[ticks_NT],
            start_N=video.times[shown_L[start_N]],
            end_N=video.times[shown_L[end_N]] + 1 / video.fps,
        )


def _runs(frames_LNT: Sequence[Ints], most: int) -> Iterator[slice]:
    """Cut the clips into runs of at most so many distinct frames, or of one clip."""
    counts = {len(frames_NT) for frames_NT in frames_LNT}
    if len(counts) != 1:
        raise ValueError(f"lenses take {sorted(counts)} clips of one video: give them one number")
    first, held = 0, np.empty(0, np.int64)
    (clips,) = counts
    for clip in range(clips):
        own = np.unique(np.concatenate([frames_NT[clip] for frames_NT in frames_LNT]))
        held = np.union1d(held, own)
        if len(held) > most and clip > first:
            yield slice(first, clip)
            first, held = clip, own
    yield slice(first, clips)


def _look(
    video: FrameSource, lenses: Sequence[Lens], frames_LNT: Sequence[Ints]
) -> tuple[LensFrames, ...]:
    """Decode the frames of some clips once, and shrink them for each lens."""
    every_F = np.unique(np.concatenate([frames_NT.ravel() for frames_NT in frames_LNT]))
    decoded_CFHW = read_clips(video, every_F[None])[0]
    seen = []
    for lens, frames_NT in zip(lenses, frames_LNT, strict=True):
        own_F, place_NT = np.unique(frames_NT, return_inverse=True)
        mine = decoded_CFHW
        if len(own_F) < len(every_F):
            mine = decoded_CFHW[:, torch.from_numpy(np.searchsorted(every_F, own_F))]
        place = torch.from_numpy(place_NT.reshape(frames_NT.shape))
        seen.append(LensFrames(lens.crops.shrink(mine), place))
    return tuple(seen)
