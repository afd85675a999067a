"""A patch of a clip and one of its neighbours; which neighbour it is, is the label.

Doersch et al., "Unsupervised Visual Representation Learning by Context Prediction" (arXiv
1505.05192): 8 neighbours in a 3 x 3 grid. In space and time there are 26, in a 3 x 3 x 3 grid whose
planes are clips before, at and after the centre's.

Against shortcuts, as there: gaps between patches and a jitter of each patch, so that no line runs
on; one colour channel kept and the others made faint noise, since lenses shift the channels of a
picture against each other, which tells where in it a patch lies.

Deviations: a patch is a clip; the grid is laid over the random crop.

Shapes: V = 2 patches, T frames a clip, S side of the crop in pixels, L ticks in the video.
"""

from itertools import product

import numpy as np
import torch
from torch import Tensor

from cvrl.data.clips import ClipSpec, Ints, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError

GRID = 3


class RelativePatch(Views):
    """The patch in the middle of the crop, and one beside it.

    Args:
        spec: the shape of a clip.
        time: whether neighbours may lie before and after: 26 classes, not 8.
        gap: ticks between the clips of neighbouring planes, >= 0.
        jitter: a patch is smaller than its cell of the grid by this share, and lies anywhere in it.
        keep_channel: keep one colour channel, drawn for each patch.

    Raises:
        UserError: a gap below 0, or a jitter that leaves nothing.

    Example:
        >>> views = RelativePatch(ClipSpec(frames=8, stride=2))
        >>> plan = views.plan(length=100, fps=25.0, rng=np.random.default_rng(0))
        >>> crops, rng = torch.rand(2, 3, 8, 96, 96), np.random.default_rng(0)
        >>> patches, order = views.arrange(crops, plan, rng)
        >>> tuple(patches.shape), views.order_classes
        ((2, 3, 8, 28, 28), 8)
    """

    kinds = frozenset({"tuple"})
    clips = 2
    arranges = True
    augmented_alike = (2,)  # the patches are cut from one crop, or they have no relative place

    def __init__(
        self,
        spec: ClipSpec,
        *,
        time: bool = False,
        gap: int = 4,
        jitter: float = 0.125,
        keep_channel: bool = True,
    ) -> None:
        if gap < 0 or not 0 <= jitter < 1:
            raise UserError("views", "needs a gap of at least 0 and a jitter in [0, 1)")
        self.spec = spec
        self.gap = gap
        self.jitter = jitter
        self.keep_channel = keep_channel
        planes = (-1, 0, 1) if time else (0,)
        steps = product(planes, (-1, 0, 1), (-1, 0, 1))
        self.neighbours = [step for step in steps if step != (0, 0, 0)]
        self.order_classes = len(self.neighbours)

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose a clip, a neighbour and, with it, the neighbour's clip."""
        label = int(rng.integers(self.order_classes))
        step = self.neighbours[label][0] * (self.spec.span + self.gap)
        places = self.spec.start_count(length)
        if abs(step) >= places:  # too short to hold a clip before and one after
            label, step = -1, 0
        first = int(rng.integers(max(0, -step), places - max(0, step)))
        start_V = np.array([first, first + step], dtype=np.int64)
        ticks_VT = np.stack([clip_indices(int(start), self.spec, length) for start in start_V])
        return Plan(ticks_VT, start_V, np.full(2, label, dtype=np.int64))

    def arrange(
        self, clips_VCTHW: Tensor, plan: Plan, rng: np.random.Generator
    ) -> tuple[Tensor, Ints]:
        """Cut the two patches out of the crops."""
        label = int(plan.order_V[0])
        _, down, right = self.neighbours[label] if label >= 0 else (0, 0, 0)
        cell = clips_VCTHW.shape[-1] // GRID
        side = max(1, round(cell * (1 - self.jitter)))
        cells = ((1, 1), (1 + down, 1 + right))
        patches = []
        for clip_CTHW, (row, column) in zip(clips_VCTHW, cells, strict=True):
            top = row * cell + int(rng.integers(cell - side + 1))
            left = column * cell + int(rng.integers(cell - side + 1))
            patch = clip_CTHW[..., top : top + side, left : left + side]
            patches.append(_one_channel(patch, rng) if self.keep_channel else patch)
        return torch.stack(patches), plan.order_V


def _one_channel(patch_CTHW: Tensor, rng: np.random.Generator) -> Tensor:
    """One channel as it is, the others noise around its mean, a hundredth as strong."""
    kept = int(rng.integers(patch_CTHW.shape[0]))
    channel_THW = patch_CTHW[kept]
    noise = torch.from_numpy(rng.standard_normal(tuple(patch_CTHW.shape), dtype=np.float32))
    faint = channel_THW.mean() + 0.01 * channel_THW.std() * noise
    faint[kept] = channel_THW
    return faint.to(patch_CTHW.dtype)


VIEWS = RelativePatch
