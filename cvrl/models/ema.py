"""Momentum encoders: an exponential moving average (EMA) of a module's weights.

MoCo's key encoder (He et al., arXiv 1911.05722, eq. 2) and BYOL's target (Grill et al., arXiv
2006.07733, eq. 1) are both one of these.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cvrl.utils.checks import check_range


class EMA(nn.Module):
    """Copy of a module whose weights follow it as a moving average, see :meth:`update`.

    The copy receives no gradient. Its buffers (batch norm's running statistics) are copied from the
    module at each update: the copy's own forward passes would make them depend on the rank.

    Args:
        source: module to copy; no reference to it is kept.
        local_batchnorm: exclude the copy's batch norms from ``convert_sync_batchnorm``, for a
            caller that decides which clips are normalised together.

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
        """Output of the copy, without gradient."""
        output: Tensor = self.module(*inputs)
        return output

    @torch.no_grad()
    def update(self, source: nn.Module, momentum: float) -> None:
        """Update the weights: ``ours = momentum * ours + (1 - momentum) * theirs``.

        Args:
            source: module of the copied architecture.
            momentum: weight of the old value, in [0, 1].

        Raises:
            ValueError: ``source`` has a different number of parameters or buffers.
        """
        for ours, theirs in zip(self.module.parameters(), source.parameters(), strict=True):
            ours.lerp_(theirs.to(ours.dtype), 1.0 - momentum)
        for kept, new in zip(self.module.buffers(), source.buffers(), strict=True):
            kept.copy_(new)


@dataclass(frozen=True)
class MomentumSchedule:
    """Momentum of each step, on half a cosine from ``start`` to ``end``.

    ``m(t) = end - (end - start) (cos(pi t / T) + 1) / 2``, as in BYOL.

    Attributes:
        total_steps: T, at which ``end`` is reached; it stays there.
        start: m(0), in [0, 1].
        end: m(T), in [0, 1]; equal to ``start`` for a constant momentum.

    Raises:
        UserError: ``start`` or ``end`` is out of range.

    Example:
        >>> schedule = MomentumSchedule(total_steps=10, start=0.9)
        >>> [round(schedule.at(t), 3) for t in (0, 5, 10, 11)]
        [0.9, 0.95, 1.0, 1.0]
    """

    total_steps: int
    start: float
    end: float = 1.0

    def __post_init__(self) -> None:
        check_range("method.momentum", self.start, "[0, 1]")
        check_range("method.final_momentum", self.end, "[0, 1]")

    def at(self, step: int) -> float:
        """m(t) for ``step`` = t, the number of steps already done."""
        done = min(step / max(self.total_steps, 1), 1.0)
        return self.end - (self.end - self.start) * (math.cos(math.pi * done) + 1.0) / 2.0
