"""A teacher that follows its student: an exponential moving average of a module's weights.

MoCo's key encoder (He et al., arXiv 1911.05722, eq. 2) and BYOL's target (Grill et al., arXiv
2006.07733, eq. 1) are both one of these.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """A copy of a module whose weights move a little towards it at each :meth:`update`.

    No gradient ever reaches it. Its buffers, which are batch norm's running statistics, are taken
    over from the module as they are: what the copy's own passes write there depends on which rank
    ran them, and the module's are the same on all.

    Args:
        source: what is copied; not kept.
        local_batchnorm: leave the copy's batch norms out of ``convert_sync_batchnorm``, for a
            caller that chooses which clips they see together.

    Example:
        >>> student = nn.Linear(2, 1)
        >>> teacher = EMA(student)
        >>> with torch.no_grad():
        ...     _ = student.weight.copy_(teacher.module.weight + 1.0)
        >>> teacher.update(student, momentum=0.75)
        >>> torch.allclose(teacher.module.weight + 0.75, student.weight)
        True
    """

    def __init__(self, source: nn.Module, *, local_batchnorm: bool = False) -> None:
        super().__init__()
        self.module = copy.deepcopy(source).requires_grad_(False)
        self.local_batchnorm = local_batchnorm

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Tensor:
        """What the copy makes of the inputs, without gradient."""
        output: Tensor = self.module(*inputs)
        return output

    @torch.no_grad()
    def update(self, source: nn.Module, momentum: float) -> None:
        """Move the weights: ``ours = momentum * ours + (1 - momentum) * theirs``.

        Args:
            source: of the architecture that was copied.
            momentum: share of the old weights, in [0, 1].

        Raises:
            ValueError: another number of parameters or buffers.
        """
        for ours, theirs in zip(self.module.parameters(), source.parameters(), strict=True):
            ours.lerp_(theirs.to(ours.dtype), 1.0 - momentum)
        for kept, new in zip(self.module.buffers(), source.buffers(), strict=True):
            kept.copy_(new)


def cosine_momentum(step: int, total_steps: int, start: float, end: float = 1.0) -> float:
    """The momentum of a step on half a cosine from ``start`` to ``end``.

    ``m(t) = end - (end - start) (cos(pi t / T) + 1) / 2``, as in BYOL.

    Args:
        step: t, steps done before this one.
        total_steps: T, at which ``end`` is reached; it stays there.
        start: m(0), in [0, 1].
        end: m(T); the same as ``start`` for a constant momentum.

    Example:
        >>> [round(cosine_momentum(t, 10, 0.9), 3) for t in (0, 5, 10, 11)]
        [0.9, 0.95, 1.0, 1.0]
    """
    done = min(step / max(total_steps, 1), 1.0)
    return end - (end - start) * (math.cos(math.pi * done) + 1.0) / 2.0
