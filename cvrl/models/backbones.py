"""Video encoders: 3D ResNets that turn clips into one feature vector each.

Every encoder is a stem and four residual stages, named ``stem`` and ``res2`` to ``res5`` whatever
library the blocks come from, so weights, feature extraction and reports treat all alike.

Shapes: B clips, C channels (RGB in [0, 1]), T frames, H rows, W columns, D dimensions.
"""

import difflib
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from cvrl.models.basic_block import BasicBlock
from cvrl.models.hf import TokenMap, build_token_map
from cvrl.models.initial_weights import draw_weights
from cvrl.models.inputs import channels_of, clip_input, replace_first_conv
from cvrl.models.training_speed.recompute import Maps, blocks_of, in_parts, recomputed
from cvrl.utils.errors import UserError

STAGES = ("res2", "res3", "res4", "res5")
CHANNELS = 3


class Encoder(nn.Module):
    """An input transform, a stem, four residual stages and a global average over time and space.

    Made by :func:`build_encoder`.

    Attributes:
        input: makes frames or their differences for the stem, see :mod:`cvrl.models.inputs`.
        dim: D, dimensions of the pooled feature.
        stage_dims: channels of each map that :meth:`stages` returns, ``pooled`` included.
        strides: how many frames, rows and columns of the clip one cell of ``res5`` steps over.
        clip_shape: frames, rows and columns of its clips where it takes no others, or None.
        spec: JSON-able keywords; ``build_encoder(**encoder.spec)`` makes the same architecture.
        projector: a projection head that was kept beside the encoder, or None.
        preprocess: the transform that its clips need, or None. Like ``projector``, ``clip`` and
            ``size`` it is filled in where a trained encoder is loaded, and not used here.
        clip: how its clips were sampled, or None.
        size: height and width of its clips in pixels, or None.
        recompute_blocks: while training, keep the activations of one block at a time and compute
            those of the others again for their gradient.
        clips_at_once: while training, the same for so many clips at a time; None for all at once.
            Batch statistics are those of the clips that go together.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        *,
        stage_dims: Sequence[int],
        strides: tuple[int, int, int],
        spec: dict[str, Any],
        clip_shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.input = clip_input(spec.get("input", "rgb"))
        self.stem = stem
        self.res2, self.res3, self.res4, self.res5 = stages
        self.dim = stage_dims[-1]
        self.stage_dims = {**dict(zip(STAGES, stage_dims, strict=True)), "pooled": self.dim}
        self.strides = strides
        self.clip_shape = clip_shape
        self.spec = spec
        self.projector: nn.Module | None = None
        self.preprocess: Callable[[Tensor], Tensor] | None = None
        self.clip: Any = None
        self.size: int | None = None
        self.recompute_blocks = False
        self.clips_at_once: int | None = None

    @property
    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters of each layer from the input up, for layer-wise learning rates."""
        if isinstance(self.stem, TokenMap):
            return self.stem.layers
        stages = [self.stem, self.res2, self.res3, self.res4, self.res5]
        return [list(stage.parameters()) for stage in stages]

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """The feature of each clip, (B, D), not normalised.

        Raises:
            ValueError: see :meth:`stages`.
        """
        self._check(clips_BCTHW)
        return self._some_at_once(lambda x: self._maps(x)["pooled"], clips_BCTHW)

    def stages(self, clips_BCTHW: Tensor) -> dict[str, Tensor]:
        """What every stage makes of the clips.

        Args:
            clips_BCTHW: floats in [0, 1], C = 3.

        Returns:
            ``res2`` to ``res5``: maps (B, stage_dims[name], T', H', W') after the stage's last
            ReLU; ``pooled``: the mean of ``res5`` over time and space, (B, D).

        Raises:
            UserError: (a ValueError) clips shorter or smaller than the network's strides.
            ValueError: not five dimensions, not three channels or not floats.

        Example:
            >>> import torch
            >>> maps = build_encoder("r3d_small").stages(torch.rand(2, 3, 8, 64, 64))
            >>> tuple(maps["res2"].shape), tuple(maps["pooled"].shape)
            ((2, 16, 8, 16, 16), (2, 128))
        """
        self._check(clips_BCTHW)
        return self._some_at_once(self._maps, clips_BCTHW)

    def _maps(self, clips_BCTHW: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = {}
        x = self._run(self.stem, self.input(clips_BCTHW))
        for name in STAGES:
            x = maps[name] = self._run(getattr(self, name), x)
        maps["pooled"] = x.mean(dim=(2, 3, 4))
        return maps

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        if not (self.recompute_blocks and self.training) or isinstance(stage, TokenMap):
            y: Tensor = stage(x)
            return y
        for block in [stage] if stage is self.stem else blocks_of(stage):
            x = recomputed(block, x, block)
        return x

    def _some_at_once(self, function: Callable[[Tensor], Maps], clips_BCTHW: Tensor) -> Maps:
        """Apply a function to the clips, where it is asked for to some of them at a time."""
        if self.clips_at_once is None or not self.training:
            return function(clips_BCTHW)
        return in_parts(function, clips_BCTHW, self, at_once=self.clips_at_once)

    def _check(self, clips: Tensor) -> None:
        shape, name = tuple(clips.shape), self.spec["name"]
        if clips.ndim != 5 or shape[1] != 3:
            raise ValueError(f"clips of shape {shape}: {name} takes (B, 3, T, H, W)")
        if not clips.is_floating_point():
            raise ValueError(f"clips of type {clips.dtype}: {name} takes floats in [0, 1]")
        if self.clip_shape is not None and shape[2:] != self.clip_shape:
            T, S, _ = self.clip_shape
            reason = f"do not suit {name}, which takes {T} frames of {S}x{S} pixels"
            raise UserError(f"clips of shape {shape}", reason, f"set clip.frames={T} clip.size={S}")
        if any(size < stride for size, stride in zip(shape[2:], self.strides, strict=True)):
            least_T, least_H, least_W = self.strides
            raise UserError(
                f"clips of shape {shape}",
                f"are shorter or smaller than the strides of {name}",
                f"give at least {least_T} frames of {least_H}x{least_W} pixels",
            )


def build_encoder(
    name: str, *, input: str = "rgb", init: str = "library", **keywords: Any
) -> Encoder:
    """Make an encoder, with fresh random weights but for ``hf``.

    Batch norm everywhere has momentum 0.1 and eps 1e-5.

    Args:
        name: one of

            * ``r3d50``: R3D-50 of CVRL (arXiv 2008.03800), 31.7 M parameters, D = 2048;
            * ``slow_r50``: the slow pathway of SlowFast (arXiv 1812.03982), 8x8, D = 2048;
            * ``r3d18``, ``r2plus1d18``: the 18-layer nets of arXiv 1711.11248, D = 512;
            * ``r3d_small``: ``r3d18`` with a quarter of its width and one block a stage, 0.9 M
              parameters, D = 128, for CPUs;
            * ``hf``: VideoMAE, V-JEPA 2, TimeSformer or ViViT of ``transformers``, with the weights
              of a stored model, see :mod:`cvrl.models.hf`.
        input: what the network is fed: ``rgb``, ``residual``, ``derivatives`` or ``alternating``,
            see :mod:`cvrl.models.inputs`; ``hf`` takes ``rgb``.
        init: ``library``, or ``cvrl`` as in CVRL's code: :mod:`cvrl.models.initial_weights`.
        keywords: of ``r3d_small``: ``width`` (channels of the stem; D is 8 times as much),
            ``blocks`` (residual blocks in each of the four stages), ``stem_kernel`` and
            ``stem_stride`` (time, height, width). ``hf``: :func:`cvrl.models.hf.build_token_map`.

    Raises:
        UserError: an unknown name or keyword, or a value that makes no network.

    Example:
        >>> import torch
        >>> encoder = build_encoder("r3d_small", width=8, blocks=(1, 1, 1, 1))
        >>> encoder(torch.rand(2, 3, 8, 48, 48)).shape, encoder.dim
        (torch.Size([2, 64]), 64)
    """
    builder = _builder(name, keywords)
    chosen = inspect.signature(builder).bind(**keywords)
    chosen.apply_defaults()
    parts = builder(**chosen.arguments)
    plain = {k: list(v) if isinstance(v, Sequence) else v for k, v in chosen.arguments.items()}
    if parts.clip_shape is not None and input != "rgb":
        raise UserError(f"clip.input = {input}", f"does not suit encoder {name}", "use rgb")
    spec = {"name": name, **(parts.spec or plain)}
    if init != "library":
        draw_weights(nn.ModuleList([parts.stem, *parts.stages]), init)
        spec["init"] = init
    if input != "rgb":  # specs of rgb encoders stay as they were before there was a choice
        spec["input"] = input
    if channels_of(input) != CHANNELS:
        replace_first_conv(parts.stem, channels_of(input))
    facts: dict[str, Any] = {"strides": parts.strides, "clip_shape": parts.clip_shape}
    return Encoder(parts.stem, parts.stages, stage_dims=parts.dims, spec=spec, **facts)


class _Parts(NamedTuple):
    """What a builder hands to :class:`Encoder`."""

    stem: nn.Module
    stages: Sequence[nn.Module]
    dims: Sequence[int]  # channels after each stage
    strides: tuple[int, int, int]
    clip_shape: tuple[int, int, int] | None = None
    spec: dict[str, Any] | None = None  # keywords of the same network; None for those given


def _r3d50() -> _Parts:
    return _bottleneck_resnet(blocks=(3, 4, 6, 3), stem_kernel=(5, 7, 7), stem_stride=(2, 2, 2))


def _slow_r50() -> _Parts:
    return _bottleneck_resnet(blocks=(3, 4, 6, 3), stem_kernel=(1, 7, 7), stem_stride=(1, 2, 2))


def _r3d_small(
    *,
    width: int = 16,
    blocks: Sequence[int] = (1, 1, 1, 1),
    stem_kernel: Sequence[int] = (3, 7, 7),
    stem_stride: Sequence[int] = (1, 2, 2),
    time_strides: Sequence[int] = (1, 2, 2, 2),
) -> _Parts:
    """R3D-18 made thin: its stem and its blocks, fewer channels, res2 at half the height and width.

    Every block sees three frames, which learns motion on little data and time where the bottleneck
    blocks of the 50-layer nets, one frame until res4, do not yet. Smaller ``time_strides`` of the
    four stages keep more time steps for what compares them.
    """
    if type(width) is not int or width < 1:
        raise UserError(f"encoder.width = {width!r}", "is no number of channels", "give 16 or so")
    _check_counts("blocks", blocks, example=[1, 1, 1, 1])
    _check_counts("stem_kernel", stem_kernel, example=[3, 7, 7], odd=True)
    _check_counts("stem_stride", stem_stride, example=[1, 2, 2])
    _check_counts("time_strides", time_strides, example=[1, 2, 2, 2])
    kernel, (T, H, W) = tuple(stem_kernel), stem_stride
    padding = tuple(size // 2 for size in kernel)
    stem = nn.Sequential(
        nn.Conv3d(3, width, kernel, (T, H, W), padding, bias=False),  # type: ignore[arg-type]
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )
    dims = [width * 2**stage for stage in range(len(STAGES))]
    shapes = zip([width, *dims[:-1]], dims, blocks, time_strides, strict=True)
    stages = [_basic_stage(a, b, depth, (stride, 2, 2)) for a, b, depth, stride in shapes]
    for module in nn.ModuleList([stem, *stages]).modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    strides = (T * math.prod(time_strides), H * 16, W * 16)
    return _Parts(stem, stages, dims, strides=strides)


def _basic_stage(
    dim_in: int, dim_out: int, depth: int, stride: tuple[int, int, int]
) -> nn.Sequential:
    shortcut = nn.Sequential(
        nn.Conv3d(dim_in, dim_out, 1, stride, bias=False), nn.BatchNorm3d(dim_out)
    )
    first = BasicBlock(dim_in, dim_out, stride, shortcut)
    rest = [BasicBlock(dim_out, dim_out) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


def _bottleneck_resnet(
    *,
    blocks: Sequence[int],
    stem_kernel: Sequence[int],
    stem_stride: Sequence[int],
) -> _Parts:
    """Bottleneck blocks (t,1,1) (1,3,3) (1,1,1), without temporal stride after the stem.

    pytorchvideo's ``create_resnet`` of other depths. Weights start as there: He et al., and 0 for
    the last norm of every block.
    """
    library = _pytorchvideo()
    width = 64
    stem = library.stem.create_res_basic_stem(
        in_channels=3,
        out_channels=width,
        conv_kernel_size=tuple(stem_kernel),
        conv_stride=tuple(stem_stride),
        conv_padding=tuple(size // 2 for size in stem_kernel),
        pool=nn.MaxPool3d,
    )
    dims = [4 * width * 2**stage for stage in range(len(STAGES))]
    stages = [
        _bottleneck_stage(dim_in, dim, depth, frames, stride)
        for dim_in, dim, depth, frames, stride in zip(
            [width, *dims[:-1]], dims, blocks, (1, 1, 3, 3), (1, 2, 2, 2), strict=True
        )
    ]
    library.weight_init.init_net_weights(nn.ModuleList([stem, *stages]))
    T, H, W = stem_stride
    return _Parts(stem, stages, dims, strides=(T, H * 16, W * 16))


def _bottleneck_stage(dim_in: int, dim_out: int, depth: int, frames: int, stride: int) -> nn.Module:
    resnet = _pytorchvideo().resnet
    stage: nn.Module = resnet.create_res_stage(
        depth=depth,
        dim_in=dim_in,
        dim_inner=dim_out // 4,
        dim_out=dim_out,
        bottleneck=resnet.create_bottleneck_block,
        conv_a_kernel_size=(frames, 1, 1),
        conv_a_stride=(1, 1, 1),
        conv_a_padding=(frames // 2, 0, 0),
        conv_b_stride=(1, stride, stride),
    )
    return stage


def _r3d18() -> _Parts:
    from torchvision.models.video import r3d_18

    return _torchvision_resnet(r3d_18(weights=None))


def _r2plus1d18() -> _Parts:
    from torchvision.models.video import r2plus1d_18

    return _torchvision_resnet(r2plus1d_18(weights=None))


def _torchvision_resnet(net: Any) -> _Parts:
    stages = [net.layer1, net.layer2, net.layer3, net.layer4]
    return _Parts(net.stem, stages, dims=(64, 128, 256, 512), strides=(8, 16, 16))


@functools.wraps(build_token_map)  # its keywords are those of the encoder
def _hf(**keywords: Any) -> _Parts:
    """The whole transformer is the stem; its map of tokens is that of every stage."""
    stem, spec = build_token_map(**keywords)
    dims = [stem.dim] * len(STAGES)
    return _Parts(stem, [nn.Identity() for _ in STAGES], dims, stem.strides, stem.clip_shape, spec)


def _pytorchvideo() -> Any:
    # Not at the top: it takes seconds, and torch warns of a decorator that it applies at import.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorchvideo.models
    return pytorchvideo.models


_BUILDERS: dict[str, Callable[..., _Parts]] = {
    "hf": _hf,
    "r2plus1d18": _r2plus1d18,
    "r3d18": _r3d18,
    "r3d50": _r3d50,
    "r3d_small": _r3d_small,
    "slow_r50": _slow_r50,
}


def _builder(name: str, keywords: Iterable[str]) -> Callable[..., _Parts]:
    if name not in _BUILDERS:
        raise UserError(f"encoder.name = {name}", "is not an encoder", _known(name, _BUILDERS))
    builder = _BUILDERS[name]
    parameters = inspect.signature(builder).parameters
    for key in keywords:
        if key not in parameters:
            raise UserError(
                f"encoder.{key}", f"{name} has no such keyword", _known(key, parameters)
            )
    return builder


def _check_counts(
    key: str, given: Sequence[int], *, example: Sequence[int], odd: bool = False
) -> None:
    values = list(given) if isinstance(given, Sequence) else []
    fits = all(type(value) is int and value >= 1 and (value % 2 or not odd) for value in values)
    if len(values) != len(example) or not fits:
        kind = "odd numbers" if odd else "whole numbers"
        reason = f"is not {len(example)} {kind} of at least 1"
        raise UserError(f"encoder.{key} = {given!r}", reason, f"give {example} or so")


def _known(given: str, names: Iterable[str]) -> str:
    known = sorted(names)
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"
