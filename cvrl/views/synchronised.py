"""Moments of one event, each seen by two cameras (TCN, Sermanet et al., arXiv 1704.06888, 3.1).

M moments are drawn from one event, and for each two different cameras in random order. What the
two show at one moment belongs together; what any shows at another moment does not, however alike
the pictures are.

Deviations: moments keep a least distance, where TCN's code draws frames without replacement and so
takes neighbours for negatives. They come from the whole event, not from a window of 20 seconds. A
moment is a short clip that starts there, not one frame.

Shapes: M moments, V = 2 M clips of an event, T frames a clip, C cameras. Clips 2m and 2m + 1 show
moment m. The ticks are the films of all cameras one after another, as
:class:`cvrl.data.cameras.Cameras` gives them: L = C n.
"""

from typing import Literal

import numpy as np

from cvrl.data.clips import ClipSpec, Ints, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError


class Synchronised(Views):
    """Each moment by two of the cameras; ``order`` tells which camera a clip is from.

    Args:
        spec: the shape of a clip, which starts at its moment.
        moments: M >= 2.
        cameras: C >= 2, the number of ``data.cameras``.
        min_gap: least distance between two moments; less where the event is too short for that.
        unit: what ``min_gap`` counts: ``seconds`` or ``frames``.
        jitter: frames by which the second clip of a moment may start earlier or later than the
            first, drawn evenly: as much as the cameras are out of step.

    Raises:
        UserError: keywords that cannot be used.

    Example:
        >>> views = Synchronised(ClipSpec(frames=4, stride=1), moments=3, min_gap=0.5)
        >>> plan = views.plan(length=200, fps=25.0, rng=np.random.default_rng(0))
        >>> (plan.start_V % 100).tolist(), plan.order_V.tolist()
        ([38, 38, 58, 58, 84, 84], [0, 1, 0, 1, 1, 0])
    """

    kinds = frozenset({"synchronised"})

    def __init__(
        self,
        spec: ClipSpec,
        *,
        moments: int = 16,
        cameras: int = 2,
        min_gap: float = 0.2,
        unit: Literal["seconds", "frames"] = "seconds",
        jitter: int = 0,
    ) -> None:
        if moments < 2 or cameras < 2:
            raise UserError("views", "needs moments >= 2 and cameras >= 2")
        if min_gap < 0 or jitter < 0:
            raise UserError("views", "needs min_gap >= 0 and jitter >= 0")
        if unit not in ("seconds", "frames"):
            raise UserError("views.unit", f"unknown value '{unit}'", "use seconds or frames")
        self.spec = spec
        self.moments = moments
        self.clips = 2 * moments
        self.cameras = cameras
        self.order_classes = cameras
        self.min_gap = min_gap
        self.unit = unit
        self.jitter = jitter

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose moments and cameras.

        Args:
            length: L, frames of all cameras together.
            fps: frames a second.
            rng: the visit's own generator.

        Raises:
            ValueError: ``length`` is not that of C films of one length.
        """
        film, rest = divmod(length, self.cameras)
        if rest or film < 1:
            raise ValueError(f"{length} frames are not {self.cameras} films of one length")
        places = film if film < self.spec.span else self.spec.start_count(film)
        gap = round(self.min_gap * (fps if self.unit == "seconds" else 1.0))
        start_M = draw_apart(places, self.moments, gap, rng)
        shift_M = rng.integers(-self.jitter, self.jitter + 1, size=self.moments)
        start_M2 = np.stack([start_M, np.clip(start_M + shift_M, 0, places - 1)], axis=1)
        every_MC = np.tile(np.arange(self.cameras), (self.moments, 1))
        camera_V = rng.permuted(every_MC, axis=1)[:, :2].reshape(-1)
        ticks_VT = np.stack([clip_indices(int(t), self.spec, film) for t in start_M2.reshape(-1)])
        first_V = camera_V * film
        return Plan(ticks_VT + first_V[:, None], start_M2.reshape(-1) + first_V, camera_V)


def draw_apart(places: int, count: int, gap: int, rng: np.random.Generator) -> Ints:
    """Places that keep a distance, every such choice equally likely.

    Args:
        places: how many there are to choose from, >= 1.
        count: how many to draw, >= 2.
        gap: least distance of two; the largest possible where it is too long, and repeats where
            there are fewer places than draws.
        rng: the source of the draw.

    Returns:
        (count,) integers in ``[0, places)``, ascending.

    Example:
        >>> draw_apart(places=7, count=3, gap=3, rng=np.random.default_rng(0)).tolist()
        [0, 3, 6]
    """
    gap = max(1, min(gap, (places - 1) // (count - 1)))
    free = places - (count - 1) * (gap - 1)  # what is left when every gap is taken out
    drawn = np.sort(rng.choice(free, count, replace=free < count))
    return (drawn + np.arange(count) * (gap - 1)).astype(np.int64)


VIEWS = Synchronised
