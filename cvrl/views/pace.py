"""Clips of a video at a drawn pace, which is the label.

Wang et al., "Self-supervised Video Representation Learning by Pace Prediction" (arXiv 2008.05861):
a clip's frames are p ticks apart, and p is to be told. Its contrastive term takes clips of one
video at different paces for positives ("same context"). The paces 1, 2, 4 and 8 are those of Yao et
al., "Video Playback Rate Perception" (PRP, arXiv 2006.11476).

Deviations: a clip never runs over the end of its video, where the code starts again at the first
frame: that jump tells a fast pace. The pace is drawn from those at which the clip fits; a video
that fits fewer than two is shown at the slowest one and has no label. Colours are changed alike in
all frames of a clip, where the code draws them for each frame.

Shapes: V clips a video, T frames a clip, L ticks in the video.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cvrl.data.clips import ClipSpec, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError


class Pace(Views):
    """Clips whose frames are a drawn number of ticks apart.

    Args:
        spec: the shape of a clip; its stride is not used.
        clips: V, each at a start and a pace of its own. One is enough to tell its pace; two or more
            also serve methods that compare clips of a video.
        paces: ticks between neighbouring frames, ascending.

    Raises:
        UserError: no clip, or fewer than two paces, or paces that do not ascend from 1 or more.

    Example:
        >>> views = Pace(ClipSpec(frames=8, stride=2), clips=2)
        >>> plan = views.plan(length=100, fps=25.0, rng=np.random.default_rng(0))
        >>> [int(pace) for pace in plan.ticks_VT[:, 1] - plan.ticks_VT[:, 0]], plan.order_V.tolist()
        ([8, 4], [3, 2])
    """

    kinds = frozenset({"labelled", "clips"})

    def __init__(
        self, spec: ClipSpec, *, clips: int = 1, paces: Sequence[int] = (1, 2, 4, 8)
    ) -> None:
        if clips < 1:
            raise UserError(f"views.clips = {clips}", "is none", "use 1 or 2")
        if len(paces) < 2 or list(paces) != sorted({*paces}) or paces[0] < 1:
            reason = "is not two or more ascending paces of at least 1"
            raise UserError(f"views.paces = {list(paces)}", reason, "use [1, 2, 4, 8]")
        self.spec = spec
        self.specs = [replace(spec, stride=pace) for pace in paces]
        self.clips = clips
        self.order_classes = len(paces)

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Draw the pace of each clip, then its start."""
        fitting = sum(spec.span <= length for spec in self.specs)
        pace_V = rng.integers(max(1, fitting), size=self.clips)
        start_V = np.array(
            [rng.integers(self.specs[pace].start_count(length)) for pace in pace_V], dtype=np.int64
        )
        ticks_VT = np.stack(
            [
                clip_indices(int(start), self.specs[pace], length)
                for start, pace in zip(start_V, pace_V, strict=True)
            ]
        )
        label_V = pace_V if fitting > 1 else np.full_like(pace_V, -1)
        return Plan(ticks_VT=ticks_VT, start_V=start_V, order_V=label_V.astype(np.int64))


VIEWS = Pace
