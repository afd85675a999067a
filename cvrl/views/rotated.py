"""A clip turned by 0, 90, 180 or 270 degrees, which is the label.

Gidaris et al., "Unsupervised Representation Learning by Predicting Image Rotations" (arXiv
1803.07728); for clips, Jing et al., "Self-Supervised Spatiotemporal Feature Learning via Video
Rotation Prediction" (3DRotNet, arXiv 1811.11387).

The turn is an exact transposition of the square crop, so neither interpolation, black corners nor
the shape of the frame gives it away, and it comes after all augmentation: a mirror image afterwards
would make 90 out of 270 degrees. Black bars at the sides of a film tell the turn of any film that
has them (38 % of four classes of UCF101), so they are cut off before the augmentation.

Shapes: V clips a video, T frames a clip, L ticks in the video.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cvrl.data.clips import ClipSpec, Ints, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError


class Rotated(Views):
    """One clip, turned.

    Args:
        spec: the shape of a clip.
        copies: 1 draws a turn; 4 shows all four, each augmented by itself, as in RotNet.
        trim: cut bars off, see :func:`cvrl.transforms.black_bars.crop_black_bars`.

    Raises:
        UserError: another number of copies.

    Example:
        >>> views = Rotated(ClipSpec(frames=8, stride=2), copies=4)
        >>> views.plan(length=100, fps=25.0, rng=np.random.default_rng(0)).order_V.tolist()
        [0, 1, 2, 3]
    """

    kinds = frozenset({"labelled"})
    order_classes = 4
    arranges = True

    def __init__(self, spec: ClipSpec, *, copies: Literal[1, 4] = 4, trim: bool = True) -> None:
        if copies not in (1, 4):
            raise UserError(f"views.copies = {copies}", "not possible", "use 1 or 4")
        self.spec = spec
        self.clips = copies
        self.trims = trim

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose a clip, and the turn of each copy as a number of quarter turns."""
        start = int(rng.integers(self.spec.start_count(length)))
        ticks_T = clip_indices(start, self.spec, length)
        turn_V = np.arange(4) if self.clips == 4 else rng.integers(4, size=1)
        return Plan(
            ticks_VT=np.tile(ticks_T, (self.clips, 1)),
            start_V=np.full(self.clips, start, dtype=np.int64),
            order_V=turn_V.astype(np.int64),
        )

    def arrange(
        self, clips_VCTHW: Tensor, plan: Plan, rng: np.random.Generator
    ) -> tuple[Tensor, Ints]:
        """Turn each clip counter-clockwise by its quarter turns."""
        turned = [
            torch.rot90(clip, int(turn), dims=(-2, -1))
            for clip, turn in zip(clips_VCTHW, plan.order_V, strict=True)
        ]
        return torch.stack(turned), plan.order_V


VIEWS = Rotated
