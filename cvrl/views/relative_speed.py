"""Two clips of a video at one speed and a third at another: which of them play alike?

Chen et al., "RSPNet: Relative Speed Perception for Unsupervised Video Representation Learning"
(arXiv 2011.07949): of clips c_i, c_j and c_k of one video, c_i and c_j have the same speed and c_k
another, and every clip starts where it likes.

Deviations: a clip never runs over the end of its video, so both speeds are drawn from those at
which a clip fits. A video that fits fewer than two is shown at the slowest speed, three times, and
has no label.

Shapes: V = 3 clips a video, T frames a clip, L ticks in the video.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cvrl.data.clips import ClipSpec, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError


class RelativeSpeed(Views):
    """The clips c_i, c_j and c_k, in that order; the label of each is its speed.

    Args:
        spec: the shape of a clip; its stride is not used.
        speeds: ticks between neighbouring frames, ascending. The paper has 1 and 2.

    Raises:
        UserError: fewer than two speeds, or speeds that do not ascend from 1 or more.

    Example:
        >>> views = RelativeSpeed(ClipSpec(frames=8, stride=2), speeds=(1, 2))
        >>> plan = views.plan(length=100, fps=25.0, rng=np.random.default_rng(0))
        >>> plan.order_V.tolist(), plan.ticks_VT[:, 1].tolist()
        ([0, 0, 1], [60, 48, 25])
    """

    kinds = frozenset({"relative_speed"})
    clips = 3

    def __init__(self, spec: ClipSpec, *, speeds: Sequence[int] = (1, 2)) -> None:
        if len(speeds) < 2 or list(speeds) != sorted({*speeds}) or speeds[0] < 1:
            reason = "is not two or more ascending speeds of at least 1"
            raise UserError(f"views.speeds = {list(speeds)}", reason, "use [1, 2]")
        self.spec = spec
        self.specs = [replace(spec, stride=speed) for speed in speeds]
        self.order_classes = len(speeds)

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Draw two speeds, then the start of each clip."""
        fitting = sum(spec.span <= length for spec in self.specs)
        same, other = rng.permutation(fitting)[:2] if fitting > 1 else (0, 0)
        speed_V = np.array([same, same, other], dtype=np.int64)
        specs = [self.specs[speed] for speed in speed_V]
        start_V = np.array([rng.integers(spec.start_count(length)) for spec in specs])
        clips = zip(start_V, specs, strict=True)
        ticks_VT = np.stack([clip_indices(int(start), spec, length) for start, spec in clips])
        label_V = speed_V if fitting > 1 else np.full_like(speed_V, -1)
        return Plan(ticks_VT=ticks_VT, start_V=start_V, order_V=label_V)


VIEWS = RelativeSpeed
