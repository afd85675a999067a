"""An encoder for inference in 8-bit integers, for CPUs that multiply those faster (VNNI, AMX).

Weights are signed and symmetric with a scale a channel, maps unsigned with one scale and zero
point a layer (Jacob et al., arXiv 1712.05877, sec. 2; Krishnamoorthi, arXiv 1806.08342, sec. 3).
Scales of maps come from a few clips. Sums inside a convolution are exact, in 32 bits; the shortcut
is added to them before they are rounded. Behind a ReLU the zero point is 0, so that what does not
fit below is the ReLU's.

Shapes: B clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.models.backbones import STAGES, Encoder
from cvrl.models.inference.folded import FrozenBlock, FrozenConv, FrozenStem, freeze, remade
from cvrl.utils.errors import UserError

LEVELS = 255
ONCE_3D, ONCE_2D = [1, 1, 1], [1, 1]


class Grid(NamedTuple):
    """What a byte q of a map stands for: ``scale * (q - zero)``."""

    scale: float
    zero: int

    @classmethod
    def over(cls, low: float, high: float) -> "Grid":
        """The grid that spans a range and holds 0.

        Example:
            >>> Grid.over(0.0, 51.0), Grid.over(-1.0, 4.1)
            (Grid(scale=0.2, zero=0), Grid(scale=0.02, zero=50))
        """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = round((high - low) / LEVELS or 1.0, 12)
        return cls(scale, round(-low / scale))

    def bytes_of(self, x: Tensor) -> Tensor:
        """The nearest bytes, in channels-last memory."""
        q = (x * (1 / self.scale)).add_(self.zero).round_().clamp_(0, LEVELS).to(torch.uint8)
        return q.contiguous(memory_format=torch.channels_last_3d)

    def floats_of(self, q: Tensor) -> Tensor:
        """What the bytes stand for, in float32."""
        return q.float().sub_(self.zero).mul_(self.scale)


class Int8Conv(nn.Module):
    """``relu(conv(x) + bias + shortcut)`` of bytes.

    Args:
        conv: in floats.
        takes: the grid of its input.
        gives: the grid of its result; with a ReLU its zero point is 0.
        mean_C: of each channel of the input, by which rounded weights would shift the result; the
            bias takes that back (Nagel et al., arXiv 1906.04721, sec. 4.2).
        adds: the grid of the shortcut, where one is added.
    """

    weight: Tensor
    weight_scale: Tensor
    weight_zero: Tensor
    bias: Tensor

    def __init__(
        self,
        conv: FrozenConv,
        takes: Grid,
        gives: Grid,
        adds: Grid | None = None,
        *,
        mean_C: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.takes, self.gives, self.adds = takes, gives, adds
        self.stride, self.padding = conv.stride, conv.padding
        scale_C = conv.weight.abs().amax(dim=(1, 2, 3, 4)).clamp(min=1e-12) / 127
        scales = scale_C.view(-1, 1, 1, 1, 1)
        weight = (conv.weight / scales).round()
        bias = conv.bias.detach().clone()
        if mean_C is not None:
            bias -= (weight * scales - conv.weight).sum(dim=(2, 3, 4)) @ mean_C
        self.register_buffer("weight", weight.to(torch.int8).contiguous())
        self.register_buffer("weight_scale", scale_C)
        self.register_buffer("weight_zero", torch.zeros_like(scale_C, dtype=torch.int64))
        self.register_buffer("bias", bias)
        self._packed: Tensor | None = None

    def forward(self, q: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Convolve bytes (B, C, T, H, W); the shortcut's may be written over."""
        if shortcut is None:
            return self._alone(q)
        if (
            self.stride == [1, 1, 1]
            and self.weight.shape[3:] == (1, 1)
            and not any(self.padding[1:])
        ):
            return self._summed_by_pixel(q, shortcut)
        return self._summed_by_frame(q, shortcut)

    def _alone(self, q: Tensor) -> Tensor:
        where = (self.stride, self.padding, ONCE_3D, 1)
        packed = self._pack(self.weight, *where[:3], q)
        y: Tensor = torch.ops.onednn.qconv_pointwise(
            q, *self.takes, packed, self.weight_scale, self.weight_zero, self.bias,
            *where, *self.gives, torch.uint8, "none", [], None,
        )  # fmt: skip
        return y

    def _summed_by_pixel(self, q: Tensor, shortcut: Tensor) -> Tensor:
        """With one pixel a frame in its kernel it is a 2D convolution over a row a frame."""
        where = ([1, 1], [self.padding[0], 0])
        y = self._summed(q.flatten(3), self.weight[..., 0], shortcut.flatten(3), *where)
        return y.reshape(*y.shape[:3], *q.shape[3:])

    def _summed_by_frame(self, q: Tensor, shortcut: Tensor) -> Tensor:
        """As a 2D convolution over frames that hold the channels of all frames of a kernel."""
        q_BTHWC = F.pad(
            q.permute(0, 2, 3, 4, 1), (0, 0) * 3 + (self.padding[0],) * 2, value=self.takes.zero
        )
        span, frames = self.weight.shape[2], shortcut.shape[2]
        stack = [q_BTHWC[:, k :: self.stride[0]][:, :frames] for k in range(span)]
        stacked = torch.cat(stack, dim=4).flatten(0, 1).permute(0, 3, 1, 2)
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        added = shortcut.transpose(1, 2).flatten(0, 1)
        y = self._summed(stacked, weight, added, self.stride[1:], self.padding[1:])
        return y.reshape(len(q), frames, *y.shape[1:]).transpose(1, 2)

    def _summed(
        self, q: Tensor, weight: Tensor, shortcut: Tensor, stride: list[int], padding: list[int]
    ) -> Tensor:
        assert self.adds is not None
        packed = self._pack(weight, stride, padding, ONCE_2D, q)
        y: Tensor = torch.ops.onednn.qconv2d_pointwise.binary(
            q, *self.takes, packed, self.weight_scale, self.weight_zero, shortcut, self.bias,
            stride, padding, ONCE_2D, 1, *self.gives, torch.uint8,
            *self.adds, "sum", 1.0, "relu", [], None,
        )  # fmt: skip
        return y

    def _pack(
        self, weight: Tensor, stride: list[int], padding: list[int], dilation: list[int], q: Tensor
    ) -> Tensor:
        if self._packed is None:
            self._packed = torch.ops.onednn.qconv_prepack(
                weight.contiguous(), self.weight_scale, *self.takes,
                stride, padding, dilation, 1, list(q.shape),
            )  # fmt: skip
        return self._packed


class Int8Encoder(Encoder):
    """An encoder whose maps are bytes; :meth:`forward` and :meth:`stages` give floats as ever.

    Made by :func:`quantise`.
    """

    takes: Grid

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """The feature of each clip, (B, D), not normalised."""
        *_, (_, grid, q) = self._byte_maps(clips_BCTHW)
        return grid.floats_of(q).mean(dim=(2, 3, 4))

    def stages(self, clips_BCTHW: Tensor) -> dict[str, Tensor]:
        """See :meth:`Encoder.stages <cvrl.models.backbones.Encoder.stages>`."""
        maps = {name: grid.floats_of(q) for name, grid, q in self._byte_maps(clips_BCTHW)}
        return maps | {"pooled": maps[STAGES[-1]].mean(dim=(2, 3, 4))}

    def _byte_maps(self, clips_BCTHW: Tensor) -> Iterator[tuple[str, Grid, Tensor]]:
        self._check(clips_BCTHW)
        q = self.stem(self.takes.bytes_of(self.input(clips_BCTHW)))
        for name in STAGES:
            stage = getattr(self, name)
            q = stage(q)
            yield name, stage[-1].last.gives, q


class BytePool(nn.Module):
    """Max pooling of non-negative bytes over rows and columns, which torch does not have for 3D."""

    def __init__(self, pool: nn.MaxPool3d) -> None:
        super().__init__()
        triples = [
            (value,) * 3 if isinstance(value, int) else tuple(value)
            for value in (pool.kernel_size, pool.stride, pool.padding)
        ]
        if [triple[0] for triple in triples] != [1, 1, 0]:
            raise ValueError(f"{pool} spans several frames")
        self.sides = [tuple(map(int, side)) for side in zip(*triples, strict=True)][1:]

    def forward(self, q: Tensor) -> Tensor:
        """From (B, C, T, H, W) to the same with fewer rows and columns."""
        for dim, (span, step, margin) in zip((3, 4), self.sides, strict=True):
            pads = (0, 0) * (4 - dim) + (margin, margin)
            q = F.pad(q, pads)
            count = (q.shape[dim] - span) // step + 1
            slices = [q.narrow(dim, k, (count - 1) * step + 1) for k in range(span)]
            strided = [part[(slice(None),) * dim + (slice(None, None, step),)] for part in slices]
            q = strided[0]
            for part in strided[1:]:
                q = torch.maximum(q, part)
        return q


def quantise(encoder: Encoder, clips_BCTHW: Tensor) -> Int8Encoder:
    """A copy of an encoder that computes in 8-bit integers.

    Args:
        encoder: on the CPU; left as it is.
        clips_BCTHW: preprocessed clips like those to come, a few dozen at best. Bytes span all
            that a map holds in them: what is cut off costs far more than coarser steps do.

    Returns:
        An encoder in evaluation mode whose features lie beside those of ``encoder`` with a cosine
        of 0.99 and more. Its projector, if any, is that of ``encoder``.

    Raises:
        UserError: no clips, or an encoder on another device.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder, clips = build_encoder("r3d_small").eval(), torch.rand(4, 3, 8, 32, 32)
        >>> near = F.cosine_similarity(quantise(encoder, clips)(clips), encoder(clips))
        >>> bool((near > 0.99).all())
        True
    """
    if next(encoder.parameters()).device.type != "cpu":
        raise UserError("precision int8", "needs a CPU", "use --device cpu, or fp32")
    if len(clips_BCTHW) == 0:
        raise UserError("precision int8", "there are no clips to measure ranges on", "use fp32")
    frozen = freeze(encoder)
    seen = _look(frozen, clips_BCTHW)
    takes = seen.grid("clips")
    stem, grid = _byte_stem(frozen.stem, takes, seen)
    stages = []
    for name in STAGES:
        blocks = []
        for block in getattr(frozen, name).children():
            byte_block, grid = _byte_block(block, grid, seen)
            blocks.append(byte_block)
        stages.append(nn.Sequential(*blocks))
    made = remade(Int8Encoder, encoder, stem, stages)
    made.takes = takes
    return made


class _Seen:
    """What the maps of a few clips looked like, in floats."""

    def __init__(self) -> None:
        self.ranges: dict[nn.Module | str, list[tuple[Tensor, Tensor]]] = {}
        self.means: dict[nn.Module, list[Tensor]] = {}

    def note(self, key: nn.Module | str, values: Tensor) -> None:
        """Take in one clip's result of a convolution, or the clip."""
        self.ranges.setdefault(key, []).append(torch.aminmax(values))

    def hook(self, conv: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
        """Take in what a convolution was given and what it made of that."""
        self.note(conv, result)
        self.means.setdefault(conv, []).append(inputs[0].mean(dim=(0, 2, 3, 4)))

    def grid(self, key: nn.Module | str) -> Grid:
        """The grid over the range of all clips."""
        lows, highs = zip(*self.ranges[key], strict=True)
        return Grid.over(float(torch.stack(lows).min()), float(torch.stack(highs).max()))

    def conv(self, conv: nn.Module, takes: Grid, adds: Grid | None = None) -> Int8Conv:
        """A convolution in bytes."""
        assert isinstance(conv, FrozenConv)
        mean_C = torch.stack(self.means[conv]).mean(dim=0)
        return Int8Conv(conv, takes, self.grid(conv), adds, mean_C=mean_C)


@torch.inference_mode()
def _look(frozen: Encoder, clips_BCTHW: Tensor) -> _Seen:
    seen = _Seen()
    convolutions = [module for module in frozen.modules() if isinstance(module, FrozenConv)]
    hooks = [conv.register_forward_hook(seen.hook) for conv in convolutions]
    for clip_CTHW in clips_BCTHW:
        seen.note("clips", frozen.input(clip_CTHW[None]))
        frozen(clip_CTHW[None])
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def _byte_stem(stem: nn.Module, grid: Grid, seen: _Seen) -> tuple[nn.Module, Grid]:
    assert isinstance(stem, FrozenStem)
    convolutions = []
    for conv in stem.convolutions.children():
        convolutions.append(seen.conv(conv, grid))
        grid = convolutions[-1].gives
    pool = BytePool(stem.pool) if isinstance(stem.pool, nn.MaxPool3d) else nn.Identity()
    return FrozenStem(convolutions, pool), grid


@torch.no_grad()
def _byte_block(block: nn.Module, takes: Grid, seen: _Seen) -> tuple[nn.Module, Grid]:
    assert isinstance(block, FrozenBlock)
    shortcut = [seen.conv(conv, takes) for conv in block.shortcut.children()]
    adds = shortcut[0].gives if shortcut else takes
    grid, convolutions = takes, []
    for conv in (*block.first.children(), block.last):
        convolutions.append(seen.conv(conv, grid, adds if conv is block.last else None))
        grid = convolutions[-1].gives
    return FrozenBlock(convolutions, nn.Sequential(*shortcut)), grid
