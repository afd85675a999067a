"""Transforms of colour: jitter, grey, solarise, normalise. They return float32.

Shapes: C channels, T frames, H W pixels. A clip in (C, T, H, W) is also one tall image (C, T*H, W),
without a copy; that is how one contrast mean comes to serve all frames, as in CVRL.

Formulas of ours stand where torchvision has another definition or is slow: its hue takes 8 times
as long. On a CPU :mod:`cvrl.transforms.kernels` computes most of them, with the same bits. A choice
between two values is made by arithmetic with a 0/1 mask, since ``torch.where`` costs ten such steps
on a CPU; a product with 0 or 1 is exact.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from cvrl.transforms.kernels import BRIGHTNESS, CONTRAST, HUE, SATURATION, SOLARIZE, Change
from cvrl.transforms.op import Op, Shape, Step, run_steps, uniform
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError

Model = Literal["tensorflow", "torchvision"]
_TINY = 1e-12  # instead of 0 in a denominator whose numerator is 0 too


class Jitter(NamedTuple):
    """What :class:`ColorJitter` draws: factors (1 changes nothing), turns of hue, and the order."""

    order: tuple[int, ...]
    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass(frozen=True)
class ColorJitter(Op[Jitter]):
    """Change brightness, contrast, saturation and hue, in an order drawn anew; clamp after each.

    A factor is drawn from [max(0, 1 - strength), 1 + strength], the turn of hue from
    [-strength, strength], once a clip. Chen et al., A Simple Framework for Contrastive Learning of
    Visual Representations, arXiv 2002.05709, appendix A.

    Args:
        brightness: strength; every value is multiplied by the factor.
        contrast: strength; distances from the clip's mean are multiplied by the factor.
        saturation: strength.
        hue: strength, in turns of the colour circle, at most 0.5.
        model: ``tensorflow`` (so CVRL): contrast about each channel's own mean, and saturation that
            of HSV, with the largest channel kept. ``torchvision`` (so SlowFast): contrast about the
            mean luma, and saturation a blend with luma.

    Example:
        >>> clip_CTHW = torch.full((3, 4, 8, 8), 0.5)
        >>> jitter = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        >>> jittered = jitter(clip_CTHW, torch.Generator().manual_seed(0))
        >>> bool((jittered[:, 0] == jittered[:, 3]).all())
        True
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    model: Model = "tensorflow"

    in_float: ClassVar[bool] = True
    framewise: ClassVar[bool] = True
    rgb: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("brightness", "contrast", "saturation"):
            check_range(f"ColorJitter.{name}", getattr(self, name), "[0, inf)")
        check_range("ColorJitter.hue", self.hue, "[0, 0.5]")
        if self.model not in ("tensorflow", "torchvision"):
            raise UserError(
                f"model = {self.model}", "is not known", "give tensorflow or torchvision"
            )

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> Jitter:
        strengths = (self.brightness, self.contrast, self.saturation)
        order = tuple(torch.randperm(4, generator=generator).tolist())
        brightness, contrast, saturation = (
            uniform(generator, max(0.0, 1 - strength), 1 + strength) for strength in strengths
        )
        hue = uniform(generator, -self.hue, self.hue)
        return Jitter(order, brightness, contrast, saturation, hue)

    def _steps(self, params: Jitter) -> list[Step]:
        brightness, contrast, saturation = params.brightness, params.contrast, params.saturation
        luma = self.model == "torchvision"
        saturate = partial(scale_saturation, factor=saturation)
        saturate_as: Change | None = Change(SATURATION, saturation)
        if luma:
            saturate, saturate_as = partial(blend_saturation, factor=saturation), None
        steps = (
            Step(
                partial(adjust_brightness, factor=brightness),
                change=Change(BRIGHTNESS, brightness),
            ),
            Step(
                partial(_stretch, factor=contrast),
                needs=lambda clip: _mean(luma_of(clip) if luma else clip).mul_(1 - contrast),
                change=Change(CONTRAST, contrast),
            ),
            Step(saturate, change=saturate_as),
            Step(partial(adjust_hue, turn=params.hue), change=Change(HUE, 6 * params.hue)),
        )
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        return [steps[index] for index in params.order if strengths[index] > 0]

    def _apply(self, clip_CTHW: Tensor, params: Jitter) -> Tensor:
        return run_steps(clip_CTHW, self._steps(params))


@dataclass(frozen=True)
class Grayscale(Op[bool]):
    """Drop the colour: every channel becomes luma, 0.2989 R + 0.587 G + 0.114 B.

    Example:
        >>> Grayscale()(torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1, 1)).flatten()
        tensor([0.2989, 0.2989, 0.2989])
    """

    in_float: ClassVar[bool] = True
    framewise: ClassVar[bool] = True
    rgb: ClassVar[bool] = True

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> bool:
        return True

    def _apply(self, clip_CTHW: Tensor, params: bool) -> Tensor:
        return luma_of(clip_CTHW).expand_as(clip_CTHW).contiguous()


@dataclass(frozen=True)
class Solarize(Op[bool]):
    """Invert every value at or above a threshold.

    Args:
        threshold: in [0, 1].

    Example:
        >>> Solarize(threshold=0.5)(torch.tensor([0.25, 0.5, 1.0]).reshape(3, 1, 1, 1)).flatten()
        tensor([0.2500, 0.5000, 0.0000])
    """

    threshold: float = 0.5

    in_float: ClassVar[bool] = True
    framewise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("Solarize.threshold", self.threshold, "[0, 1]")

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> bool:
        return True

    def _steps(self, params: bool) -> list[Step]:
        invert = partial(self._apply, params=params)
        return [Step(invert, change=Change(SOLARIZE, self.threshold))]

    def _apply(self, clip_CTHW: Tensor, params: bool) -> Tensor:
        above = clip_CTHW.clone().ge_(self.threshold)
        return above.sub_(clip_CTHW).abs_()  # |1 - x| above, |0 - x| below


@dataclass(frozen=True)
class Normalize(Op[bool]):
    """Subtract a mean and divide by a standard deviation, channel by channel.

    The result is no longer in [0, 1], so this comes last.

    Args:
        mean: of each channel.
        std: of each channel.

    Example:
        >>> Normalize(mean=(0.5,), std=(0.25,))(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: tuple[float, ...] = (0.45, 0.45, 0.45)
    std: tuple[float, ...] = (0.225, 0.225, 0.225)

    in_float: ClassVar[bool] = True
    framewise: ClassVar[bool] = True

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> bool:
        return True

    def _apply(self, clip_CTHW: Tensor, params: bool) -> Tensor:
        channels = clip_CTHW.shape[0]
        if not channels == len(self.mean) == len(self.std):
            raise ValueError(f"{len(self.mean)} means, {len(self.std)} stds, {channels} channels")
        mean_C, std_C = (clip_CTHW.new_tensor(values) for values in (self.mean, self.std))
        tall_CN = clip_CTHW.reshape(channels, -1)
        return (tall_CN - mean_C[:, None]).div_(std_C[:, None]).reshape(clip_CTHW.shape)


def luma_of(clip_CTHW: Tensor) -> Tensor:
    """The luma of an RGB clip, (1, T, H, W).

    Example:
        >>> luma_of(torch.zeros(3, 2, 4, 4)).shape
        torch.Size([1, 2, 4, 4])
    """
    red, green, blue = clip_CTHW
    luma_THW: Tensor = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return luma_THW[None]


def adjust_brightness(clip_CTHW: Tensor, factor: float) -> Tensor:
    """Multiply all values and clamp.

    Example:
        >>> adjust_brightness(torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1), 2.0).flatten()
        tensor([0.5000, 1.0000])
    """
    return clip_CTHW.mul(factor).clamp_(0, 1)


def adjust_contrast(clip_CTHW: Tensor, factor: float) -> Tensor:
    """Scale each channel's distances from its mean over the whole clip, and clamp.

    Example:
        >>> adjust_contrast(torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1), 0.5).flatten()
        tensor([0.3750, 0.6250])
    """
    return _stretch(clip_CTHW, _mean(clip_CTHW).mul_(1 - factor), factor)


def adjust_contrast_luma(clip_CTHW: Tensor, factor: float) -> Tensor:
    """Scale all distances from the clip's mean luma, and clamp.

    Example:
        >>> adjust_contrast_luma(torch.ones(3, 1, 1, 1), 0.0).flatten()
        tensor([0.9999, 0.9999, 0.9999])
    """
    return _stretch(clip_CTHW, _mean(luma_of(clip_CTHW)).mul_(1 - factor), factor)


def scale_saturation(clip_CTHW: Tensor, factor: float) -> Tensor:
    """Multiply the saturation of HSV, at most to 1; the largest channel and the hue are kept.

    Example:
        >>> scale_saturation(torch.tensor([1.0, 0.5, 0.5]).reshape(3, 1, 1, 1), 9.0).flatten()
        tensor([1., 0., 0.])
    """
    value, low = clip_CTHW.amax(0), clip_CTHW.amin(0)
    # S = (value - low) / value, so S * factor <= 1 bounds the stretch by 1 / S
    stretch = (value / (value - low).clamp_(min=_TINY)).clamp_(max=factor)
    return (clip_CTHW - value).mul_(stretch).add_(value).clamp_(0, 1)


def blend_saturation(clip_CTHW: Tensor, factor: float) -> Tensor:
    """Blend with luma, or away from it for a factor above 1, and clamp.

    Example:
        >>> blend_saturation(torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1, 1), 0.0).flatten()
        tensor([0.2989, 0.2989, 0.2989])
    """
    return clip_CTHW.mul(factor).add_(luma_of(clip_CTHW).mul_(1 - factor)).clamp_(0, 1)


def adjust_hue(clip_CTHW: Tensor, turn: float) -> Tensor:
    """Turn the hue of HSV by a share of the colour circle; value and saturation are kept.

    Example:
        >>> adjust_hue(torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1, 1), 1 / 3).flatten()
        tensor([0., 1., 0.])
    """
    red, green, blue = clip_CTHW.unbind(0)
    value = torch.maximum(red, green).maximum(blue)
    low = torch.minimum(red, green).minimum(blue)
    chroma = value - low
    # Which channel is the largest (the first wins) gives the start of the sextant and the way.
    is_red = torch.eq(red, value, out=torch.empty_like(red))
    not_red = 1 - is_red
    is_green = torch.eq(green, value, out=value).mul_(not_red)
    is_blue = not_red.sub_(is_green)
    way = (green - blue).mul_(is_red)
    way.addcmul_(blue - red, is_green).addcmul_(red - green, is_blue)
    start = is_green.mul_(2).add_(is_blue, alpha=4).add_(6 * turn)
    hue = way.div_(chroma.clamp(min=_TINY)).add_(start)
    hue.sub_((hue / 6).floor_(), alpha=6)
    # Each channel is high within one sextant of its own hue (0, 2, 4) and low beyond two.
    turned = torch.empty_like(clip_CTHW, memory_format=torch.contiguous_format)
    for share, opposite in zip(turned, (3, 2, 4), strict=True):
        torch.sub(hue, opposite, out=share).abs_()
    turned[0].sub_(1)
    turned[1:].neg_().add_(2)
    return turned.clamp_(0, 1).mul_(chroma).add_(low)


def _stretch(clip_CTHW: Tensor, constant: Tensor, factor: float) -> Tensor:
    return clip_CTHW.mul(factor).add_(constant).clamp_(0, 1)


def _mean(clip_CTHW: Tensor) -> Tensor:
    # Frame by frame: a sum over everything at once depends on how many threads share it.
    return clip_CTHW.mean(dim=(2, 3), keepdim=True).mean(dim=1, keepdim=True)
