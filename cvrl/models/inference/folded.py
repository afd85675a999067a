"""An encoder for inference alone: norms folded into convolutions, ReLU and sums done on the way.

In evaluation mode batch norm is a scale and a shift a channel, which the convolution before it
takes over: ``w' = w γ / sqrt(var + eps)``, ``b' = β + (b - mean) γ / sqrt(var + eps)`` (Jacob et
al., arXiv 1712.05877, sec. 3.2), computed in float64. On a CPU one call of oneDNN then convolves,
adds the shortcut and clips at zero while the values are still in the cache.

Shapes: B clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from cvrl.models.backbones import STAGES, Encoder
from cvrl.models.training_speed.recompute import blocks_of

ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


AnyEncoder = TypeVar("AnyEncoder", bound=Encoder)


class Folded(NamedTuple):
    """A convolution with its norm inside, as plain numbers."""

    weight: Tensor
    bias: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]


class FrozenConv(nn.Module):
    """``relu(conv(x) + bias + shortcut)`` in one go, the ReLU and the shortcut where there are any.

    Args:
        folded: weight (C', C, t, h, w), bias (C'), stride and padding.
        relu: whether negative results become zero.
    """

    def __init__(self, folded: Folded, *, relu: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(folded.weight, requires_grad=False)
        self.bias = nn.Parameter(folded.bias, requires_grad=False)
        self.stride, self.padding = list(folded.stride), list(folded.padding)
        self.relu = relu
        self._packed: Tensor | None = None

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Convolve (B, C, T, H, W)."""
        if _fuses(x):
            return self._fused(x, shortcut)
        y = F.conv3d(x, self.weight, self.bias, self.stride, self.padding)
        y = y if shortcut is None else y + shortcut
        return F.relu(y) if self.relu else y

    def _fused(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        once = [1, 1, 1]
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, self.stride, once, 1, list(x.shape)
            )
        how: tuple[Any, ...] = (self.padding, self.stride, once, 1)
        act = "relu" if self.relu else "none"
        call = torch.ops.mkldnn._convolution_pointwise
        y: Tensor
        if shortcut is None:
            y = call(x, self._packed, self.bias, *how, act, [], None)
        else:
            add: tuple[Any, ...] = ("add", 1.0, act if self.relu else None, [], None)
            y = call.binary(x, shortcut, self._packed, self.bias, *how, *add)
        return y

    def _apply(self, fn: Any, recurse: bool = True) -> "FrozenConv":
        self._packed = None  # made of the weight as it was
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}  # which cannot be copied, and is made anew


class FrozenStem(nn.Module):
    """The convolutions before the first block, and the pooling behind them."""

    def __init__(self, convolutions: Sequence[nn.Module], pool: nn.Module) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*convolutions)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """From clips to the map that the first block takes."""
        y: Tensor = self.pool(self.convolutions(x))
        return y


class FrozenBlock(nn.Module):
    """A residual block: the last convolution adds what the shortcut makes of the input."""

    def __init__(self, convolutions: Sequence[nn.Module], shortcut: nn.Module) -> None:
        super().__init__()
        self.first = nn.Sequential(*convolutions[:-1])
        self.last = convolutions[-1]
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """From one map (B, C, T, H, W) to the next."""
        shortcut = self.shortcut(x)
        y: Tensor = self.last(self.first(x), shortcut)
        return y


def freeze(encoder: Encoder) -> Encoder:
    """A copy of an encoder that infers faster and cannot be trained.

    Args:
        encoder: left as it is.

    Returns:
        An encoder in evaluation mode whose features and stages agree with those of ``encoder`` in
        evaluation mode to 1e-5 of their size. Its projector, if any, is that of ``encoder``; its
        state dict has other keys.

    Raises:
        ValueError: a network that is not built of convolutions, batch norms and ReLUs.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder, clips = build_encoder("r3d_small", width=2).eval(), torch.rand(2, 3, 8, 32, 32)
        >>> torch.allclose(freeze(encoder)(clips), encoder(clips), atol=1e-5)
        True
    """
    pools = [m for m in encoder.stem.modules() if isinstance(m, nn.MaxPool3d)]
    stem = FrozenStem(
        [FrozenConv(conv, relu=True) for conv in _folded(encoder.stem)],
        pools[0] if pools else nn.Identity(),
    )
    stages = [
        nn.Sequential(*map(_frozen_block, blocks_of(getattr(encoder, name)))) for name in STAGES
    ]
    return remade(Encoder, encoder, stem, stages)


def remade(
    kind: type[AnyEncoder], original: Encoder, stem: nn.Module, stages: Sequence[nn.Module]
) -> AnyEncoder:
    """An encoder of other parts in place of another, with all that is kept beside that one."""
    made = kind(
        stem,
        stages,
        stage_dims=[original.stage_dims[name] for name in STAGES],
        strides=original.strides,
        spec=original.spec,
    ).eval()  # before the projector comes, which is still the original's
    made.projector, made.preprocess = original.projector, original.preprocess
    made.clip, made.size = original.clip, original.size
    return made


def _fuses(x: Tensor) -> bool:
    """Whether oneDNN's fused calls take it: they know no gradient and are no part of a graph."""
    plain = not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    learns = torch.is_grad_enabled() and x.requires_grad
    return ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 and plain and not learns


def _frozen_block(block: nn.Module) -> FrozenBlock:
    aside = [
        part for name, part in block.named_children() if name in ("downsample", *_PYTORCHVIDEO)
    ]
    main = [part for part in block.children() if not any(part is other for other in aside)]
    shortcut = [FrozenConv(one, relu=False) for one in _folded(nn.Sequential(*aside))]
    convolutions = [FrozenConv(one, relu=True) for one in _folded(nn.Sequential(*main))]
    if not convolutions:
        raise ValueError(f"{type(block).__name__} is no residual block")
    return FrozenBlock(convolutions, nn.Sequential(*shortcut))


_PYTORCHVIDEO = ("branch1_conv", "branch1_norm")


def _folded(module: nn.Module) -> Iterator[Folded]:
    """The convolutions of a chain, each with the norm that follows it."""
    known = (nn.Conv3d, _BatchNorm, nn.ReLU, nn.MaxPool3d, nn.Identity)
    leaves = [m for m in module.modules() if not list(m.children())]
    leaves = [m for m in leaves if not isinstance(m, nn.Sequential)]  # an empty one
    for place, leaf in enumerate(leaves):
        if not isinstance(leaf, known):
            raise ValueError(f"{type(leaf).__name__} cannot be folded into a convolution")
        after = leaves[place + 1] if place + 1 < len(leaves) else None
        if isinstance(leaf, _BatchNorm) and (place == 0 or not _takes(leaves[place - 1], leaf)):
            raise ValueError(f"a norm follows no convolution of {leaf.num_features} channels")
        if isinstance(leaf, nn.Conv3d):
            yield _fold(leaf, after if isinstance(after, _BatchNorm) else None)


def _takes(conv: nn.Module, norm: _BatchNorm) -> bool:
    return isinstance(conv, nn.Conv3d) and conv.out_channels == norm.num_features


@torch.no_grad()
def _fold(conv: nn.Conv3d, norm: _BatchNorm | None) -> Folded:
    if conv.groups != 1 or set(conv.dilation) != {1} or isinstance(conv.padding, str):
        raise ValueError(f"{conv} has groups, dilation or a padding in words")
    weight = conv.weight.double()
    bias_C = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    if norm is not None:
        assert norm.running_mean is not None and norm.running_var is not None
        scale_C = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * scale_C.view(-1, 1, 1, 1, 1)
        bias_C = norm.bias.double() + (bias_C - norm.running_mean.double()) * scale_C
    return Folded(
        weight.to(conv.weight.dtype).contiguous(memory_format=torch.channels_last_3d),
        bias_C.to(conv.weight.dtype),
        tuple(map(int, conv.stride)),
        tuple(map(int, conv.padding)),
    )
