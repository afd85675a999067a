"""Hand-made features of clips: histograms of gradients, of optical flow, and of motion boundaries.

Papers: HOG, Dalal and Triggs (CVPR 2005); motion boundary histograms (MBH), Dalal, Triggs and
Schmid (ECCV 2006); both with histograms of flow (HOF) along a video, Wang et al. (IJCV 2013).
Optical flow is Farnebäck's (SCIA 2003), from OpenCV.

Deviations: cells lie on a pyramid of 1x1, 2x2 and 3x3 over the frame, averaged over the frames of a
clip, in place of dense trajectories; there is no codebook.

These features need no training and no labels, so they are the score that a learned encoder must
beat on the same clips.

Shapes: N clips, T frames, H rows, W columns, Q = 4 quantities (HOG, HOF, MBH of x and of y), B bins
of the orientation, D = 14 * Q * B dimensions.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BINS = 8
GRIDS = (1, 2, 3)
CELLS = 6  # a side: every grid is made of these
LEVELS = 255.0
Floats = NDArray[np.float32]


class HogMbh(nn.Module):
    """Hand-made features of each clip, in the place of an encoder. It has no weights.

    Args:
        mirrored: add the feature of the mirrored clip, so that left and right do not count.

    Attributes:
        dim: D.

    Example:
        >>> clips = torch.rand(2, 3, 4, 48, 48)
        >>> HogMbh()(clips).shape
        torch.Size([2, 448])
    """

    dim = sum(grid**2 for grid in GRIDS) * 4 * BINS

    def __init__(self, *, mirrored: bool = False) -> None:
        super().__init__()
        self.mirrored = mirrored

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        """Features (N, D) of clips, which may be normalised: their range is stretched first.

        Args:
            clips_NCTHW: floats, RGB. Of one frame, flow and motion boundaries are zero.
        """
        clips = clips_NCTHW.detach().cpu()
        features = np.stack([_clip_feature(clip_CTHW) for clip_CTHW in clips])
        if self.mirrored:
            features += np.stack([_clip_feature(clip_CTHW.flip(-1)) for clip_CTHW in clips])
        return torch.from_numpy(features).to(clips_NCTHW.device)


def _clip_feature(clip_CTHW: Tensor) -> Floats:
    """The feature of one clip, (D,)."""
    import cv2

    grey_THW = clip_CTHW.float().mean(dim=0).numpy()
    low, high = float(grey_THW.min()), float(grey_THW.max())
    grey_THW = (grey_THW - low) * (LEVELS / max(high - low, 1e-6))
    bytes_THW = grey_THW.round().astype(np.uint8)
    settings: dict[str, Any] = {"pyr_scale": 0.5, "levels": 2, "winsize": 9, "iterations": 2}
    settings |= {"poly_n": 5, "poly_sigma": 1.1, "flags": 0}
    total = np.zeros((4, CELLS, CELLS, BINS), np.float32)
    pairs = max(len(grey_THW) - 1, 1)
    for t in range(pairs):
        total[0] += _histogram(*_gradient(grey_THW[t]))
        if len(grey_THW) == 1:
            break
        start: Any = None  # no first guess of the flow
        flow_HW2 = cv2.calcOpticalFlowFarneback(bytes_THW[t], bytes_THW[t + 1], start, **settings)
        u_HW, v_HW = flow_HW2[..., 0], flow_HW2[..., 1]
        total[1] += _histogram(u_HW, v_HW)
        total[2] += _histogram(*_gradient(u_HW))
        total[3] += _histogram(*_gradient(v_HW))
    return _pyramid(total / np.float32(pairs))


def _gradient(image_HW: Floats) -> tuple[Floats, Floats]:
    """Central differences along columns and along rows."""
    along_rows: Floats
    along_columns: Floats
    along_rows, along_columns = np.gradient(image_HW)  # type: ignore[assignment]
    return along_columns, along_rows


def _histogram(x_HW: Floats, y_HW: Floats) -> Floats:
    """Orientations of vectors, weighted by length, in each cell: (CELLS, CELLS, BINS).

    A vector is shared between the two nearest bins.
    """
    H, W = x_HW.shape
    length = np.hypot(x_HW, y_HW).ravel()
    angle = np.mod(np.arctan2(y_HW, x_HW) / (2 * np.pi) * BINS, BINS).ravel()
    lower = np.floor(angle).astype(np.int64)
    upper_share = angle - lower
    row_H, column_W = np.arange(H) * CELLS // H, np.arange(W) * CELLS // W
    cell = (row_H[:, None] * CELLS + column_W).ravel() * BINS
    size = CELLS * CELLS * BINS
    counts = np.bincount(cell + lower % BINS, length * (1 - upper_share), size)
    counts += np.bincount(cell + (lower + 1) % BINS, length * upper_share, size)
    per_pixel: Floats = counts.reshape(CELLS, CELLS, BINS).astype(np.float32)
    return per_pixel * np.float32(CELLS * CELLS / (H * W))


def _pyramid(total_QYXB: Floats) -> Floats:
    """Cells joined into each grid; each grid and quantity of unit length, then square roots."""
    parts = []
    for grid in GRIDS:
        side = CELLS // grid
        cells = total_QYXB.reshape(4, grid, side, grid, side, BINS).mean(axis=(2, 4))
        norm = np.sqrt((cells**2).sum(axis=(1, 2, 3), keepdims=True)) + 1e-6
        parts.append(np.sqrt(cells / norm).ravel())
    return np.concatenate(parts).astype(np.float32)
