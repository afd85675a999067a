"""Clips of a video under different temporal transformations, which are the labels.

Jenni et al., "Video Representation Learning by Recognizing Temporal Transformations" (arXiv
2007.10730). With T frames a clip, the classes are

* speed: frames 2^s ticks apart, s = 0, 1, ..., S - 1, a class each;
* random: T neighbouring frames in a random order, which turns at least twice;
* periodic: forwards, then backwards from a turning point inside the clip;
* warp: steps between frames drawn one by one from 1, 2, 3, ..., up to the greatest speed.

All clips of a visit are augmented alike, so appearance does not tell them apart.

Deviations: one softmax over the S + 3 classes, where the authors' code has one over the kinds of
transformation and one over the speeds; the clips of a visit are of classes drawn without repeats,
so all classes are equally frequent. Speeds are those at which the clip fits into its video; a video
that fits fewer than two is shown at speed 1 and has no label.

Shapes: V clips a video, T frames a clip, S speeds, L ticks in the video.
"""

import numpy as np

from cvrl.data.clips import ClipSpec, Ints, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError

KINDS = 3  # random, periodic, warp
LEAST_FRAMES = 5  # of a clip, so that every kind differs from every other


class TemporalTransform(Views):
    """Clips of different classes from one video.

    Class s < S is speed 2^s; S is random, S + 1 periodic, S + 2 warp.

    Args:
        spec: the shape of a clip, of at least 5 frames; its stride is not used.
        clips: V classes a visit, 1 to 5.
        speeds: S, 2 to 5.

    Raises:
        UserError: a number out of range.

    Example:
        >>> views = TemporalTransform(ClipSpec(frames=8, stride=2))
        >>> plan = views.plan(length=100, fps=25.0, rng=np.random.default_rng(1))
        >>> plan.order_V.tolist()
        [5, 0, 1, 4]
        >>> plan.ticks_VT[0].tolist()  # periodic
        [66, 74, 82, 90, 84, 76, 68, 60]
    """

    kinds = frozenset({"labelled"})

    def __init__(self, spec: ClipSpec, *, clips: int = 4, speeds: int = 4) -> None:
        if not 2 <= speeds <= 5:
            raise UserError(f"views.speeds = {speeds}", "is not in range", "use 2 to 5")
        if not 1 <= clips <= 2 + KINDS:  # a video of two speeds has so many classes
            raise UserError(f"views.clips = {clips}", "is not in range", f"use 1 to {2 + KINDS}")
        if spec.frames < LEAST_FRAMES:
            remedy = f"set clip.frames={LEAST_FRAMES} or more"
            raise UserError(f"clip.frames = {spec.frames}", "is too few to transform", remedy)
        self.spec = spec
        self.clips = clips
        self.speeds = speeds
        self.order_classes = speeds + KINDS
        self.augmented_alike = (clips,)

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Draw the classes, then the frames of each."""
        T = self.spec.frames
        fitting = sum((T - 1) * 2**s < length for s in range(self.speeds))
        if fitting < 2:
            start = int(rng.integers(max(1, length - T + 1)))
            ticks_T = clip_indices(start, ClipSpec(T, 1, self.spec.short_video), length)
            return Plan(np.tile(ticks_T, (self.clips, 1)), np.full(self.clips, start))
        classes = [*range(fitting), *range(self.speeds, self.order_classes)]
        label_V = rng.permutation(classes)[: self.clips].astype(np.int64)
        offset_VT = np.stack([self._offsets(int(label), fitting, rng) for label in label_V])
        start_V = rng.integers(length - offset_VT.max(axis=1)).astype(np.int64)
        ticks_VT = start_V[:, None] + offset_VT
        return Plan(ticks_VT=ticks_VT, start_V=start_V, order_V=label_V)

    def _offsets(self, label: int, fitting: int, rng: np.random.Generator) -> Ints:
        """Ticks of a clip of a class, from 0 on."""
        T = self.spec.frames
        if label < self.speeds:
            return (1 << label) * np.arange(T, dtype=np.int64)
        if label == self.speeds:
            return random_order(T, rng)
        if label == self.speeds + 1:
            return periodic(T, 2 ** int(rng.integers(fitting)), rng)
        return warped(T, 2 ** (fitting - 1), rng)


def random_order(frames: int, rng: np.random.Generator) -> Ints:
    """The numbers 0 to ``frames - 1`` in an order that turns at least twice.

    An order that turns once, such as 0, 2, 4, 3, 1, is periodic.

    Example:
        >>> random_order(5, np.random.default_rng(0)).tolist()
        [2, 4, 3, 0, 1]
    """
    while True:
        order = rng.permutation(frames).astype(np.int64)
        if np.count_nonzero(np.diff(np.sign(np.diff(order)))) >= 2:
            return order


def periodic(frames: int, skip: int, rng: np.random.Generator) -> Ints:
    """Ticks that go forwards by ``skip``, then backwards by ``skip``.

    The way back is shifted by a part of the skip, so that frames of the way there are not all shown
    twice. At least two steps lead in each direction.

    Example:
        >>> periodic(6, 2, np.random.default_rng(0)).tolist()
        [0, 2, 4, 6, 5, 3]
    """
    turn = int(rng.integers(2, frames - 2))
    shift = int(rng.integers(1, skip)) if skip > 1 else int(rng.integers(2))
    frame = np.arange(frames, dtype=np.int64)
    ticks: Ints = shift * (frame > turn) - skip * np.abs(frame - turn)
    first: Ints = ticks - ticks.min()
    return first


def warped(frames: int, fastest: int, rng: np.random.Generator) -> Ints:
    """Ticks with steps drawn evenly from 1 to ``fastest``, not all of them equal.

    Example:
        >>> warped(6, 4, np.random.default_rng(0)).tolist()
        [0, 4, 7, 10, 12, 14]
    """
    while True:
        step = rng.integers(1, fastest + 1, size=frames - 1)
        if len(set(step.tolist())) > 1:
            return np.append(0, step.cumsum()).astype(np.int64)


VIEWS = TemporalTransform
