"""Colour and blur for a CPU, as loops over pixels that are compiled when they are first called.

Tensor operations pass over memory once for each plus and minus. Here a few rows of pixels go
through all that a recipe does to their colour while they lie in the innermost cache. Formulas and
rounding are those of :mod:`cvrl.transforms.colour`, which serves other devices; a blur is the same
to a millionth.

Shapes: C channels, T frames, H W pixels, K changes, N pixels of a channel.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])

BRIGHTNESS, CONTRAST, SATURATION, HUE, SOLARIZE = range(5)
BLOCK = 2048  # pixels: three channels of them fill half of a small first cache
ZERO, ONE, TWO, THREE, FOUR, SIX = (np.float32(number) for number in (0, 1, 2, 3, 4, 6))
TINY = np.float32(1e-12)  # instead of 0 in a denominator whose numerator is 0 too


class Change(NamedTuple):
    """What happens to the colour of a pixel.

    Attributes:
        kind: ``BRIGHTNESS`` multiplies, ``CONTRAST`` multiplies and adds a constant of the clip,
            ``SATURATION`` multiplies that of HSV, ``HUE`` adds to it, in sixths of the circle,
            ``SOLARIZE`` inverts what is not below a threshold.
        amount: the factor, the sixths or the threshold.
    """

    kind: int
    amount: float


def serves(clip_CTHW: Tensor) -> bool:
    """Whether these loops can take a clip: float32 on a CPU, without gradient.

    Example:
        >>> serves(torch.zeros(3, 1, 2, 2)), serves(torch.zeros(3, 1, 2, 2, dtype=torch.uint8))
        (True, False)
    """
    plain = clip_CTHW.device.type == "cpu" and clip_CTHW.dtype == torch.float32
    return plain and not clip_CTHW.requires_grad


def change_colours(clip_CTHW: Tensor, changes: Sequence[tuple[Change, Tensor | None]]) -> Tensor:
    """Take every pixel of an RGB clip through some changes, one after the other.

    Args:
        clip_CTHW: one that :func:`serves` takes, in [0, 1]; it is not changed.
        changes: in order, those of ``CONTRAST`` with what is added: one value or one a channel.

    Returns:
        A new clip in [0, 1].

    Example:
        >>> grey = torch.full((3, 1, 1, 1), 0.25)
        >>> change_colours(grey, [(Change(BRIGHTNESS, 2.0), None)]).flatten()
        tensor([0.5000, 0.5000, 0.5000])
    """
    kinds = np.array([change.kind for change, _ in changes])
    amounts_K4 = np.zeros((len(changes), 4), dtype=np.float32)
    for row, (change, constant) in zip(amounts_K4, changes, strict=True):
        row[0] = change.amount
        if constant is not None:
            row[1:] = constant.flatten().numpy()
    changed = torch.empty(clip_CTHW.shape)
    channels: list[Floats] = [
        channel.flatten().numpy() for clip in (clip_CTHW, changed) for channel in clip
    ]
    _change_all(kinds, amounts_K4, *channels)
    return changed


def blur(clip_CTHW: Tensor, half: Sequence[float], *, replicate: bool) -> Tensor:
    """Filter each frame along its rows, then along its columns.

    Args:
        clip_CTHW: one that :func:`serves` takes; it is not changed.
        half: weights of the filter from its centre outwards.
        replicate: beyond the border lie its values again, instead of zeros.

    Example:
        >>> dot = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3)
        >>> blur(dot, [0.5, 0.25], replicate=True).flatten()
        tensor([0.2500, 0.5000, 0.2500])
    """
    height, width = clip_CTHW.shape[2:]
    blurred = torch.empty(clip_CTHW.shape)
    images, targets = (clip.reshape(-1, height, width).numpy() for clip in (clip_CTHW, blurred))
    _blur_all(images, targets, np.array(half, dtype=np.float32), replicate)
    return blurred


def _compiled(function: Function) -> Function:
    """Compile at the first call, and keep that on disk where there is a place to keep it."""
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither beside this file nor in the user's cache folder
        return cast(Function, numba.njit(nogil=True)(function))


@_compiled
def _unit(value: Any) -> Any:
    return min(max(value, ZERO), ONE)


@_compiled
def _brighten(red: Floats, green: Floats, blue: Floats, factor: Any) -> None:
    for i in range(len(red)):
        red[i] = _unit(red[i] * factor)
        green[i] = _unit(green[i] * factor)
        blue[i] = _unit(blue[i] * factor)


@_compiled
def _stretch(red: Floats, green: Floats, blue: Floats, amounts_4: Floats) -> None:
    factor, to_red, to_green, to_blue = amounts_4
    for i in range(len(red)):
        red[i] = _unit(red[i] * factor + to_red)
        green[i] = _unit(green[i] * factor + to_green)
        blue[i] = _unit(blue[i] * factor + to_blue)


@_compiled
def _saturate(red: Floats, green: Floats, blue: Floats, factor: Any) -> None:
    for i in range(len(red)):
        r, g, b = red[i], green[i], blue[i]
        value, low = max(r, max(g, b)), min(r, min(g, b))
        # S = (value - low) / value, so S * factor <= 1 bounds the stretch by 1 / S
        stretch = min(value / max(value - low, TINY), factor)
        red[i] = _unit((r - value) * stretch + value)
        green[i] = _unit((g - value) * stretch + value)
        blue[i] = _unit((b - value) * stretch + value)


@_compiled
def _turn(red: Floats, green: Floats, blue: Floats, sixths: Any) -> None:
    for i in range(len(red)):
        r, g, b = red[i], green[i], blue[i]
        value, low = max(r, max(g, b)), min(r, min(g, b))
        chroma = value - low
        # Which channel is the largest (the first wins) gives the start of the sextant and the way.
        if r == value:
            way, start = g - b, ZERO
        elif g == value:
            way, start = b - r, TWO
        else:
            way, start = r - g, FOUR
        hue = way / max(chroma, TINY) + (start + sixths)
        hue -= SIX * np.floor(hue / SIX)
        # Each channel is high within one sextant of its own hue (0, 2, 4) and low beyond two.
        red[i] = _unit(abs(hue - THREE) - ONE) * chroma + low
        green[i] = _unit(TWO - abs(hue - TWO)) * chroma + low
        blue[i] = _unit(TWO - abs(hue - FOUR)) * chroma + low


@_compiled
def _solarize(red: Floats, green: Floats, blue: Floats, threshold: Any) -> None:
    for i in range(len(red)):
        red[i] = red[i] if red[i] < threshold else ONE - red[i]
        green[i] = green[i] if green[i] < threshold else ONE - green[i]
        blue[i] = blue[i] if blue[i] < threshold else ONE - blue[i]


@_compiled
def _change_all(
    kinds: NDArray[np.int64],
    amounts_K4: Floats,
    from_red: Floats,
    from_green: Floats,
    from_blue: Floats,
    to_red: Floats,
    to_green: Floats,
    to_blue: Floats,
) -> None:
    """From (N,) a channel to the same elsewhere."""
    for start in range(0, len(from_red), BLOCK):
        stop = min(start + BLOCK, len(from_red))
        red, green, blue = to_red[start:stop], to_green[start:stop], to_blue[start:stop]
        red[:], green[:] = from_red[start:stop], from_green[start:stop]
        blue[:] = from_blue[start:stop]
        for kind, amounts_4 in zip(kinds, amounts_K4):  # noqa: B905, numba knows no strict
            if kind == BRIGHTNESS:
                _brighten(red, green, blue, amounts_4[0])
            elif kind == CONTRAST:
                _stretch(red, green, blue, amounts_4)
            elif kind == SATURATION:
                _saturate(red, green, blue, amounts_4[0])
            elif kind == HUE:
                _turn(red, green, blue, amounts_4[0])
            else:
                _solarize(red, green, blue, amounts_4[0])


@_compiled
def _copy(source: Floats, target: Floats) -> None:
    for i in range(len(target)):  # a loop is faster than a slice here
        target[i] = source[i]


@_compiled
def _weigh(pixels: Floats, half: Floats, step: int, result: Floats) -> None:
    """Filter in steps through memory: from one pixel to the next, or from one row to the next."""
    margin = step * (len(half) - 1)
    inner = result[margin : len(result) - margin]
    middle, weight = pixels[margin : len(pixels) - margin], half[0]
    for i in range(len(inner)):
        inner[i] = weight * middle[i]
    for k in range(1, len(half)):
        before = pixels[margin - k * step :][: len(inner)]
        after = pixels[margin + k * step :][: len(inner)]
        weight = half[k]
        for i in range(len(inner)):
            inner[i] += weight * (before[i] + after[i])


@_compiled
def _blur_all(images: Floats, targets: Floats, half: Floats, replicate: bool) -> None:
    """From (C T, H, W) to the same elsewhere."""
    _, height, width = images.shape
    reach = len(half) - 1
    right, bottom = reach + width, reach + height
    framed = np.zeros((bottom + reach, right + reach), dtype=np.float32)
    along, both = np.zeros_like(framed), np.zeros_like(framed)
    for image, target in zip(images, targets):  # noqa: B905, numba knows no strict
        for row in range(height):
            line = framed[reach + row]
            _copy(image[row], line[reach:right])
            if replicate:
                line[:reach], line[right:] = image[row, 0], image[row, width - 1]
        if replicate:
            framed[:reach], framed[bottom:] = framed[reach], framed[bottom - 1]
        _weigh(framed.ravel(), half, 1, along.ravel())
        _weigh(along.ravel(), half, framed.shape[1], both.ravel())
        for row in range(height):
            _copy(both[reach + row, reach:right], target[row])
