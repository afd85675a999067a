"""A still picture of the video laid over all its frames, so that the background tells less.

Shapes: C channels, T frames, H W pixels.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from cvrl.transforms.op import Op, Shape, pair, uniform


class StillPicture(NamedTuple):
    """What :class:`EraseBackground` draws: the place of the picture in the clip, and its weight."""

    position: float
    weight: float


@dataclass(frozen=True)
class EraseBackground(Op[StillPicture]):
    r"""Add one frame of the clip to all its frames.

    .. math:: \hat{x}_t = (1 - \lambda) x_t + \lambda x_k

    with k drawn evenly from the frames and lambda from a range. Wang et al., "Removing the
    Background by Adding the Background" (BE, arXiv 2009.05769), who draw lambda from 0 to 0.3: what
    moves is seen, as before, in its own place, while the background no longer tells which other
    clips are of the same video. Differences of frames are scaled by 1 - lambda and else unchanged,
    so it does little for ``clip.input: residual``.

    Args:
        weight: range to draw lambda from, evenly, in [0, 1].

    Example:
        >>> clip_CTHW = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)
        >>> op = EraseBackground(weight=(0.25, 0.25))
        >>> op.apply(clip_CTHW, StillPicture(position=0.5, weight=0.25)).flatten().tolist()
        [0.25, 1.0]
    """

    weight: tuple[float, float] = (0.0, 0.3)

    in_float: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weight", pair("EraseBackground.weight", self.weight, "[0, 1]"))

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> StillPicture:
        # A position, not a frame: clips augmented alike are drawn for as one long clip.
        return StillPicture(uniform(generator, 0, 1), uniform(generator, *self.weight))

    def _apply(self, clip_CTHW: Tensor, params: StillPicture) -> Tensor:
        k = int(params.position * clip_CTHW.shape[1])
        mixed_CTHW = torch.lerp(clip_CTHW, clip_CTHW[:, k : k + 1], params.weight)
        return mixed_CTHW.clamp_(0, 1)  # rounding
