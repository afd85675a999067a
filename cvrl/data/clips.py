"""Which frames a clip is made of: pure arithmetic on integers.

A *tick* is one step of a video's timeline. By default ticks are the stored frames; with
``ClipSpec.fps`` they are even steps of time, so videos of other or varying rates are sampled alike.

Shapes: V views (clips of one video), T frames a clip, L ticks in the video.

    clip of 4 frames, stride 3, start 2:   . . f . . f . . f . . f . .      span = 10 ticks
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
ShortVideo = Literal["loop", "repeat"]
CLOCK_ERROR = 1e-3  # seconds; containers round time stamps, mostly to milliseconds


@dataclass(frozen=True)
class ClipSpec:
    """How a clip is read from a video.

    Attributes:
        frames: frames a clip, T >= 1.
        stride: ticks from one frame of the clip to the next, >= 1.
        short_video: what a clip longer than its video does: ``loop`` starts again at the first
            frame (CVRL), ``repeat`` holds the last one (SlowFast).
        fps: ticks a second; None makes every stored frame a tick.
        crop_bars: cut off black bars at the sides of the video.

    Raises:
        ValueError: a number below 1, or an unknown policy.

    Example:
        >>> ClipSpec(frames=16, stride=2).span
        31
    """

    frames: int
    stride: int
    short_video: ShortVideo = "loop"
    fps: float | None = None
    crop_bars: bool = False

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(f"a clip needs frames >= 1 and stride >= 1, not {self}")
        if self.short_video not in ("loop", "repeat"):
            raise ValueError(f"short_video is 'loop' or 'repeat', not {self.short_video!r}")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"fps must be above 0, not {self.fps}")

    @property
    def span(self) -> int:
        """Ticks from the first frame of the clip to its last, both counted."""
        return (self.frames - 1) * self.stride + 1

    def start_count(self, length: int) -> int:
        """The number M of starts at which a clip lies inside ``length`` ticks; at least 1.

        A video too short for the clip has the single start 0 here; CVRL draws from all its ticks
        instead, which is the views' business.
        """
        return max(1, length - self.span + 1)


@dataclass(frozen=True)
class Plan:
    """Which ticks of one video its views show, and what their arrangement means.

    Attributes:
        ticks_VT: ticks in ``[0, L)``, one row a view.
        start_V: the tick each view starts at.
        order_V: the pretext label each view carries, -1 where it has none; left out, all -1. A
            label of a whole tuple, such as its order, is carried by each of its views.
        sound_W: the tick in the middle of each window of sound, -1 for a window of silence; None
            where the views show no sound.

    Example:
        >>> Plan(np.zeros((2, 8), np.int64), np.zeros(2, np.int64)).order_V.tolist()
        [-1, -1]
    """

    ticks_VT: Ints
    start_V: Ints
    order_V: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    sound_W: Ints | None = None

    def __post_init__(self) -> None:
        if len(self.order_V) == 0:
            object.__setattr__(self, "order_V", np.full(len(self.ticks_VT), -1, dtype=np.int64))


def clip_indices(start: int, spec: ClipSpec, length: int) -> Ints:
    """The ticks of a clip: exactly ``stride`` apart, folded back into the video where it ends.

    Args:
        start: first tick, in ``[0, length)``.
        spec: the shape of the clip.
        length: ticks in the video, >= 1.

    Returns:
        (T,) integers in ``[0, length)``.

    Raises:
        ValueError: ``start`` lies outside the video, or the video is empty.

    Example:
        >>> clip_indices(2, ClipSpec(frames=4, stride=3), length=14).tolist()
        [2, 5, 8, 11]
        >>> clip_indices(2, ClipSpec(frames=4, stride=3), length=8).tolist()
        [2, 5, 0, 3]
        >>> clip_indices(2, ClipSpec(frames=4, stride=3, short_video="repeat"), length=8).tolist()
        [2, 5, 7, 7]
    """
    if not 0 <= start < length:
        raise ValueError(f"a clip cannot start at tick {start} of a video of {length}")
    ticks_T = start + spec.stride * np.arange(spec.frames, dtype=np.int64)
    if spec.short_video == "loop":
        return ticks_T % length
    return np.minimum(ticks_T, length - 1)


def spread_starts(length: int, spec: ClipSpec, clips: int) -> Ints:
    """Starts of ``clips`` test clips spread evenly over a video, the last one reaching its end.

    Args:
        length: ticks in the video, >= 1.
        spec: the shape of a clip.
        clips: how many, >= 1. A single clip is the middle one.

    Returns:
        (clips,) integers in ``[0, length)``, ascending; all 0 where the video is too short.

    Raises:
        ValueError: fewer than one clip or tick.

    Example:
        >>> spread_starts(100, ClipSpec(frames=16, stride=2), clips=3).tolist()
        [0, 34, 69]
    """
    if clips < 1 or length < 1:
        raise ValueError(f"cannot spread {clips} clips over {length} ticks")
    last = spec.start_count(length) - 1
    if clips == 1:
        return np.array([last // 2], dtype=np.int64)
    return np.arange(clips, dtype=np.int64) * last // (clips - 1)


def timed_starts(seconds_L: NDArray[np.float64], spec: ClipSpec, every: float) -> Ints:
    """Starts of test clips at even distances in time.

    Args:
        seconds_L: time of each tick, ascending, from 0; see :func:`timed_ticks`.
        spec: the shape of a clip.
        every: seconds from one start to the next, 0 or more; 0 gives every tick.

    Returns:
        For each multiple of ``every`` the nearest tick, ascending. Clips lie inside the video; a
        video that is too short for one has the start 0. Multiples that have no tick within half of
        ``every``, as in a pause, are left out.

    Example:
        >>> timed_starts(np.arange(10) / 25, ClipSpec(frames=4, stride=1), every=0.08).tolist()
        [0, 2, 4, 6]
        >>> seconds_L = np.array([0.0, 0.1, 0.2, 1.0, 1.9, 3.0, 3.1])
        >>> timed_starts(seconds_L, ClipSpec(frames=2, stride=1), every=1.0).tolist()
        [0, 3, 4, 5]
    """
    inside_S = seconds_L[: spec.start_count(len(seconds_L))]
    if every == 0:
        return np.arange(len(inside_S), dtype=np.int64)
    multiples = np.unique(np.round(inside_S / every)) * every
    multiples = multiples[multiples <= inside_S[-1] + CLOCK_ERROR]
    middles = (inside_S[1:] + inside_S[:-1]) / 2
    return np.unique(np.searchsorted(middles, multiples - 1e-6)).astype(np.int64)


def varying_rate(times_N: NDArray[np.float64]) -> float | None:
    """Ticks a second for a video whose frame rate varies; None where the rate is constant.

    A clip of stored frames lasts longer where frames are dropped, as phones do in the dark. The
    rate returned is that of the fast parts: the shortest tenth of the steps between frames.

    Example:
        >>> varying_rate(np.array([0.0, 0.04, 0.08, 0.12])) is None
        True
        >>> round(varying_rate(np.array([0.0, 0.04, 0.08, 0.12, 0.4, 0.7])))
        25
    """
    steps = np.diff(times_N)
    if not len(steps):
        return None
    short = float(np.quantile(steps, 0.1))
    return 1 / short if 0 < 1.5 * short < steps.max() else None


def timeline(times_N: NDArray[np.float64], fps: float | None) -> Ints:
    """The stored frame each tick shows.

    Args:
        times_N: presentation time of every stored frame in seconds, ascending.
        fps: ticks a second, or None for one tick a stored frame.

    Returns:
        (L,) frame numbers, ascending. With ``fps`` a tick shows the frame on screen at its time,
        so frames are held or skipped, never blended.

    Example:
        >>> timeline(np.array([0.0, 0.1, 0.2, 0.3]), fps=None).tolist()
        [0, 1, 2, 3]
        >>> timeline(np.array([0.0, 0.1, 0.2, 0.3]), fps=5).tolist()
        [0, 2]
        >>> timeline(np.array([0.0, 0.1, 0.5, 0.6]), fps=10).tolist()
        [0, 1, 1, 1, 1, 2, 3]
    """
    if fps is None or len(times_N) < 2:
        return np.arange(len(times_N), dtype=np.int64)
    elapsed_N = times_N - times_N[0]
    tolerance = 1e-6 + 0.01 / fps  # time stamps are rounded to the container's clock
    ticks = int(np.floor((elapsed_N[-1] + tolerance) * fps)) + 1
    shown = np.searchsorted(elapsed_N, np.arange(ticks) / fps + tolerance, side="right") - 1
    return shown.astype(np.int64)


def timed_ticks(
    times_N: NDArray[np.float64], fps: float | None, every: float | None
) -> tuple[Ints, NDArray[np.float64]]:
    """The stored frame each tick of a test video shows, and its time in seconds from the first.

    Args:
        times_N: presentation time of every stored frame in seconds, ascending.
        fps: ticks a second, or None for one tick a stored frame.
        every: seconds between the clips to take, see :func:`timed_starts`. Where the frame rate
            varies, ticks are then even in time without ``fps`` too, so that all clips of a video
            last equally long.

    Example:
        >>> times_N = np.array([5.0, 5.1, 5.2, 5.5])
        >>> for every in (None, 0.1):
        ...     shown_L, seconds_L = timed_ticks(times_N, fps=None, every=every)
        ...     shown_L.tolist(), seconds_L.round(3).tolist()
        ([0, 1, 2, 3], [0.0, 0.1, 0.2, 0.5])
        ([0, 1, 2, 2, 2, 3], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    """
    if fps is None and every:
        fps = varying_rate(times_N)
    shown_L = timeline(times_N, fps)
    seconds_L = times_N - times_N[0] if fps is None else np.arange(len(shown_L)) / fps
    return shown_L, seconds_L
