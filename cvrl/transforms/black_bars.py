"""Black bars at the sides of a film: letterbox, pillarbox, the dark lines an old recorder leaves.

They say which way is up, and which tile is a corner, of every video that has them.

Shapes: V clips, C channels, T frames, H W pixels, L lines of pixels along a side.
"""

import torch
from torch import Tensor

FLAT = 8.0  # of 255: a bar's line spreads by less, over its length and all frames; codecs are noisy
DARK = 48.0  # of 255: its mean
SHARE = 4  # a bar is at most one part of so many of the side


def crop_black_bars(clips_VCTHW: Tensor) -> Tensor:
    """Frames without the dark flat bars at their sides, in all clips alike.

    Where there is a bar, one more line is cut off, in which bar and picture mix.

    Args:
        clips_VCTHW: uint8, of one video.

    Returns:
        A view of the clips, of the same size or smaller.

    Example:
        >>> clips = torch.randint(256, (2, 3, 8, 48, 64), dtype=torch.uint8)
        >>> clips[..., :6, :] = 16
        >>> crop_black_bars(clips).shape
        torch.Size([2, 3, 8, 41, 64])
    """
    top, bottom, left, right = black_bars(clips_VCTHW)
    H, W = clips_VCTHW.shape[-2:]
    return clips_VCTHW[..., top : H - bottom, left : W - right]


def black_bars(clips_VCTHW: Tensor) -> tuple[int, int, int, int]:
    """Lines to cut off at the top, bottom, left and right, see :func:`crop_black_bars`.

    Example:
        >>> clips = torch.randint(256, (2, 3, 8, 48, 64), dtype=torch.uint8)
        >>> clips[..., :6, :] = 16
        >>> black_bars(clips)
        (7, 0, 0, 0)
    """
    return (*_bars(clips_VCTHW, -2), *_bars(clips_VCTHW, -1))


def _bars(clips_VCTHW: Tensor, dim: int) -> tuple[int, int]:
    """Lines to cut off at the start and at the end of an axis."""
    most = clips_VCTHW.shape[dim] // SHARE
    found = []
    for first in (0, clips_VCTHW.shape[dim] - most):
        edge = clips_VCTHW.narrow(dim, first, most).float().movedim(dim, 0).flatten(1)
        spread_L, mean_L = torch.std_mean(edge, dim=1)
        is_bar_L = (spread_L < FLAT) & (mean_L < DARK)
        found.append(is_bar_L if first == 0 else is_bar_L.flip(0))
    widths = [int(is_bar_L.long().cumprod(0).sum()) for is_bar_L in found]
    return tuple(min(most, width + 1) if width else 0 for width in widths)  # type: ignore[return-value]
