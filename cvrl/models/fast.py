"""The same convolutions and norms in the forms that a CPU computes fastest.

A 3D convolution whose kernel spans one frame is a 2D convolution over B·T pictures, or a matrix
product where it also spans one pixel; one that spans one pixel is a 2D convolution over a picture
with a row a frame. In channels-last memory (B, T, H, W, C) all of these are views: nothing is
copied. Which form is taken follows from device, type and kernel alone, never from a timing, so a
run that is resumed computes what it would have computed.

Shapes: B clips, C channels, T frames, H rows, W columns.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.models.backbones import Encoder

ONEDNN = torch.backends.mkldnn.is_available()


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
            for t, h, w in (conv.kernel_size, conv.stride, conv.padding)
        )
        fast = cls(
            conv.in_channels,
            conv.out_channels,
            kernel,
            stride,
            padding,
            bias=False,
            device="meta",
        )
        fast.weight = conv.weight
        fast.bias = conv.bias
        return fast.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, T, H, W)."""
        if input.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        if (self.kernel_size[0], self.stride[0], self.padding[0]) == (1, 1, 0):
            return self._frame_by_frame(input)
        if self.kernel_size[1:] == self.stride[1:] == (1, 1) and self.padding[1:] == (0, 0):
            return self._pixel_by_pixel(input)
        if input.dtype == torch.float32 and ONEDNN and not torch.compiler.is_compiling():
            # torch itself takes a loop several times slower for one clip on one thread
            settings = (self.padding, self.stride, self.dilation, 1)
            return torch.mkldnn_convolution(input, self.weight, self.bias, *settings)
        return super().forward(input)

    def _frame_by_frame(self, x: Tensor) -> Tensor:
        B, C, T, H, W = x.shape
        if self.kernel_size[1:] == (1, 1) and self.padding[1:] == (0, 0):
            x = x[..., :: self.stride[1], :: self.stride[2]]
            y_BTHWC = F.linear(x.permute(0, 2, 3, 4, 1), self.weight.flatten(1), self.bias)
            return y_BTHWC.permute(0, 4, 1, 2, 3)
        frames = x.transpose(1, 2).reshape(B * T, C, H, W)
        y = F.conv2d(frames, self.weight[:, :, 0], self.bias, self.stride[1:], self.padding[1:])  # type: ignore[arg-type]
        return y.unflatten(0, (B, T)).transpose(1, 2)

    def _pixel_by_pixel(self, x: Tensor) -> Tensor:
        stride, padding = (self.stride[0], 1), (self.padding[0], 0)
        y = F.conv2d(x.flatten(3), self.weight[..., 0], self.bias, stride, padding)  # type: ignore[arg-type]
        return y.unflatten(3, x.shape[3:])


def accelerate(encoder: Encoder) -> Encoder:
    """Give an encoder's convolutions their fast form, and its weights channels-last memory.

    Parameters stay the objects they were, so an optimiser that holds them still does; names in the
    state dict stay too, and features and gradients agree to 1e-4 of their size.

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
            if isinstance(child, nn.Conv3d) and _is_plain(child):
                setattr(parent, name, FastConv3d.of(child))
    return encoder.to(memory_format=torch.channels_last_3d)


def fold_batchnorm(encoder: Encoder) -> Encoder:
    """A copy for inference whose norms are part of the convolutions before them.

    In evaluation mode batch norm is a scale and a shift a channel, which the convolution's weight
    and bias take over: ``w' = w γ / sqrt(var + eps)``, ``b' = β + (b - mean) γ / sqrt(var + eps)``
    (Jacob et al., arXiv 1712.05877, sec. 3.2), computed in float64.

    Args:
        encoder: left as it is.

    Returns:
        A frozen encoder in evaluation mode. Its state dict has other keys, so it cannot be saved
        as a checkpoint of the first.

    Raises:
        ValueError: a norm that follows no convolution of its width.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = build_encoder("r3d_small", width=2).eval()
        >>> clips = torch.rand(2, 3, 8, 32, 32)
        >>> torch.allclose(fold_batchnorm(encoder)(clips), encoder(clips), atol=1e-5)
        True
    """
    folded = copy.deepcopy(encoder).requires_grad_(False).eval()
    before: nn.Module | None = None
    for parent, name, module in _leaves(folded):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if not isinstance(before, nn.Conv3d) or before.out_channels != module.num_features:
                raise ValueError(f"{name} follows no convolution of {module.num_features} channels")
            _fold(before, module)
            setattr(parent, name.rpartition(".")[2], nn.Identity())
        before = module
    return folded


def _leaves(module: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Parent, full name and module of every leaf, in the order in which blocks define them."""
    return [
        (module.get_submodule(name.rpartition(".")[0]), name, leaf)
        for name, leaf in module.named_modules()
        if not list(leaf.children())
    ]


@torch.no_grad()
def _fold(conv: nn.Conv3d, norm: nn.modules.batchnorm._BatchNorm) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    scale_C = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift_C = 0.0 if conv.bias is None else conv.bias.double()
    bias_C = norm.bias.double() + (shift_C - norm.running_mean.double()) * scale_C
    conv.weight.copy_(conv.weight.double() * scale_C.view(-1, 1, 1, 1, 1))
    conv.bias = nn.Parameter(bias_C.to(conv.weight.dtype), requires_grad=False)


def _is_plain(conv: nn.Conv3d) -> bool:
    as_it_was = type(conv).forward is nn.Conv3d.forward  # torchvision's own classes among them
    zeros = not isinstance(conv.padding, str) and conv.padding_mode == "zeros"
    return as_it_was and zeros and conv.groups == 1 and set(conv.dilation) == {1}
