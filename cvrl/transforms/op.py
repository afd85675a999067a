"""What every transform of a clip is: parameters drawn once, then applied to all frames alike.

Drawing and applying are apart. ``draw`` needs only the shape of the clip and a CPU generator; its
result is a few plain numbers that pickle and fit any device. ``apply`` is tensor arithmetic, so the
same parameters give the same clip on a loader's worker and on the training device.

Clips are (C, T, H, W): C channels, T frames, H W pixels; uint8 in [0, 255] or floating in [0, 1].
Which number comes out is fixed for both kinds:

- Transforms that move pixels keep the dtype. Those that interpolate a uint8 clip round to whole
  levels; the result is within 1.1 levels of what the same clip gives in floating point.
- Transforms of values divide uint8 by 255 first and return float32, so a uint8 clip and the same
  clip over 255 give the same bits.

Every transform treats equal frames equally: a still clip stays still, bit for bit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor

from cvrl.transforms import kernels
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError

Shape: TypeAlias = tuple[int, int, int, int]  # C, T, H, W
Drawn = TypeVar("Drawn")

_CACHED_VALUES = 2**20  # floats: the few arrays of a step of this many still sit in a cache


class Step(NamedTuple):
    """A part of a transform that treats each frame alone.

    Attributes:
        function: of some frames, and of what ``needs`` gave where there is one.
        needs: what the step must know of the whole clip before, as contrast does its mean.
        change: the same of an RGB clip in the words of :mod:`cvrl.transforms.kernels`, which joins
            neighbours that have one; None where it has none.
    """

    function: Callable[..., Tensor]
    needs: Callable[[Tensor], Tensor] | None = None
    change: kernels.Change | None = None


@dataclass(frozen=True)
class Op(ABC, Generic[Drawn]):
    """One transform of a clip. Subclasses are frozen dataclasses of its settings.

    Args:
        p: probability that the clip is transformed at all.

    Example:
        >>> from cvrl.transforms import HorizontalFlip
        >>> clip_CTHW = torch.arange(3.0).reshape(1, 1, 1, 3)
        >>> HorizontalFlip()(clip_CTHW).flatten().tolist()
        [2.0, 1.0, 0.0]
    """

    p: float = field(default=1.0, kw_only=True)

    resizes: ClassVar[bool] = False  # frames of any size come out in one size
    in_float: ClassVar[bool] = False  # works on float32, whatever came in
    rgb: ClassVar[bool] = False  # needs three channels
    framewise: ClassVar[bool] = False  # can be done in steps that treat each frame alone

    def __post_init__(self) -> None:
        check_range(f"{type(self).__name__}.p", self.p, "[1, 1]" if self.resizes else "[0, 1]")

    def draw(self, generator: torch.Generator | None, shape: Shape) -> Drawn | None:
        """Draw the parameters for one clip.

        Args:
            generator: CPU generator; None will do where nothing is random.
            shape: (C, T, H, W) of the clip.

        Returns:
            Plain numbers for :meth:`apply`; None leaves the clip as it is.

        Raises:
            ValueError: something is random and there is no generator.
            UserError: the clip is too small for the transform.
        """
        if self.p < 1 and uniform(generator, 0, 1) >= self.p:
            return None
        return self._draw(generator, shape)

    def apply(self, clip_CTHW: Tensor, params: Drawn | None) -> Tensor:
        """Transform a clip, on whatever device it is. The clip given is not changed.

        Args:
            clip_CTHW: uint8 in [0, 255] or floating in [0, 1].
            params: what :meth:`draw` gave for a clip of this shape.

        Raises:
            ValueError: the clip has another dtype or shape.
        """
        check_clip(clip_CTHW, channels=3 if self.rgb else None)
        steps = self.steps(params)
        if steps is not None:
            return run_steps(clip_CTHW, steps)
        if self.in_float:
            clip_CTHW = to_float(clip_CTHW)
        return clip_CTHW if params is None else self._apply(clip_CTHW, params)

    def steps(self, params: Drawn | None) -> list[Step] | None:
        """What :meth:`apply` does after its check, frame by frame; None where it cannot be said so.

        A recipe joins the steps of several transforms, so that frames stay in cache between them.
        """
        if not (self.framewise or params is None):
            return None
        # float32 also where nothing is done, so that the dtype tells nothing of the draw
        first = [Step(to_float)] if self.in_float else []
        return first if params is None else [*first, *self._steps(params)]

    def _steps(self, params: Drawn) -> list[Step]:
        return [Step(partial(self._apply, params=params))]

    def output_shape(self, shape: Shape, params: Drawn | None) -> Shape:
        """The (C, T, H, W) that :meth:`apply` makes of a clip of ``shape``."""
        return shape if params is None else self._output_shape(shape, params)

    def __call__(self, clip_CTHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.apply(clip_CTHW, self.draw(generator, _shape(clip_CTHW)))

    @abstractmethod
    def _draw(self, generator: torch.Generator | None, shape: Shape) -> Drawn:
        """Parameters, once the coin of ``p`` has fallen for the transform."""

    @abstractmethod
    def _apply(self, clip_CTHW: Tensor, params: Drawn) -> Tensor:
        """The arithmetic, on a checked clip."""

    def _output_shape(self, shape: Shape, params: Drawn) -> Shape:
        return shape


def check_clip(clip: Tensor, *, channels: int | None = None) -> None:
    """Refuse what is no clip.

    Args:
        clip: should be (C, T, H, W), uint8 or floating, without an empty dimension.
        channels: what C should be; None for any number.

    Raises:
        ValueError: it is not, and the message says what it is.

    Example:
        >>> check_clip(torch.zeros(3, 8, 4, 4), channels=3)
    """
    if clip.dtype != torch.uint8 and not clip.is_floating_point():
        raise ValueError(f"a clip is uint8 in [0, 255] or floating in [0, 1], not {clip.dtype}")
    if clip.ndim != 4 or not clip.numel():
        raise ValueError(f"a clip is (C, T, H, W), none of them 0, not {tuple(clip.shape)}")
    if channels is not None and clip.shape[0] != channels:
        raise ValueError(
            f"expected {channels} channels, got {clip.shape[0]} in (C, T, H, W) {tuple(clip.shape)}"
        )


def to_float(clip: Tensor) -> Tensor:
    """The clip as float32 in [0, 1]; uint8 is divided by 255, floating values are kept.

    Example:
        >>> to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    if clip.is_floating_point():
        return clip.to(torch.float32)
    # Decoded frames lie channels-last; one pass both converts and reorders them.
    return clip.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def uniform(generator: torch.Generator | None, low: float, high: float) -> float:
    """A number drawn evenly from [low, high).

    Raises:
        ValueError: there is no generator.

    Example:
        >>> uniform(torch.Generator().manual_seed(0), 2.0, 2.0)
        2.0
    """
    return low + (high - low) * float(
        torch.rand((), dtype=torch.float64, generator=_need(generator))
    )


def integer(generator: torch.Generator | None, low: int, high: int) -> int:
    """A whole number drawn evenly from low, ..., high - 1.

    Raises:
        ValueError: there is no generator.

    Example:
        >>> integer(torch.Generator().manual_seed(0), 3, 4)
        3
    """
    return int(torch.randint(low, high, (), generator=_need(generator)))


def run_steps(clip_CTHW: Tensor, steps: Sequence[Step]) -> Tensor:
    """Take a clip through steps, some frames at a time, up to one that needs the whole clip.

    Args:
        clip_CTHW: any clip.
        steps: in order.

    Returns:
        The same, bit for bit, as all frames through one step after the other.

    Example:
        >>> shift = Step(torch.sub, needs=torch.mean)
        >>> run_steps(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1), [Step(torch.neg), shift])
        tensor([[[[ 1.]],
        <BLANKLINE>
                 [[-1.]]]])
    """
    at = 0
    while at < len(steps):
        ahead = (k for k in range(at + 1, len(steps)) if steps[k].needs is not None)
        end = next(ahead, len(steps))
        known = [step.needs(clip_CTHW) if step.needs else None for step in steps[at:end]]
        clip_CTHW = in_pieces(partial(_chain, steps[at:end], known), clip_CTHW)
        at = end
    return clip_CTHW


def _chain(steps: Sequence[Step], known: Sequence[Tensor | None], piece_CTHW: Tensor) -> Tensor:
    joined: list[tuple[kernels.Change, Tensor | None]] = []
    for step, value in zip(steps, known, strict=True):
        if step.change is not None and kernels.serves(piece_CTHW) and len(piece_CTHW) == 3:
            joined.append((step.change, value))
            continue
        piece_CTHW = kernels.change_colours(piece_CTHW, joined) if joined else piece_CTHW
        piece_CTHW = step.function(*(piece_CTHW, value)[: 1 if value is None else 2])
        joined = []
    return kernels.change_colours(piece_CTHW, joined) if joined else piece_CTHW


def in_pieces(function: Callable[[Tensor], Tensor], clip_CTHW: Tensor) -> Tensor:
    """``function(clip)``, computed some frames at a time where that keeps its steps in cache.

    Args:
        function: treats each frame alone.
        clip_CTHW: any clip.

    Example:
        >>> in_pieces(torch.neg, torch.ones(1, 2, 1, 1)).flatten().tolist()
        [-1.0, -1.0]
    """
    frames = clip_CTHW.shape[1]
    pieces = min(frames, -(-clip_CTHW.numel() // _CACHED_VALUES))
    if clip_CTHW.device.type != "cpu" or pieces <= 1:
        return function(clip_CTHW)
    whole: Tensor | None = None
    size = -(-frames // pieces)
    for start in range(0, frames, size):
        done = function(clip_CTHW[:, start : start + size])
        if whole is None:  # joined in place: fresh memory for each step costs more than the step
            whole = done.new_empty((done.shape[0], frames, *done.shape[2:]))
        whole[:, start : start + size] = done
    assert whole is not None  # a clip has frames
    return whole


def pair(name: str, values: Any, interval: str) -> tuple[float, float]:
    """Two numbers (low, high) from a setting, also where a config file made them a list.

    Raises:
        UserError: there are not two, one lies outside ``interval``, or low is above high.

    Example:
        >>> pair("area", [0.3, 1.0], "(0, 1]")
        (0.3, 1.0)
    """
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        raise UserError(f"{name} = {values}", "is not a range", "give two numbers") from None
    check_range(name, low, interval)
    check_range(name, high, interval)
    if low > high:
        raise UserError(f"{name} = {values}", "is not a range", "give the lower number first")
    return low, high


def _need(generator: torch.Generator | None) -> torch.Generator:
    if generator is None:
        raise ValueError("this transform is random: give it a torch.Generator")
    return generator


def _shape(clip: Tensor) -> Shape:
    check_clip(clip)
    channels, frames, height, width = clip.shape
    return channels, frames, height, width
