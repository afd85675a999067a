"""Clips of one video in a drawn order, which is the label: is it the right one, or which is it?

Three published tasks, as modes:

* ``vcop``: every order is a class, k! of them, and direction matters. Xu et al., "Self-supervised
  Spatiotemporal Learning via Video Clip Order Prediction", CVPR 2019 (3 clips of 16 frames, gap 8).
* ``opn``: an order and its reverse share a class, k!/2 of them. Lee et al., "Unsupervised
  Representation Learning by Sorting Sequences", arXiv 1708.01246 (4 frames).
* ``shuffle_and_learn``: are three clips in a valid order, in either direction? Misra et al.,
  "Shuffle and Learn", arXiv 1603.08561: of five places a < b < c < d < e, (b, c, d) is valid, and
  (b, a, d) and (b, e, d) are not.

Deviations: the gap is jittered, since a constant one is a cue, by the 12 frames that key frames are
commonly apart, so that where clips lie between these does not tell their order; frame 0, always a
key frame, is not shown where there are others; videos that are too short for the gaps lose them,
then overlap their clips, where VCOP's code drops a quarter of UCF101; a tuple whose
order cannot be told (too few frames, or nothing moves) has no label and is counted as such; valid
and invalid orders are equally frequent.

Shapes: V = k clips a video, T frames a clip, L ticks in the video.
"""

from itertools import permutations
from typing import Literal

import numpy as np
from torch import Tensor

from cvrl.data.clips import ClipSpec, Ints, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError

Mode = Literal["vcop", "opn", "shuffle_and_learn"]
MODES = ("vcop", "opn", "shuffle_and_learn")
Order = tuple[int, ...]


def order_classes(clips: int, mode: Mode) -> dict[Order, int]:
    """The class of every order that a mode may show.

    Args:
        clips: k, clips of a tuple.
        mode: see above.

    Returns:
        For each order, as the place in time of the clip in each slot, its class. Under
        ``shuffle_and_learn`` places count five, and class 1 is a valid order.

    Raises:
        UserError: a mode that does not exist or does not have so many clips.

    Example:
        >>> order_classes(3, "vcop")[(0, 2, 1)], order_classes(3, "opn")[(1, 2, 0)]
        (1, 1)
        >>> order_classes(3, "shuffle_and_learn")
        {(1, 2, 3): 1, (3, 2, 1): 1, (1, 0, 3): 0, (3, 0, 1): 0, (1, 4, 3): 0, (3, 4, 1): 0}
    """
    if mode not in MODES:
        raise UserError("views.mode", f"unknown value '{mode}'", f"use {', '.join(MODES)}")
    if not 2 <= clips <= 5:
        raise UserError(f"views.clips = {clips}", "gives no orders to tell apart", "use 3 or 4")
    orders = list(permutations(range(clips)))
    if mode == "vcop":
        return {order: index for index, order in enumerate(orders)}
    if mode == "opn":
        forward = [order for order in orders if order <= order[::-1]]
        return {order: forward.index(min(order, order[::-1])) for order in orders}
    if clips != 3:
        raise UserError(f"views.clips = {clips}", f"mode {mode} has 3", "set views.clips=3")
    shown = {(1, 2, 3): 1, (1, 0, 3): 0, (1, 4, 3): 0}
    return {way: valid for order, valid in shown.items() for way in (order, order[::-1])}


class OrderedClips(Views):
    """k clips a gap apart, shown in a drawn order.

    Args:
        spec: the shape of a clip.
        clips: k, 3 or 4.
        mode: ``vcop``, ``opn`` or ``shuffle_and_learn``.
        gap: ticks from the end of a clip to the start of the next one in time, >= 0.
        gap_jitter: up to so many ticks more, drawn for every gap: one less than the frames between
            two key frames.
        still_below: a tuple is taken for still, and gets no label, where the mean change from frame
            to frame of its liveliest clip is below this share of the clip's own spread of values.

    Raises:
        UserError: keywords that cannot be used, naming the key.

    Example:
        >>> views = OrderedClips(ClipSpec(frames=8, stride=2), clips=3)
        >>> plan = views.plan(length=150, fps=25.0, rng=np.random.default_rng(0))
        >>> views.order_classes, plan.start_V.tolist(), plan.order_V.tolist()
        (6, [37, 100, 70], [1, 1, 1])
    """

    kinds = frozenset({"tuple"})
    arranges = True

    def __init__(
        self,
        spec: ClipSpec,
        *,
        clips: int = 3,
        mode: Mode = "vcop",
        gap: int = 8,
        gap_jitter: int = 11,
        still_below: float = 0.02,
    ) -> None:
        if gap < 0 or gap_jitter < 0 or still_below < 0:
            raise UserError("views", "needs gap, gap_jitter and still_below of at least 0")
        self.class_of = order_classes(clips, mode)
        self.orders = list(self.class_of)
        self.order_classes = max(self.class_of.values()) + 1
        self.places = max(max(order) for order in self.orders) + 1
        self.spec = spec
        self.clips = clips
        self.gap = gap
        self.gap_jitter = gap_jitter
        self.still_below = still_below

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose places in time, then the order they are shown in."""
        start_P = self._places(length, rng)
        order = self._draw_order(rng)
        start_V = start_P[list(order)]
        can_tell = length >= self.spec.span and len(set(start_P.tolist())) == self.places
        ticks_VT = np.stack([clip_indices(int(start), self.spec, length) for start in start_V])
        label = self.class_of[order] if can_tell else -1
        return Plan(ticks_VT, start_V, np.full(self.clips, label, dtype=np.int64))

    def arrange(
        self, clips_VCTHW: Tensor, plan: Plan, rng: np.random.Generator
    ) -> tuple[Tensor, Ints]:
        """Take the label from a tuple in which nothing moves; the clips stay as they are."""
        still = motion(clips_VCTHW).max() < self.still_below
        return clips_VCTHW, np.full_like(plan.order_V, -1) if still else plan.order_V

    def _places(self, length: int, rng: np.random.Generator) -> Ints:
        """Starts in order of time, jittered gaps apart; gaps give way before the jitter does."""
        jitter = rng.integers(self.gap_jitter + 1, size=self.places - 1)
        step = self.spec.span + self.gap
        first = int(length >= self.spec.span + self.places)  # frame 0 would tell the earliest clip
        room = self.spec.start_count(length) - 1 - first
        least = min(step, room // len(jitter) - self.gap_jitter)
        if least < 1:
            steps = np.append(0, step + jitter).cumsum()
            shrunk: Ints = steps * room // steps[-1]
            return first + shrunk
        steps = np.append(0, least + jitter).cumsum()
        return first + int(rng.integers(room - steps[-1] + 1)) + steps

    def _draw_order(self, rng: np.random.Generator) -> Order:
        """A class evenly, then one of its orders evenly."""
        wanted = int(rng.integers(self.order_classes))
        orders = [order for order in self.orders if self.class_of[order] == wanted]
        return orders[int(rng.integers(len(orders)))]


def motion(clips_VCTHW: Tensor) -> Tensor:
    """How much of each clip changes from frame to frame.

    Args:
        clips_VCTHW: floats of any range.

    Returns:
        (V,), the mean absolute difference of neighbouring frames over the standard deviation of the
        clip; 0 for a clip of one colour, about 1.1 for noise.

    Example:
        >>> import torch
        >>> still = torch.rand(1, 3, 1, 8, 8).expand(1, 3, 4, 8, 8)
        >>> motion(still).tolist()
        [0.0]
    """
    flat = clips_VCTHW.float()
    change_V = flat.diff(dim=2).abs().mean(dim=(1, 2, 3, 4))
    return change_V / flat.flatten(1).std(dim=1).clamp(min=1e-6)


VIEWS = OrderedClips
