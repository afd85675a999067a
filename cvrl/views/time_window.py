"""Clips in step through a short window of one video (TCN, arXiv 1704.06888, 3.2, single view).

The window is placed at random; its clips start one step after another. Which of them belong
together is for the method to say, from their times.

Shapes: V clips, the whole window; T frames a clip, L ticks in the video.
"""

import numpy as np

from cvrl.data.clips import ClipSpec, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError


class TimeWindow(Views):
    """Every clip of a window, in order of time.

    Args:
        spec: the shape of a clip.
        clips: V >= 3. At 30 frames a second and step 1, negatives 0.4 s away need 26 and more.
        step: ticks from the start of a clip to that of the next, >= 1. In a video too short for
            that, clips are spread evenly over all of it, and repeat where they must.

    Raises:
        UserError: keywords that cannot be used.

    Example:
        >>> views = TimeWindow(ClipSpec(frames=4, stride=1), clips=4, step=2)
        >>> views.plan(length=100, fps=25.0, rng=np.random.default_rng(0)).start_V.tolist()
        [77, 79, 81, 83]
    """

    kinds = frozenset({"window"})

    def __init__(self, spec: ClipSpec, *, clips: int = 32, step: int = 1) -> None:
        if clips < 3 or step < 1:
            raise UserError("views", "needs clips >= 3 and step >= 1")
        self.spec = spec
        self.clips = clips
        self.step = step

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Place the window.

        Args:
            length: ticks in the video, L >= 1.
            fps: not looked at.
            rng: the visit's own generator.
        """
        places = length if length < self.spec.span else self.spec.start_count(length)
        reach = min((self.clips - 1) * self.step, places - 1)
        first = int(rng.integers(places - reach))
        start_V = first + np.arange(self.clips, dtype=np.int64) * reach // (self.clips - 1)
        ticks_VT = np.stack([clip_indices(int(start), self.spec, length) for start in start_V])
        return Plan(ticks_VT=ticks_VT, start_V=start_V)


VIEWS = TimeWindow
