"""All clips of a list as a stream of small pieces, so that no video need fit into memory.

Shape suffixes: N clips of a piece, F different frames in it, C channels, T frames a clip, H, W.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from cvrl.data.clips import (
    ClipSpec,
    Ints,
    clip_indices,
    spread_starts,
    timed_starts,
    timed_ticks,
)
from cvrl.data.dataset import VideoReader, read_clips
from cvrl.data.manifest import Manifest
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.video.frame_cache import FrameSource

Part = TypeVar("Part")
CLIPS_A_PIECE = 8  # that share no frame; more of them where they overlap
READER = VideoReader()


@dataclass(frozen=True)
class ClipChoice:
    """Which clips of a video are taken: a number of them spread over it, or one every so often.

    Attributes:
        clips: clips spread evenly over each video, the last one reaching its end.
        every: seconds from the start of one clip to the next, in place of ``clips``.
        overlap: share of its frames that a clip has in common with the next, in [0, 1), in place of
            ``clips``; rounded to whole frames of the clip.

    Raises:
        UserError: both, neither, or a number out of range.

    Example:
        >>> spec = ClipSpec(frames=4, stride=1)
        >>> seconds_L = np.arange(10) / 25
        >>> ClipChoice(clips=3).starts(seconds_L, spec).tolist()
        [0, 3, 6]
        >>> ClipChoice(every=0.08).starts(seconds_L, spec).tolist()
        [0, 2, 4, 6]
        >>> ClipChoice(overlap=0.75).starts(seconds_L[:7], spec).tolist()
        [0, 1, 2, 3]
    """

    clips: int | None = None
    every: float | None = None
    overlap: float | None = None

    def __post_init__(self) -> None:
        if (self.clips, self.every, self.overlap).count(None) != 2:
            options = "--clips, --every and --overlap"
            raise UserError(options, "exactly one is needed", "give one of them")
        if self.clips is not None and self.clips < 1:
            raise UserError(f"--clips {self.clips}", "must be 1 or more", "1 takes the middle clip")
        if self.every is not None and not 0 < self.every < float("inf"):
            raise UserError(f"--every {self.every}", "must be above 0", "it is in seconds")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise UserError(f"--overlap {self.overlap}", "must be in [0, 1)", "0.5 is half a clip")

    def starts(self, seconds_L: NDArray[np.float64], spec: ClipSpec) -> Ints:
        """First tick of each clip in a video.

        Args:
            seconds_L: time of each tick of the video, see :func:`cvrl.data.clips.timed_ticks`.
            spec: the shape of a clip.

        Returns:
            Ascending ticks, one or more.
        """
        if self.clips is not None:
            return spread_starts(len(seconds_L), spec, self.clips)
        if self.every is not None:
            return timed_starts(seconds_L, spec, self.every)
        step = max(1, round((1 - (self.overlap or 0.0)) * spec.frames)) * spec.stride
        return np.arange(0, spec.start_count(len(seconds_L)), step, dtype=np.int64)


@dataclass(frozen=True)
class Piece:
    """Some clips of one video in order, or the news that it cannot be decoded.

    Attributes:
        row: of the video in the list.
        frames_FCHW: preprocessed frames, each once; empty where the video is bad.
        place_NT: which of them each clip is made of.
        start_N: start of each clip, in seconds of the video.
        end_N: end of each clip's last frame, in seconds.
        last: whether the video ends here.
        bad: why the video cannot be used; earlier pieces of it are void.
    """

    row: int
    frames_FCHW: Tensor
    place_NT: Tensor
    start_N: Tensor
    end_N: Tensor
    last: bool
    bad: str | None = None


class ClipStream(IterableDataset[Piece]):
    """The clips of some rows of a list. Workers take the rows in turn.

    Args:
        manifest: the videos.
        rows: which of them, in the order they are wanted.
        spec: the shape of a clip.
        choice: which clips.
        transform: ``transform(clips_NCTHW_uint8)`` gives float clips of one size, and does the same
            to a frame in whichever clip it is.
        reader: how files are opened.
    """

    def __init__(
        self,
        manifest: Manifest,
        rows: Sequence[int],
        spec: ClipSpec,
        choice: ClipChoice,
        transform: Callable[[Tensor], Tensor],
        *,
        reader: VideoReader = READER,
    ) -> None:
        super().__init__()
        self.manifest = manifest
        self.rows = rows
        self.spec = spec
        self.choice = choice
        self.transform = transform
        self.reader = reader

    def __iter__(self) -> Iterator[Piece]:
        """Yield the pieces of this worker's videos, each video whole before the next."""
        worker = get_worker_info()
        mine = self.rows if worker is None else self.rows[worker.id :: worker.num_workers]
        for row in mine:
            try:
                yield from self._pieces(row)
            except CorruptVideoError as error:
                none = torch.empty(0)
                yield Piece(row, none, none, none, none, last=True, bad=error.reason)

    def _pieces(self, row: int) -> Iterator[Piece]:
        with self.reader.open(self.manifest.path(row), self.spec) as video:
            shown_L, seconds_L = timed_ticks(video.times, self.spec.fps, self.choice.every)
            length = len(shown_L)
            starts = self.choice.starts(seconds_L, self.spec)
            window = _Window(video, self.transform)
            for first, last in _cuts(starts, self.spec, shown_L):
                start_N = starts[first:last]
                ticks_NT = np.stack([clip_indices(int(s), self.spec, length) for s in start_N])
                end_N = np.minimum(start_N + self.spec.span, length) - 1
                yield Piece(
                    row,
                    *window.read(shown_L[ticks_NT]),
                    torch.from_numpy(video.times[shown_L[start_N]]),
                    torch.from_numpy(video.times[shown_L[end_N]] + 1 / video.fps),
                    last=last == len(starts),
                )


class _Window:
    """Frames of a video, preprocessed; those that the next clips show again are kept for them."""

    def __init__(self, video: FrameSource, transform: Callable[[Tensor], Tensor]) -> None:
        self.video = video
        self.transform = transform
        self.number_F: Ints = np.empty(0, dtype=np.int64)
        self.frames_FCHW = torch.empty(0)

    def read(self, number_NT: Ints) -> tuple[Tensor, Tensor]:
        """The different frames (F, C, H, W) of some clips, and the place (N, T) of each in them."""
        number_F, place_NT = np.unique(number_NT, return_inverse=True)
        is_kept_F = np.isin(number_F, self.number_F)
        fresh_CFHW = self.transform(read_clips(self.video, number_F[None, ~is_kept_F]))[0]
        frames_FCHW = fresh_CFHW.new_empty(len(number_F), *fresh_CFHW.transpose(0, 1).shape[1:])
        kept = np.searchsorted(self.number_F, number_F[is_kept_F])
        frames_FCHW[torch.from_numpy(~is_kept_F)] = fresh_CFHW.transpose(0, 1)
        if len(kept):
            frames_FCHW[torch.from_numpy(is_kept_F)] = self.frames_FCHW[torch.from_numpy(kept)]
        self.number_F, self.frames_FCHW = number_F, frames_FCHW
        return frames_FCHW, torch.from_numpy(place_NT.reshape(number_NT.shape))


def _cuts(starts: Ints, spec: ClipSpec, shown_L: Ints) -> Iterator[tuple[int, int]]:
    """Cut clips into pieces (first, after the last) of so many different frames at most."""
    first, seen = 0, set[int]()
    for n, start in enumerate(starts):
        frames = set(shown_L[clip_indices(int(start), spec, len(shown_L))].tolist())
        if len(seen | frames) > CLIPS_A_PIECE * spec.frames:
            yield first, n
            first, seen = n, set()
        seen |= frames
    yield first, len(starts)


class Timed(Protocol):
    """What every kind of piece says of its clips; see :class:`Piece`."""

    @property
    def row(self) -> int: ...

    @property
    def start_N(self) -> Tensor: ...

    @property
    def end_N(self) -> Tensor: ...

    @property
    def last(self) -> bool: ...

    @property
    def bad(self) -> str | None: ...


@dataclass(frozen=True)
class WholeVideo:
    """What a network made of all clips of one video.

    Attributes:
        row: of the video in the list.
        vectors_ND: one a clip; empty where the video is bad.
        start_N: start of each clip, in seconds of the video.
        end_N: end of each clip's last frame, in seconds.
        bad: why the video cannot be used.
    """

    row: int
    vectors_ND: Tensor
    start_N: Tensor
    end_N: Tensor
    bad: str | None


def whole_videos(pieces: Iterable[tuple[Timed, Tensor]]) -> Iterator[WholeVideo]:
    """Join what was made of the pieces of each video when its last has come.

    Args:
        pieces: each with the vectors (N, D) of its clips. It is let go at once, and its frames with
            it: a video that comes in pieces does so because it does not fit into memory.

    Example:
        >>> none = torch.empty(0)
        >>> times = [(torch.tensor([t]), torch.tensor([t + 1])) for t in (0, 1)]
        >>> half = [Piece(7, none, none, *time, last=time[0] > 0) for time in times]
        >>> [video] = whole_videos((piece, torch.rand(1, 4)) for piece in half)
        >>> video.row, video.start_N.tolist(), video.vectors_ND.shape
        (7, [0, 1], torch.Size([2, 4]))
    """
    parts: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
    for piece, vectors_ND in pieces:
        part = (vectors_ND, piece.start_N, piece.end_N)
        parts.setdefault(piece.row, []).append(part)
        if not piece.last:
            continue
        video = parts.pop(piece.row)
        if piece.bad is not None:  # what was decoded before the fault is void
            video = [part]
        vectors, starts, ends = zip(*video, strict=True)
        yield WholeVideo(
            piece.row, torch.cat(vectors), torch.cat(starts), torch.cat(ends), piece.bad
        )
