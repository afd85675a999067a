"""A clip and its frame-shuffled copy, and what the copy is for.

Jaiswal et al., "A Survey on Contrastive Self-supervised Learning" (arXiv 2011.00362, 2.3), and the
surveys after it take the shuffled copy for the *positive* of its clip. Tao et al., "Inter-intra
Contrastive Framework" (IIC, arXiv 2008.02531) take it for a *negative*, which did better on UCF101.
As a class to *predict*, shuffled or not, it is the simplest order task.

Deviations: IIC's positive is another modality, here it is another clip of the video. ``frames``
draws any order but the right one; ``chunks`` is IIC's, which swaps two quarters of the clip.

Shapes: V clips a video, T frames a clip, L ticks in the video.
"""

from typing import Literal

import numpy as np

from cvrl.data.clips import ClipSpec, Ints, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError

Role = Literal["positive", "negative", "predict"]
CHUNKS = 4


class ShuffledPair(Views):
    """A clip with a copy of its frames in another order.

    Under ``positive`` the two views are the clip and its copy. Under ``negative`` there are three:
    the clip, another clip of the video, and the copy, which is to be told from both. Under
    ``predict`` there is one, in order (label 0) or not (label 1).

    Args:
        spec: the shape of a clip, of at least 4 frames.
        role: ``positive``, ``negative`` or ``predict``.
        shuffle: ``frames`` or ``chunks``.

    Raises:
        UserError: an unknown choice, or too few frames to swap quarters of.

    Example:
        >>> views = ShuffledPair(ClipSpec(frames=8, stride=2), role="positive")
        >>> plan = views.plan(length=100, fps=25.0, rng=np.random.default_rng(0))
        >>> sorted(plan.ticks_VT[1]) == sorted(plan.ticks_VT[0])
        True
    """

    kinds = frozenset({"clips", "contrast", "labelled"})  # of one role each, see the constructor

    def __init__(
        self,
        spec: ClipSpec,
        *,
        role: Role = "positive",
        shuffle: Literal["frames", "chunks"] = "frames",
    ) -> None:
        roles = {"positive": ("clips", 2), "negative": ("contrast", 3), "predict": ("labelled", 1)}
        if role not in roles:
            raise UserError("views.role", f"unknown value '{role}'", f"use {', '.join(roles)}")
        if shuffle not in ("frames", "chunks"):
            raise UserError("views.shuffle", f"unknown value '{shuffle}'", "use frames or chunks")
        if spec.frames < CHUNKS:
            remedy = f"set clip.frames={CHUNKS} or more"
            raise UserError(f"clip.frames = {spec.frames}", "is too few to shuffle", remedy)
        kind, self.clips = roles[role]
        self.kinds = frozenset({kind})
        self.spec = spec
        self.role = role
        self.shuffle = shuffle
        self.negatives = 1 if role == "negative" else 0
        self.order_classes = 2 if role == "predict" else 0

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose a clip, its copy's order and, for a negative, another clip."""
        start, other = rng.integers(self.spec.start_count(length), size=2)
        ticks_T = clip_indices(int(start), self.spec, length)
        shuffled_T = ticks_T[self._order(rng)]
        if self.role == "positive":
            return Plan(np.stack([ticks_T, shuffled_T]), np.array([start, start]))
        if self.role == "negative":
            other_T = clip_indices(int(other), self.spec, length)
            return Plan(np.stack([ticks_T, other_T, shuffled_T]), np.array([start, other, start]))
        label = int(rng.integers(2)) if len(set(ticks_T.tolist())) == len(ticks_T) else -1
        shown_T = shuffled_T if label == 1 else ticks_T
        return Plan(shown_T[None], np.array([start]), np.array([label]))

    def _order(self, rng: np.random.Generator) -> Ints:
        """An order of the frames that is not the right one."""
        if self.shuffle == "chunks":
            chunks = np.array_split(np.arange(self.spec.frames, dtype=np.int64), CHUNKS)
            one, two = rng.choice(CHUNKS, size=2, replace=False)
            chunks[one], chunks[two] = chunks[two], chunks[one]
            return np.concatenate(chunks)
        order = np.arange(self.spec.frames, dtype=np.int64)
        while (order == np.sort(order)).all():
            order = rng.permutation(order)
        return order


VIEWS = ShuffledPair
