"""A few large clips of a video and several small ones (multi-crop).

Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments" (arXiv
2006.09882), section 3.2: two crops of standard size and some of low resolution that cover small
parts, which cost little and must agree with the large ones. On videos each also stands at a time
of its own.

Shapes: V large clips and S small ones a video, T frames a clip, L ticks in the video.
"""

import numpy as np

from cvrl.data.clips import ClipSpec, Plan, clip_indices
from cvrl.data.view_base import SmallCrops, Views
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError


class MultiCrop(Views):
    """Clips from independent uniform starts: large ones first, then small ones.

    A video too short for one clip is looped or held as the spec says, from any of its ticks.

    Args:
        spec: the shape of a clip, large or small.
        clips: V >= 1 large clips, cut as the augmentation says.
        small: S >= 1 small clips.
        small_size: their height and width in pixels.
        small_area: share of the frame that they keep, lowest and highest, in (0, 1].

    Raises:
        UserError: keywords that cannot be used, naming the key.

    Example:
        >>> views = MultiCrop(ClipSpec(frames=8, stride=2))
        >>> views.plan(length=250, fps=25.0, rng=np.random.default_rng(0)).ticks_VT.shape
        (6, 8)
    """

    kinds = frozenset({"crops"})
    small: SmallCrops

    def __init__(
        self,
        spec: ClipSpec,
        *,
        clips: int = 2,
        small: int = 4,
        small_size: int = 96,
        small_area: tuple[float, float] = (0.05, 0.14),
    ) -> None:
        check_range("views.clips", clips, "[1, inf)")
        check_range("views.small", small, "[1, inf)")
        check_range("views.small_size", small_size, "[1, inf)")
        low, high = small_area
        if not 0 < low <= high <= 1:
            raise UserError(
                f"views.small_area = {list(small_area)}",
                "is no range of shares of a frame",
                "give two numbers, ascending, above 0 and at most 1",
            )
        self.spec = spec
        self.clips = clips
        self.small = SmallCrops(small, small_size, (low, high))

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose the clips of one visit, V + S rows.

        Args:
            length: ticks in the video, L >= 1.
            fps: ticks a second; not used.
            rng: the visit's own generator.
        """
        places = self.spec.start_count(length) if length >= self.spec.span else length
        start_V = rng.integers(places, size=self.clips + self.small.count)
        ticks_VT = np.stack([clip_indices(int(start), self.spec, length) for start in start_V])
        return Plan(ticks_VT=ticks_VT, start_V=start_V)


VIEWS = MultiCrop
