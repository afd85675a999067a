"""Blocks of one video in order, the last of which are the future (predictive coding).

Block i starts ``i (span + gap)`` ticks after block 0, so blocks never overlap. With
``gap = stride - 1`` all frames of all blocks are evenly spaced, as in DPC (Han et al., arXiv
1909.04656: 8 blocks of 5 frames, stride 3, of which 3 are predicted).

Deviations from DPC's code: it drops a video that is shorter than its blocks (28 % of UCF101's
training part at 120 frames, 81 % of HMDB51's); here the video goes on as the clip says it does,
from its first frame again or on its last one.

Shapes: N blocks (the V clips of a video), T frames a block, L ticks in the video.
"""

import numpy as np

from cvrl.data.clips import ClipSpec, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError


class FutureBlocks(Views):
    """Consecutive blocks, ascending in time, augmented alike.

    All blocks share one crop, one flip and one set of colours: what stands at a place of one block
    stands there in the next, which is what a prediction for that place is about.

    In a video too short for all of them, the blocks lie on its endless continuation: played again
    and again from a uniform start (``loop``), or from its first frame to its last, which is then
    held (``repeat``).

    Args:
        spec: the shape of a block. The encoder sets its least number of frames (8 for most).
        blocks: N >= 2.
        predict: how many of them, the last, are to be predicted; 1 to N - 1.
        gap: ticks left out between the last frame of a block and the first of the next, >= 0.

    Raises:
        UserError: keywords out of range, naming the key.

    Example:
        >>> views = FutureBlocks(ClipSpec(frames=3, stride=2), blocks=3, predict=1, gap=1)
        >>> views.span
        17
        >>> views.plan(length=17, fps=25.0, rng=np.random.default_rng(0)).ticks_VT.tolist()
        [[0, 2, 4], [6, 8, 10], [12, 14, 16]]
    """

    kinds = frozenset({"blocks"})

    def __init__(self, spec: ClipSpec, *, blocks: int = 8, predict: int = 3, gap: int = 0) -> None:
        if blocks < 2:
            raise UserError(f"views.blocks = {blocks}", "leaves no past or no future", "use 5 or 8")
        if not 1 <= predict < blocks:
            raise UserError(
                f"views.predict = {predict}",
                f"of {blocks} blocks at least one is seen and one predicted",
                f"use 1 to {blocks - 1}",
            )
        if gap < 0:
            raise UserError(f"views.gap = {gap}", "lets blocks overlap", "use 0 or more")
        self.spec = spec
        self.clips = blocks
        self.predict = predict
        self.gap = gap
        self.augmented_alike = (blocks,)

    @property
    def span(self) -> int:
        """Ticks from the first frame of the first block to the last of the last, both counted."""
        return self.clips * (self.spec.span + self.gap) - self.gap

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose the blocks of one visit.

        Args:
            length: ticks in the video, L >= 1.
            fps: ticks a second, not used.
            rng: the visit's own generator.

        Returns:
            A plan with N clips, earliest first.
        """
        offset_V = np.arange(self.clips, dtype=np.int64) * (self.spec.span + self.gap)
        if length >= self.span:
            start_V = int(rng.integers(length - self.span + 1)) + offset_V
        elif self.spec.short_video == "loop":
            start_V = (int(rng.integers(length)) + offset_V) % length
        else:
            start_V = np.minimum(offset_V, length - 1)
        ticks_VT = np.stack([clip_indices(int(start), self.spec, length) for start in start_V])
        return Plan(ticks_VT=ticks_VT, start_V=start_V)


VIEWS = FutureBlocks
