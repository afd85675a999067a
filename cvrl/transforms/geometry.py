"""Transforms that move pixels: crops, resizing, flip, turn. They keep the clip's dtype.

Shapes: C channels, T frames, H W pixels. A box is (top, left, height, width) in pixels.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from cvrl.transforms.op import Op, Shape, integer, pair, uniform
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError
from cvrl.utils.resize import resize as resize_frames

Law = Literal["area", "height"]


class Box(NamedTuple):
    """A rectangle of pixels, inside the frame."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class RandomResizedCrop(Op[Box]):
    """Cut a random box out of all frames and resize it to a square, bilinear, not antialiased.

    Args:
        size: side of the result in pixels.
        area: range of the box's share of the frame.
        aspect: range of the box's width over its height.
        law: ``area`` draws area and log aspect evenly (Szegedy et al., arXiv 1409.4842; torchvision
            and SlowFast); ``height`` draws the aspect evenly, then the height evenly among those
            that satisfy the area (TensorFlow's ``sample_distorted_bounding_box``, so CVRL).
        short_side: in place of area and aspect, the short side in pixels to which the frames would
            be resized before a square of ``size`` is cut (SlowFast's 256 to 320), drawn evenly.
            The square is cut first here, and resized.

    Where no box is found in a number of tries, the ``area`` law takes the largest centred box of an
    allowed aspect, the ``height`` law the whole frame.

    Example:
        >>> clip_CTHW = torch.zeros(3, 8, 120, 160, dtype=torch.uint8)
        >>> RandomResizedCrop(size=64)(clip_CTHW, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 8, 64, 64])
    """

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    law: Law = "area"
    short_side: tuple[float, float] | None = None

    resizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self)
        object.__setattr__(self, "area", pair("area", self.area, "(0, 1]"))
        object.__setattr__(self, "aspect", pair("aspect", self.aspect, "(0, inf)"))
        if self.short_side is not None:
            sides = pair("short_side", self.short_side, f"[{self.size}, inf)")
            object.__setattr__(self, "short_side", sides)
        if self.law not in ("area", "height"):
            raise UserError(f"law = {self.law}", "is not a law", "give area or height")

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> Box:
        if self.short_side is not None:
            return box_by_short_side(generator, shape[2], shape[3], self.size, self.short_side)
        law = box_by_area if self.law == "area" else box_by_height
        return law(generator, shape[2], shape[3], self.area, self.aspect)

    def _apply(self, clip_CTHW: Tensor, params: Box) -> Tensor:
        cut = cut_box(clip_CTHW, params)
        return resize(cut, self.size, self.size, antialias=False)

    def _output_shape(self, shape: Shape, params: Box) -> Shape:
        return *shape[:2], self.size, self.size


@dataclass(frozen=True)
class RandomCrop(Op[Box]):
    """Cut a square out of all frames at a random place, without resizing.

    Args:
        size: side of the square in pixels.

    Raises:
        UserError: on drawing, where the frames are smaller than the square.

    Example:
        >>> clip_CTHW = torch.zeros(3, 8, 144, 180)
        >>> RandomCrop(size=112)(clip_CTHW, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 8, 112, 112])
    """

    size: int

    resizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self)

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> Box:
        spare_h, spare_w = _spare(self.size, shape)
        top = integer(generator, 0, spare_h + 1)
        return Box(top, integer(generator, 0, spare_w + 1), self.size, self.size)

    def _apply(self, clip_CTHW: Tensor, params: Box) -> Tensor:
        return cut_box(clip_CTHW, params)

    def _output_shape(self, shape: Shape, params: Box) -> Shape:
        return *shape[:2], self.size, self.size


@dataclass(frozen=True)
class CenterCrop(Op[Box]):
    """Cut the square in the middle out of all frames.

    Args:
        size: side of the square in pixels.

    Raises:
        UserError: on drawing, where the frames are smaller than the square.

    Example:
        >>> CenterCrop(size=2)(torch.arange(16.0).reshape(1, 1, 4, 4)).flatten().tolist()
        [5.0, 6.0, 9.0, 10.0]
    """

    size: int

    resizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self)

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> Box:
        spare_h, spare_w = _spare(self.size, shape)
        return Box(spare_h // 2, spare_w // 2, self.size, self.size)

    def _apply(self, clip_CTHW: Tensor, params: Box) -> Tensor:
        return cut_box(clip_CTHW, params)

    def _output_shape(self, shape: Shape, params: Box) -> Shape:
        return *shape[:2], self.size, self.size


@dataclass(frozen=True)
class Resize(Op[tuple[int, int]]):
    """Resize all frames so that their shorter side has a given length, bilinear, antialiased.

    Args:
        size: the shorter side of the result in pixels. The longer one is rounded down.

    Example:
        >>> Resize(size=64)(torch.zeros(3, 2, 120, 160)).shape
        torch.Size([3, 2, 64, 85])
    """

    size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self)

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> tuple[int, int]:
        height, width = shape[2:]
        short = min(height, width)
        return self.size * height // short, self.size * width // short

    def _apply(self, clip_CTHW: Tensor, params: tuple[int, int]) -> Tensor:
        return resize(clip_CTHW, *params, antialias=True)

    def _output_shape(self, shape: Shape, params: tuple[int, int]) -> Shape:
        return *shape[:2], *params


@dataclass(frozen=True)
class HorizontalFlip(Op[bool]):
    """Mirror all frames left to right.

    Example:
        >>> HorizontalFlip()(torch.arange(3.0).reshape(1, 1, 1, 3)).flatten().tolist()
        [2.0, 1.0, 0.0]
    """

    framewise: ClassVar[bool] = True

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> bool:
        return True

    def _apply(self, clip_CTHW: Tensor, params: bool) -> Tensor:
        return clip_CTHW.flip(-1)


@dataclass(frozen=True)
class Rotate(Op[int]):
    """Turn all frames anticlockwise by an angle drawn from a few multiples of 90 degrees.

    Frames that are not square change height for width at 90 and 270 degrees.

    Args:
        degrees: the angles to draw from, each equally likely.

    Example:
        >>> Rotate(degrees=(180,))(torch.arange(4.0).reshape(1, 1, 2, 2)).flatten().tolist()
        [3.0, 2.0, 1.0, 0.0]
    """

    degrees: tuple[int, ...] = (90, 180, 270)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "degrees", tuple(self.degrees))
        if not self.degrees or any(angle % 90 for angle in self.degrees):
            raise UserError(
                f"degrees = {list(self.degrees)}",
                "are not quarter turns",
                "give some of 0, 90, 180, 270",
            )

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> int:
        if len(self.degrees) == 1:
            return self.degrees[0]
        return self.degrees[integer(generator, 0, len(self.degrees))]

    def _apply(self, clip_CTHW: Tensor, params: int) -> Tensor:
        return torch.rot90(clip_CTHW, params // 90, dims=(-2, -1))

    def _output_shape(self, shape: Shape, params: int) -> Shape:
        channels, frames, height, width = shape
        return (channels, frames, width, height) if params % 180 else shape


def box_by_area(
    generator: torch.Generator | None,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> Box:
    """Draw a box whose area and log aspect are even over their ranges, as torchvision does.

    The sides are rounded to whole pixels. After ten boxes that do not fit, the largest centred one
    with an aspect in range is taken.

    Args:
        generator: CPU generator.
        height: of the frame.
        width: of the frame.
        area: range of the share of the frame.
        aspect: range of width over height.

    Example:
        >>> box_by_area(torch.Generator().manual_seed(0), 90, 120, (1.0, 1.0), (4 / 3, 4 / 3))
        Box(top=0, left=0, height=90, width=120)
    """
    for _ in range(10):
        target = uniform(generator, *area) * height * width
        ratio = math.exp(uniform(generator, math.log(aspect[0]), math.log(aspect[1])))
        box_h, box_w = round(math.sqrt(target / ratio)), round(math.sqrt(target * ratio))
        if 0 < box_h <= height and 0 < box_w <= width:
            return _place(generator, height, width, box_h, box_w)
    ratio = min(max(width / height, aspect[0]), aspect[1])
    box_h = max(1, min(height, round(width / ratio)))
    box_w = max(1, min(width, round(height * ratio)))
    return Box((height - box_h) // 2, (width - box_w) // 2, box_h, box_w)


def box_by_height(
    generator: torch.Generator | None,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> Box:
    """Draw a box whose aspect is even over its range, then its height over what the area allows.

    The law of TensorFlow's ``sample_distorted_bounding_box`` for a box that must cover no object.
    After a hundred boxes that do not fit, the whole frame is taken.

    Args:
        generator: CPU generator.
        height: of the frame.
        width: of the frame.
        area: range of the share of the frame; rounding to pixels does not leave it.
        aspect: range of width over height.

    Example:
        >>> box_by_height(torch.Generator().manual_seed(0), 90, 120, (1.0, 1.0), (4 / 3, 4 / 3))
        Box(top=0, left=0, height=90, width=120)
    """
    smallest, largest = area[0] * height * width, area[1] * height * width
    for _ in range(100):
        ratio = uniform(generator, *aspect)
        low = round(math.sqrt(smallest / ratio))
        high = min(round(math.sqrt(largest / ratio)), height, math.floor((width + 0.5) / ratio))
        box_h = integer(generator, low, high + 1) if low < high else high
        if box_h * round(box_h * ratio) < smallest:  # mend what rounding the sides did
            box_h += 1
        elif box_h * round(box_h * ratio) > largest:
            box_h -= 1
        box_w = round(box_h * ratio)
        fits = 0 < box_h <= height and 0 < box_w <= width
        if fits and smallest <= box_h * box_w <= largest:
            return _place(generator, height, width, box_h, box_w)
    return Box(0, 0, height, width)


def box_by_short_side(
    generator: torch.Generator | None,
    height: int,
    width: int,
    size: int,
    short_side: tuple[float, float],
) -> Box:
    """Draw the square that a crop of ``size`` covers in frames resized to a drawn short side.

    Args:
        generator: CPU generator.
        height: of the frame.
        width: of the frame.
        size: side of the crop.
        short_side: range of the short side of the resized frame, at least ``size``.

    Example:
        >>> box_by_short_side(torch.Generator().manual_seed(0), 240, 320, 224, (224, 224))[2:]
        (240, 240)
    """
    side = max(1, round(size / uniform(generator, *short_side) * min(height, width)))
    return _place(generator, height, width, side, side)


def cut_box(clip_CTHW: Tensor, box: Box) -> Tensor:
    """The pixels of ``box`` in every frame, as a view.

    Raises:
        ValueError: the box leaves the frame, so it was drawn for frames of another size.

    Example:
        >>> cut_box(torch.zeros(3, 2, 9, 9), Box(1, 2, 3, 4)).shape
        torch.Size([3, 2, 3, 4])
    """
    top, left, height, width = box
    if top + height > clip_CTHW.shape[2] or left + width > clip_CTHW.shape[3]:
        raise ValueError(f"{box} leaves the frame in (C, T, H, W) {tuple(clip_CTHW.shape)}")
    return clip_CTHW[:, :, top : top + height, left : left + width]


def resize(clip_CTHW: Tensor, height: int, width: int, *, antialias: bool) -> Tensor:
    """Resize all frames, bilinear, pixel centres aligned at halves.

    Example:
        >>> resize(torch.ones(3, 2, 4, 4), 2, 6, antialias=False).shape
        torch.Size([3, 2, 2, 6])
    """
    # Channels last is how the decoder lays frames out, and what torch's 8-bit kernel is five times
    # faster on.
    clip_TCHW = clip_CTHW.transpose(0, 1)
    if clip_CTHW.dtype == torch.uint8 and clip_CTHW.device.type == "cpu":
        clip_TCHW = clip_TCHW.contiguous(memory_format=torch.channels_last)
    return resize_frames(clip_TCHW, height, width, antialias=antialias).transpose(0, 1)


def _place(
    generator: torch.Generator | None, height: int, width: int, box_h: int, box_w: int
) -> Box:
    top = integer(generator, 0, height - box_h + 1)
    return Box(top, integer(generator, 0, width - box_w + 1), box_h, box_w)


def _spare(size: int, shape: Shape) -> tuple[int, int]:
    height, width = shape[2:]
    if size > min(height, width):
        raise UserError(
            f"crop {size}",
            f"is larger than the {width}x{height} video",
            "use random resized crop or a smaller size",
        )
    return height - size, width - size


def _check_size(op: RandomResizedCrop | RandomCrop | CenterCrop | Resize) -> None:
    # Antialiased to a width of 1, torch's 8-bit kernel is wrong by up to the whole range.
    check_range(f"{type(op).__name__}.size", op.size, "[2, inf)")
