"""Evaluation transforms of published retrieval numbers, for clips of any size.

Each paper fixes the part of a frame that its network sees. At another size than the paper's the
part stays the same, and the pixels are scaled.

Shapes: C channels, T frames, H W pixels.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cvrl.transforms.colour import Normalize
from cvrl.transforms.geometry import CenterCrop, resize
from cvrl.transforms.op import Op, Shape
from cvrl.transforms.recipe import Recipe
from cvrl.transforms.recipes import evaluation


@dataclass(frozen=True)
class Stretch(Op[tuple[int, int]]):
    """Resize all frames to one height and width, whatever their shape, bilinear, antialiased.

    Args:
        height: in pixels.
        width: in pixels.

    Example:
        >>> import torch
        >>> Stretch(height=128, width=171)(torch.zeros(3, 2, 120, 120)).shape
        torch.Size([3, 2, 128, 171])
    """

    height: int
    width: int

    resizes: ClassVar[bool] = True

    def _draw(self, generator: object, shape: Shape) -> tuple[int, int]:
        return self.height, self.width

    def _apply(self, clip_CTHW: Tensor, params: tuple[int, int]) -> Tensor:
        return resize(clip_CTHW, *params, antialias=True)

    def _output_shape(self, shape: Shape, params: tuple[int, int]) -> Shape:
        return *shape[:2], *params


def vcop(size: int, *, normalise: bool = False) -> Recipe:
    """Frames of 128 x 171 pixels, whatever their shape, and the centre of 112.

    Xu et al., CVPR 2019, and the authors' retrieval script. ``size`` takes the place of 112.

    Args:
        size: of the clips in pixels.
        normalise: subtract 0.45 and divide by 0.225 at the end.

    Example:
        >>> vcop(112).views[0]
        (Stretch(p=1.0, height=128, width=171), CenterCrop(p=1.0, size=112))
    """
    frames = Stretch(height=round(size * 128 / 112), width=round(size * 171 / 112))
    return Recipe([[frames, CenterCrop(size=size), *([Normalize()] if normalise else [])]])


def coclr(size: int, *, normalise: bool = False) -> Recipe:
    """The centre of 224 pixels of frames with a short side of 256, scaled to the clip's size.

    Han et al., arXiv 2010.09709, and the authors' code, whose clips have 128 pixels. The frames are
    scaled first here, which differs by rounding.

    Args:
        size: of the clips in pixels.
        normalise: subtract 0.45 and divide by 0.225 at the end.

    Example:
        >>> import torch
        >>> coclr(128)(torch.zeros(3, 8, 240, 320, dtype=torch.uint8)).shape
        torch.Size([3, 8, 128, 128])
    """
    return evaluation(size, resize=round(size * 256 / 224), normalise=normalise)
