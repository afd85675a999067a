"""3D convolutions as 2D ones over views of channels-last memory, for GPUs.

cuDNN's 2D kernels for channels-last half precision are many and fast, its 3D kernels few. In
channels-last memory (B, T, H, W, C) a kernel that spans one frame is a 2D convolution over B T
pictures, and one that spans one pixel of several frames a 2D convolution over pictures of T rows
and H W columns. Both are views; nothing is copied. A stem's kernel, which spans frames and pixels
of three channels, is a 2D convolution over pictures whose channels are those of all its frames.

Shapes: B clips, C channels, T frames, H rows, W columns, K frames of a kernel.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.models.training_speed.fast_conv import is_plain, margins_of

FEW_CHANNELS = 16
"""Input channels up to which the frames of a kernel are stacked: a copy of K times the clip."""


class GpuConv3d(nn.Conv3d):
    """An ``nn.Conv3d`` over the same parameters, with the same results up to rounding.

    Example:
        >>> clips = torch.rand(2, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
        >>> conv = nn.Conv3d(8, 5, (3, 1, 1), padding=(1, 0, 0))
        >>> torch.allclose(GpuConv3d.of(conv)(clips), conv(clips), atol=1e-5)
        True
    """

    @classmethod
    def of(cls, conv: nn.Conv3d) -> "GpuConv3d":
        """The fast form of a convolution; it shares weight and bias with it."""
        kernel, stride, padding = (
            (int(t), int(h), int(w))  # pytorchvideo's strides are numpy's, which do not compile
            for t, h, w in (conv.kernel_size, conv.stride, margins_of(conv))
        )
        meta: Any = {"bias": False, "device": "meta"}
        fast = cls(conv.in_channels, conv.out_channels, kernel, stride, padding, **meta)
        fast.weight = conv.weight
        fast.bias = conv.bias
        return fast.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, T, H, W)."""
        (frames, *pixels), (step, *steps) = self.kernel_size, self.stride
        margin, *margins = margins_of(self)
        if frames == 1 and margin == 0:
            kept = input[:, :, ::step].contiguous(memory_format=torch.channels_last_3d)
            return self._over_frames(kept, self.weight[:, :, 0])
        if pixels == [1, 1] and steps == [1, 1] and margins == [0, 0]:
            return self._over_pixels(input)
        if self.in_channels <= FEW_CHANNELS:
            return self._over_frames(
                self._stacked(input), self.weight.transpose(1, 2).flatten(1, 2)
            )
        return super().forward(input)

    def _over_frames(self, x: Tensor, weight: Tensor) -> Tensor:
        pictures = x.transpose(1, 2).flatten(0, 1)
        y = F.conv2d(pictures, weight, self.bias, self.stride[1:], margins_of(self)[1:])
        return _clips(y, len(x))

    def _over_pixels(self, x: Tensor) -> Tensor:
        stride, padding = (self.stride[0], 1), (margins_of(self)[0], 0)
        y = F.conv2d(x.flatten(3), self.weight.flatten(3), self.bias, stride, padding)
        return y.reshape(*y.shape[:3], *x.shape[3:])

    def _stacked(self, x: Tensor) -> Tensor:
        """The K frames under each place of the result: (B, K C, T', H, W)."""
        frames, step, margin = self.kernel_size[0], self.stride[0], margins_of(self)[0]
        padded = F.pad(x, (0, 0, 0, 0, margin, margin))
        count = (x.shape[2] + 2 * margin - frames) // step + 1
        seen = [padded[:, :, k : k + step * (count - 1) + 1 : step] for k in range(frames)]
        return torch.cat(seen, dim=1).contiguous(memory_format=torch.channels_last_3d)


class GpuMaxPool3d(nn.MaxPool3d):
    """An ``nn.MaxPool3d`` over single frames as a 2D one, whose gradient is deterministic."""

    def forward(self, input: Tensor) -> Tensor:
        """The largest values of (B, C, T, H, W)."""
        y: Tensor = F.max_pool2d(
            input.transpose(1, 2).flatten(0, 1),
            _pair(self.kernel_size),
            _pair(self.stride),
            _pair(self.padding),
            ceil_mode=self.ceil_mode,
        )
        return _clips(y, len(input))


def accelerate_on_gpu(encoder: nn.Module) -> nn.Module:
    """Give an encoder's convolutions their form for GPUs, and channels-last memory.

    Parameters stay the objects they were, so an optimiser that holds them still does; names in the
    state dict stay too.

    Args:
        encoder: changed in place.

    Returns:
        The encoder itself.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> type(accelerate_on_gpu(build_encoder("r3d_small", width=2)).stem[0]).__name__
        'GpuConv3d'
    """
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d) and is_plain(child):
                setattr(parent, name, GpuConv3d.of(child))
            elif type(child) is nn.MaxPool3d and _is_over_frames(child):
                where = (child.kernel_size, child.stride, child.padding)
                setattr(parent, name, GpuMaxPool3d(*where, ceil_mode=child.ceil_mode))
    return encoder.to(memory_format=torch.channels_last_3d)


def _is_over_frames(pool: nn.MaxPool3d) -> bool:
    time = [_triple(value)[0] for value in (pool.kernel_size, pool.stride, pool.padding)]
    return time == [1, 1, 0] and _triple(pool.dilation) == (1, 1, 1) and not pool.return_indices


def _triple(value: int | tuple[int, int, int]) -> tuple[int, int, int]:
    return (value, value, value) if isinstance(value, int) else value


def _pair(value: int | tuple[int, int, int]) -> tuple[int, int]:
    return _triple(value)[1:]


def _clips(pictures: Tensor, count: int) -> Tensor:
    """Pictures (B T, C, H, W) as clips (B, C, T, H, W): a view."""
    return pictures.view(count, -1, *pictures.shape[1:]).transpose(1, 2)
