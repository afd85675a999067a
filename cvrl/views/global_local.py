"""A clip of a long stretch of a video and clips of its pieces, each augmented twice.

Dave et al., "TCLR: Temporal Contrastive Learning for Video Representation" (arXiv 2101.07974): a
global clip, whose frames are N times as far apart as those of a local clip, and the N local clips
that lie one after another in its stretch. Local clip n has the stretch of the n-th of N equal
slices of the global clip's frames.

    N = 2, T = 4, stride 1    global   f . f . f . f .
                              local 0  f f f f . . . .
                              local 1  . . . . f f f f

Deviations: a video shorter than the stretch is used, where the code drops it; its pieces may show
the same, so they carry no label.

Shapes: V = 2 + 2 N clips a video, T frames a clip, L ticks in the video.
"""

from dataclasses import replace

import numpy as np

from cvrl.data.clips import ClipSpec, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError


class GlobalLocal(Views):
    """Two copies of the global clip, the local clips in order, and those once more.

    The label of a local clip is its place n in the global one; global clips have none.

    Args:
        spec: the shape of a local clip.
        pieces: N >= 2, a divisor of the frames of a clip.

    Raises:
        UserError: a number of pieces that the clip cannot be cut into.

    Example:
        >>> views = GlobalLocal(ClipSpec(frames=4, stride=1), pieces=2)
        >>> plan = views.plan(length=8, fps=25.0, rng=np.random.default_rng(0))
        >>> plan.ticks_VT[1:4].tolist()
        [[0, 2, 4, 6], [0, 1, 2, 3], [4, 5, 6, 7]]
        >>> plan.order_V.tolist()
        [-1, -1, 0, 1, 0, 1]
    """

    kinds = frozenset({"global_local"})

    def __init__(self, spec: ClipSpec, *, pieces: int = 4) -> None:
        if pieces < 2 or spec.frames % pieces:
            reason = f"does not cut clips of {spec.frames} frames into two or more equal pieces"
            raise UserError(f"views.pieces = {pieces}", reason, "use 2 or 4, with clip.frames=8")
        self.spec = spec
        self.global_spec = replace(spec, stride=pieces * spec.stride)
        self.clips = 2 + 2 * pieces
        self.order_classes = pieces

    @property
    def span(self) -> int:
        """Ticks from the first frame of the first piece to the last of the last, both counted."""
        return (self.order_classes * self.spec.frames - 1) * self.spec.stride + 1

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Place the stretch; in a video that is too short it goes on from the first frame."""
        start = int(rng.integers(max(1, length - self.span + 1)))
        place_N = np.arange(self.order_classes, dtype=np.int64)
        start_N = (start + place_N * self.spec.frames * self.spec.stride) % length
        local_NT = np.stack([clip_indices(int(first), self.spec, length) for first in start_N])
        global_T = clip_indices(start, self.global_spec, length)
        if length < self.span:
            place_N = np.full_like(place_N, -1)
        return Plan(
            ticks_VT=np.concatenate([np.tile(global_T, (2, 1)), np.tile(local_NT, (2, 1))]),
            start_V=np.concatenate([[start, start], np.tile(start_N, 2)]),
            order_V=np.concatenate([[-1, -1], np.tile(place_N, 2)]),
        )


VIEWS = GlobalLocal
