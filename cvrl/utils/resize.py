"""Resizing frames as torchvision does, without importing it.

``import torchvision`` imports ``torch._dynamo`` and takes 1.6 s of processor time. The values are
torchvision's, see tests/utils/test_resize.py.

Shapes: N frames, C channels, H rows, W columns.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def resize(frames_NCHW: Tensor, height: int, width: int, *, antialias: bool = True) -> Tensor:
    """Resize frames, bilinear, pixel centres aligned at halves.

    Args:
        frames_NCHW: uint8 in [0, 255], or float of any range.
        height: rows of the result.
        width: columns of the result.
        antialias: widen the filter where frames get smaller.

    Returns:
        Frames (N, C, height, width) of the same dtype; uint8 values are rounded.

    Example:
        >>> resize(torch.ones(2, 3, 4, 4), 2, 6).shape
        torch.Size([2, 3, 2, 6])
    """
    if frames_NCHW.shape[2:] == (height, width):
        return frames_NCHW
    in_bytes = frames_NCHW.dtype == torch.uint8 and frames_NCHW.device.type == "cpu"
    given = frames_NCHW if in_bytes or frames_NCHW.is_floating_point() else frames_NCHW.float()
    resized = F.interpolate(
        given, (height, width), mode="bilinear", align_corners=False, antialias=antialias
    )
    return resized if resized.dtype == frames_NCHW.dtype else resized.round().to(frames_NCHW.dtype)


def resize_short_side(frames_NCHW: Tensor, short_side: int) -> Tensor:
    """Resize frames so that the shorter side is ``short_side``, keeping their aspect ratio.

    The longer side is rounded down, as torchvision does.

    Example:
        >>> resize_short_side(torch.ones(2, 3, 30, 40), 15).shape
        torch.Size([2, 3, 15, 20])
    """
    height, width = frames_NCHW.shape[2:]
    if height <= width:
        return resize(frames_NCHW, short_side, int(short_side * width / height))
    return resize(frames_NCHW, int(short_side * height / width), short_side)
