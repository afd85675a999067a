"""A light decoder from the last feature map of an encoder back to the pixels of its clip.

Shapes: N clips, D channels of the map, C = 3 colours, T frames, H W pixels.
"""

from torch import Tensor, nn

PATCH = 8  # pixels at most of a side that the last layer paints at once


class MapDecoder(nn.Module):
    """Spread every cell of a map over the frames and pixels that it stands for.

    A transposed convolution restores the frames and an eighth of the pixels' resolution, one
    3x3x3 convolution joins neighbours, and a linear layer paints 8x8 pixels from each place. There
    are no connections past the map, so all that is painted comes out of it.

    Args:
        dim: D.
        strides: frames, rows and columns that a cell stands for, as ``Encoder.strides``.
        width: channels in between.

    Example:
        >>> import torch
        >>> MapDecoder(64, (8, 32, 32))(torch.rand(2, 64, 1, 2, 2), (8, 48, 48)).shape
        torch.Size([2, 3, 8, 48, 48])
    """

    def __init__(self, dim: int, strides: tuple[int, int, int], *, width: int = 32) -> None:
        super().__init__()
        spread = (strides[0], max(1, strides[1] // PATCH), max(1, strides[2] // PATCH))
        self.patch = (strides[1] // spread[1], strides[2] // spread[2])
        self.layers = nn.Sequential(
            nn.ConvTranspose3d(dim, width, spread, spread, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, 3 * self.patch[0] * self.patch[1], 1),
        )

    def forward(self, map_NDTHW: Tensor, size_THW: tuple[int, int, int]) -> Tensor:
        """Pixels (N, 3, T, H, W) of clips of that size; what a map covers beyond it is cut off."""
        x: Tensor = self.layers(map_NDTHW)
        N, _, T, H, W = x.shape
        h, w = self.patch
        x = x.view(N, 3, h, w, T, H, W).permute(0, 1, 4, 5, 2, 6, 3)
        frames, rows, columns = size_THW
        return x.reshape(N, 3, T, H * h, W * w)[:, :, :frames, :rows, :columns]
