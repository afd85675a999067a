"""Several pretext tasks on one visit to a video, decoded once.

Tao, Wang and Yamasaki, "Pretext-Contrastive Learning" (arXiv 2010.15464): order, rotation and other
pretext tasks all gained from an instance contrast beside them. Goes with ``method: joint``.

Shapes: V clips a video, the sum of the parts'.
"""

from collections.abc import Mapping
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from cvrl.data.clips import ClipSpec, Ints, Plan
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError


class Joint(Views):
    """The clips of every part, one after another.

    Args:
        spec: the shape of a clip.
        parts: other views by name, in the order their clips stand in.

    Raises:
        UserError: no parts, or one with crops of another size.

    Example:
        >>> from cvrl.views.temporal_pair import TemporalPair
        >>> spec = ClipSpec(frames=8, stride=2)
        >>> Joint(spec, parts={"a": TemporalPair(spec), "b": TemporalPair(spec, clips=1)}).clips
        3
    """

    kinds = frozenset({"joint"})

    def __init__(self, spec: ClipSpec, *, parts: Mapping[str, Views]) -> None:
        if not parts:
            raise UserError("views.parts", "names no parts", "set views.parts.first.name")
        for name, part in parts.items():
            if part.small is not None:
                raise UserError(f"views.parts.{name}", "has crops of two sizes", "take it out")
            if part.sound is not None:
                raise UserError(f"views.parts.{name}", "listens to the sound", "take it out")
            if part.cameras:
                raise UserError(f"views.parts.{name}", "looks at several cameras", "take it out")
        self.spec = spec
        self.parts = dict(parts)
        self.clips = sum(part.clips for part in parts.values())
        self.arranges = any(part.arranges for part in parts.values())
        self.trims = any(part.trims for part in parts.values())
        if any(part.augmented_alike for part in parts.values()):
            runs = [part.augmented_alike or (1,) * part.clips for part in parts.values()]
            self.augmented_alike = tuple(chain.from_iterable(runs))

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """The parts' plans, each drawn with a generator of its own, so that they do not mix."""
        plans = [
            part.plan(length, fps, own)
            for part, own in zip(self.parts.values(), rng.spawn(len(self.parts)), strict=True)
        ]
        return Plan(
            ticks_VT=np.concatenate([plan.ticks_VT for plan in plans]),
            start_V=np.concatenate([plan.start_V for plan in plans]),
            order_V=np.concatenate([plan.order_V for plan in plans]),
        )

    def arrange(
        self, clips_VCTHW: Tensor, plan: Plan, rng: np.random.Generator
    ) -> tuple[Tensor, Ints]:
        """Every part's arrangement of its own clips.

        Raises:
            UserError: a part makes clips of another size.
        """
        done, orders, first = [], [], 0
        for part, own in zip(self.parts.values(), rng.spawn(len(self.parts)), strict=True):
            mine = slice(first, first + part.clips)
            share = Plan(plan.ticks_VT[mine], plan.start_V[mine], plan.order_V[mine])
            clips, order = part.arrange(clips_VCTHW[mine], share, own)
            done.append(clips)
            orders.append(order)
            first += part.clips
        if len({clips.shape[1:] for clips in done}) > 1:
            sizes = ", ".join(
                f"{name} {clips.shape[-1]}" for name, clips in zip(self.parts, done, strict=True)
            )
            raise UserError("views.parts", f"end in different sizes ({sizes})", "leave one out")
        return torch.cat(done), np.concatenate(orders)


VIEWS = Joint
