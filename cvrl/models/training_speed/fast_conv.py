"""The same training step in the forms that a CPU computes fastest.

In channels-last memory (B, T, H, W, C) a 3D convolution whose kernel spans one place is a matrix
product, and one that spans one pixel of several frames is a 2D convolution over a picture with a
row a frame; both are views, nothing is copied. Where a map has few places, gathering what each
place sees and multiplying once is faster too. Which form is taken follows from device, type and
shapes alone, never from a timing, so a run that is resumed computes what it would have computed.

Shapes: B clips, C channels, T frames, H rows, W columns.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.models.backbones import Encoder
from cvrl.models.inference.folded import ONEDNN
from cvrl.models.training_speed.fast_norm import FastBatchNorm3d

FEW_PLACES = 512
"""Of a map, all clips together: below, oneDNN's way back falls far behind a matrix product."""


class FastConv3d(nn.Conv3d):
    """An ``nn.Conv3d`` over the same parameters, with the same results up to rounding.

    Made by :func:`accelerate`. On other devices than a CPU, and under autocast, it is plain
    ``nn.Conv3d``.
    """

    @classmethod
    def of(cls, conv: nn.Conv3d) -> "FastConv3d":
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
        if input.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        steps = zip(input.shape[2:], self.kernel_size, self.stride, margins_of(self), strict=True)
        size = [(n + 2 * pad - k) // step + 1 for n, k, step, pad in steps]
        few = len(input) * min(size) > 0 and len(input) * math.prod(size) <= FEW_PLACES
        if self.kernel_size == self.stride == (1, 1, 1) and not any(margins_of(self)):
            return self._multiplied(input.permute(0, 2, 3, 4, 1))
        if few and self.in_channels >= FEW_PLACES:
            return self._multiplied(self._gathered(input, size))
        if self.kernel_size[1:] == self.stride[1:] == (1, 1) and margins_of(self)[1:] == (0, 0):
            return self._pixel_by_pixel(input)
        if input.dtype == torch.float32 and ONEDNN and not torch.compiler.is_compiling():
            # torch itself takes a loop several times slower for one clip on one thread
            where = (margins_of(self), self.stride, self.dilation)
            return torch.mkldnn_convolution(input, self.weight, self.bias, *where, 1)
        return super().forward(input)

    def _multiplied(self, seen: Tensor) -> Tensor:
        weight = self.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return F.linear(seen, weight, self.bias).permute(0, 4, 1, 2, 3)

    def _gathered(self, x: Tensor, size: list[int]) -> Tensor:
        where = (self.kernel_size, self.stride, margins_of(self), size)
        seen: Tensor = _Gather.apply(x.permute(0, 2, 3, 4, 1), *where)
        return seen

    def _pixel_by_pixel(self, x: Tensor) -> Tensor:
        stride, padding = (self.stride[0], 1), (margins_of(self)[0], 0)
        y = F.conv2d(x.flatten(3), self.weight.flatten(3), self.bias, stride, padding)
        return y.reshape(*y.shape[:3], *x.shape[3:])


class _Gather(torch.autograd.Function):
    """What each place of a convolution's result sees, frame, row and column, one after the other.

    By autograd's own rules the way back would fill as many maps with zeros as a kernel has cells.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_BTHWC: Tensor,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        size: Sequence[int],
    ) -> Tensor:
        """From (B, T, H, W, C) to (B, T', H', W', cells of the kernel times C)."""
        ctx.shape, ctx.padding = x_BTHWC.shape, padding
        ctx.places = list(_places(kernel, stride, size))
        t, h, w = padding
        padded = F.pad(x_BTHWC, (0, 0, w, w, h, h, t, t)) if any(padding) else x_BTHWC
        return torch.cat([padded[place] for place in ctx.places], dim=4)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Every cell's gradient, added where it looked."""
        B, T, H, W, C = ctx.shape
        t, h, w = ctx.padding
        padded = grad.new_zeros(B, T + 2 * t, H + 2 * h, W + 2 * w, C)
        for place, part in zip(ctx.places, torch.split(grad, C, dim=4), strict=True):
            padded[place] += part
        return padded[:, t : t + T, h : h + H, w : w + W], None, None, None, None


def _places(
    kernel: Sequence[int], stride: Sequence[int], size: Sequence[int]
) -> Iterator[tuple[slice, ...]]:
    """For each cell of a kernel, where it looks on (B, T, H, W, C) with its margins."""
    spans = [step * (count - 1) + 1 for count, step in zip(size, stride, strict=True)]
    for cell in product(*map(range, kernel)):
        rows = [slice(b, b + n, step) for b, n, step in zip(cell, spans, stride, strict=True)]
        yield (slice(None), *rows)


def accelerate(encoder: Encoder) -> Encoder:
    """Give an encoder's convolutions and norms their fast form, and channels-last memory.

    Its ReLUs and sums write over their input. Parameters stay the objects they were, so an
    optimiser that holds them still does; names in the state dict stay too, and features and
    gradients agree to 1e-4 of their size.

    Args:
        encoder: changed in place.

    Returns:
        The encoder itself.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = accelerate(build_encoder("r3d_small", width=2))
        >>> type(encoder.stem[0]).__name__
        'FastConv3d'
    """
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d) and is_plain(child):
                setattr(parent, name, FastConv3d.of(child))
            elif type(child) is nn.BatchNorm3d:
                setattr(parent, name, FastBatchNorm3d.of(child))
            elif isinstance(child, nn.ReLU):
                child.inplace = True
        if hasattr(parent, "branch_fusion"):  # of pytorchvideo's residual blocks
            setattr(parent, "branch_fusion", _add_to_branch)  # noqa: B010, it is not typed there
    return encoder.to(memory_format=torch.channels_last_3d)


def _add_to_branch(shortcut: Tensor, branch: Tensor) -> Tensor:
    return branch.add_(shortcut)  # comes out of a batch norm, which looks back at its input alone


def margins_of(conv: nn.Conv3d) -> tuple[int, ...]:
    """Frames, rows and columns of padding of a convolution that is plain."""
    assert not isinstance(conv.padding, str)  # else left alone by `accelerate`
    return conv.padding


def is_plain(conv: nn.Conv3d) -> bool:
    """Whether a convolution is ungrouped, undilated and padded with zeros, as torch computes it."""
    as_it_was = type(conv).forward is nn.Conv3d.forward  # torchvision's own classes among them
    zeros = not isinstance(conv.padding, str) and conv.padding_mode == "zeros"
    return as_it_was and zeros and conv.groups == 1 and set(conv.dilation) == {1}
