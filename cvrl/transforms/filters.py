"""Transforms of neighbourhoods and of chance: blur, Sobel, noise, cutout.

Shapes: C channels, T frames, H W pixels, K taps of a filter. All work on each frame alone: nothing
leaks from one frame into the next.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.transforms import kernels
from cvrl.transforms.colour import luma_of
from cvrl.transforms.geometry import Box, box_by_area, cut_box
from cvrl.transforms.op import Op, Shape, integer, pair, to_float, uniform
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError

Padding = Literal["zeros", "replicate"]
_NO_WEIGHT = 1e-8  # of a tap, beside a sum of 1: below what float32 resolves


class Noise(NamedTuple):
    """What :class:`GaussianNoise` draws: the noise itself is a function of the seed."""

    sigma: float
    seed: int


@dataclass(frozen=True)
class GaussianBlur(Op[float]):
    """Blur each frame with a separable Gaussian; one sigma a clip.

    Args:
        sigma: range to draw the standard deviation from, evenly, in pixels.
        kernel_size: taps of the filter, one more where even; None for a tenth of the frame's
            height, as SimCLR and CVRL have it (23 taps at 224, none at all below 20).
        padding: what lies beyond the border: ``zeros`` (CVRL; the border darkens) or ``replicate``.

    Example:
        >>> blur = GaussianBlur(sigma=(1.0, 1.0), kernel_size=3, padding="replicate")
        >>> blur(torch.tensor([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3)).flatten()
        tensor([0.2741, 0.4519, 0.2741])
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    kernel_size: int | None = None
    padding: Padding = "zeros"

    in_float: ClassVar[bool] = True
    framewise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sigma", pair("sigma", self.sigma, "(0, inf)"))
        if self.kernel_size is not None:
            check_range("GaussianBlur.kernel_size", self.kernel_size, "[1, inf)")
        if self.padding not in ("zeros", "replicate"):
            raise UserError(f"padding = {self.padding}", "is not known", "give zeros or replicate")

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> float:
        return _within(generator, self.sigma)

    def _apply(self, clip_CTHW: Tensor, params: float) -> Tensor:
        size = clip_CTHW.shape[2] // 10 if self.kernel_size is None else self.kernel_size
        half, replicate = half_gaussian(params, size // 2), self.padding == "replicate"
        if kernels.serves(clip_CTHW):
            return kernels.blur(clip_CTHW, half, replicate=replicate)
        # A product with a banded matrix a side: faster than sums of shifted frames and conv2d, and
        # the same bits for a frame whichever others come along.
        channels, frames, height, width = clip_CTHW.shape
        down_HH, along_WW = (
            banded(half, side, replicate=replicate).to(clip_CTHW) for side in (height, width)
        )
        images = clip_CTHW.reshape(channels * frames, height, width)
        images = images.bmm(along_WW.T.expand(len(images), -1, -1))
        return down_HH.expand(len(images), -1, -1).bmm(images).reshape(clip_CTHW.shape)


@dataclass(frozen=True)
class Sobel(Op[bool]):
    """Edges: the length of the Sobel gradient of luma, the same in every channel.

    A straight step from 0 to 1 gives 1; what is steeper is clamped. Borders are replicated.

    Example:
        >>> Sobel()(torch.eye(2).repeat(3, 1, 1, 1)).shape
        torch.Size([3, 1, 2, 2])
    """

    in_float: ClassVar[bool] = True
    framewise: ClassVar[bool] = True
    rgb: ClassVar[bool] = True

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> bool:
        return True

    def _apply(self, clip_CTHW: Tensor, params: bool) -> Tensor:
        padded = F.pad(luma_of(clip_CTHW), (1, 1, 1, 1), "replicate")
        smooth_y = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
        smooth_x = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
        across = smooth_y[..., 2:] - smooth_y[..., :-2]
        down = smooth_x[..., 2:, :] - smooth_x[..., :-2, :]
        length = across.square().add_(down.square()).sqrt_().div_(4).clamp_(0, 1)
        return length.expand_as(clip_CTHW).contiguous()


@dataclass(frozen=True)
class GaussianNoise(Op[Noise]):
    """Add Gaussian noise and clamp to [0, 1].

    One field of noise is added to all frames of a clip, or a still clip would not stay still. It is
    made on the CPU from a drawn seed, so that it is the same on every device.

    Args:
        sigma: range to draw the standard deviation from, evenly.

    Example:
        >>> noisy = GaussianNoise()(torch.full((3, 2, 4, 4), 0.5), torch.Generator().manual_seed(0))
        >>> bool((noisy[:, 0] == noisy[:, 1]).all()), bool((noisy == 0.5).any())
        (True, False)
    """

    sigma: tuple[float, float] = (0.1, 0.1)

    in_float: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sigma", pair("sigma", self.sigma, "[0, inf)"))

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> Noise:
        return Noise(_within(generator, self.sigma), integer(generator, 0, 2**62))

    def _apply(self, clip_CTHW: Tensor, params: Noise) -> Tensor:
        channels, _, height, width = clip_CTHW.shape
        generator = torch.Generator().manual_seed(params.seed)
        noise_C1HW = torch.randn(channels, 1, height, width, generator=generator)
        return clip_CTHW.add(noise_C1HW.mul_(params.sigma).to(clip_CTHW.device)).clamp_(0, 1)


@dataclass(frozen=True)
class Cutout(Op[Box]):
    """Cover a random box with one value, at the same place in all frames. Keeps the dtype.

    DeVries and Taylor, arXiv 1708.04552, who use a square of fixed size.

    Args:
        area: range of the box's share of the frame.
        aspect: range of its width over its height.
        value: what covers it, in [0, 1]; rounded to one of 256 levels.

    Example:
        >>> covered = Cutout(area=(0.25, 0.25))(torch.ones(3, 2, 8, 8), torch.Generator())
        >>> covered.mean().item()
        0.75
    """

    area: tuple[float, float] = (0.1, 0.3)
    aspect: tuple[float, float] = (1.0, 1.0)
    value: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "area", pair("area", self.area, "(0, 1]"))
        object.__setattr__(self, "aspect", pair("aspect", self.aspect, "(0, inf)"))
        check_range("Cutout.value", self.value, "[0, 1]")

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> Box:
        return box_by_area(generator, shape[2], shape[3], self.area, self.aspect)

    def _apply(self, clip_CTHW: Tensor, params: Box) -> Tensor:
        covered = clip_CTHW.clone()
        level = torch.tensor(round(255 * self.value), dtype=torch.uint8)
        cut_box(covered, params)[:] = level if clip_CTHW.dtype == torch.uint8 else to_float(level)
        return covered


def half_gaussian(sigma: float, radius: int) -> list[float]:
    """Weights of a Gaussian filter from its centre outwards.

    Args:
        sigma: standard deviation in pixels.
        radius: the filter has 2 * radius + 1 taps. Weights too small to matter are left out.

    Returns:
        At least one and at most radius + 1 weights; centre plus twice the others is 1.

    Example:
        >>> [round(weight, 4) for weight in half_gaussian(1.0, 2)]
        [0.4026, 0.2442, 0.0545]
    """
    half = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(radius + 1)]
    total = half[0] + 2 * sum(half[1:])
    return [weight / total for weight in half if weight / total > _NO_WEIGHT]


def banded(half: Sequence[float], size: int, *, replicate: bool) -> Tensor:
    """A filter along a line of pixels as a matrix: each row weighs all pixels for one result.

    Args:
        half: weights from the centre outwards, see :func:`half_gaussian`.
        size: pixels of the line.
        replicate: beyond its ends lie their values again, instead of zeros.

    Returns:
        float32 (size, size).

    Example:
        >>> banded([0.5, 0.25], 3, replicate=False)
        tensor([[0.5000, 0.2500, 0.0000],
                [0.2500, 0.5000, 0.2500],
                [0.0000, 0.2500, 0.5000]])
    """
    weight = F.pad(torch.tensor(half), (0, size))  # at a distance of 0, 1, ... pixels
    place = torch.arange(size)
    rows = weight[(place[:, None] - place).abs()]
    if replicate:
        beyond = weight.flip(0).cumsum(0).flip(0)  # of all that lies so far away or farther
        rows[:, 0] += beyond[place + 1]
        rows[:, -1] += beyond[size - place]
    return rows


def _within(generator: torch.Generator | None, limits: tuple[float, float]) -> float:
    return limits[0] if limits[0] == limits[1] else uniform(generator, *limits)
