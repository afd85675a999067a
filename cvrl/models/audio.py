"""An audio encoder: a small 2D ResNet over log-mel spectrograms.

Shapes: N windows of sound, M mel bins, F frames of the spectrogram, D dimensions.
"""

from torch import Tensor, nn

BLOCKS = 4


class AudioEncoder(nn.Module):
    """A normalised spectrogram, a stem, four residual blocks and a global average.

    Args:
        width: channels of the stem; each further block doubles them.

    Attributes:
        dim: D = 8 width.

    Example:
        >>> import torch
        >>> AudioEncoder(width=8)(torch.rand(2, 64, 101)).shape
        torch.Size([2, 64])
    """

    def __init__(self, *, width: int = 16) -> None:
        super().__init__()
        self.dim = width * 2 ** (BLOCKS - 1)
        self.norm = nn.BatchNorm2d(1)  # decibels have any offset and scale
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        dims = [width * 2**block for block in range(BLOCKS)]
        self.blocks = nn.Sequential(
            *(_block(before, dim) for before, dim in zip([width, *dims[:-1]], dims, strict=True))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, sound_NMF: Tensor) -> Tensor:
        """The feature of each window, (N, D)."""
        map_NDMF: Tensor = self.blocks(self.stem(self.norm(sound_NMF[:, None])))
        return map_NDMF.mean(dim=(2, 3))


def _block(dim_in: int, dim_out: int) -> nn.Module:
    from torchvision.models.resnet import BasicBlock

    stride = 1 if dim_in == dim_out else 2
    shortcut = None
    if stride == 2:
        shortcut = nn.Sequential(
            nn.Conv2d(dim_in, dim_out, 1, stride, bias=False), nn.BatchNorm2d(dim_out)
        )
    block: nn.Module = BasicBlock(dim_in, dim_out, stride, shortcut)
    return block
