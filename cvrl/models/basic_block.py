"""The residual block of R3D-18, without importing torchvision, which takes 1.6 s of processor time.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (arXiv
1711.11248). Modules and tensors are named as torchvision names them.

Shapes: N clips, C channels, T frames, H rows, W columns.
"""

from torch import Tensor, nn

Stride = tuple[int, int, int]


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions with batch norm, added to the input.

    Args:
        dim_in: channels of the input.
        dim_out: channels of the output.
        stride: of the first convolution, in time, height and width.
        downsample: maps the input to the output's shape; None: the input has it.

    Example:
        >>> import torch
        >>> BasicBlock(4, 4)(torch.zeros(1, 4, 2, 6, 6)).shape
        torch.Size([1, 4, 2, 6, 6])
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        stride: Stride = (1, 1, 1),
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            _conv(dim_in, dim_out, stride), nn.BatchNorm3d(dim_out), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(_conv(dim_out, dim_out), nn.BatchNorm3d(dim_out))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, dim_in, T, H, W) to (N, dim_out, T', H', W')."""
        y: Tensor = self.conv2(self.conv1(x))
        y += x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(y)
        return out


def _conv(dim_in: int, dim_out: int, stride: Stride = (1, 1, 1)) -> nn.Conv3d:
    return nn.Conv3d(dim_in, dim_out, 3, stride, padding=1, bias=False)
