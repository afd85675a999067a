"""The encoders as other packages give them, with the same weights, and clips to run them on."""

import copy
import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.bench.common.peers import load
from cvrl.bench.common.timing import Goal, Report, Timing
from cvrl.models.backbones import STAGES, Encoder
from cvrl.utils.errors import UserError

PEER_OF = {
    "r3d50": "pytorchvideo",
    "slow_r50": "pytorchvideo",
    "r3d18": "torchvision",
    "r2plus1d18": "torchvision",
    "r3d_small": "torchvision",  # its blocks; there is no such network
}
LAST_NORMS = ("norm_c", "conv2.1")  # of a branch, pytorchvideo's and torchvision's names
SIDE = 1024  # of the matrices whose product is the machine's peak


@dataclass(frozen=True)
class OfEncoder:
    """What was found of one encoder."""

    timings: dict[str, Timing]
    goals: list[Goal]
    note: str


def report_on(
    subject: str, found: Sequence[OfEncoder], shape: tuple[int, int, int], absent: list[str]
) -> Report:
    """A report on several encoders.

    Args:
        subject: what was timed.
        found: of each encoder.
        shape: clips, frames and size in pixels of what they were given.
        absent: peers that are not installed.
    """
    clips, frames, size = shape
    return Report(
        subject,
        {name: timing for one in found for name, timing in one.timings.items()},
        [goal for one in found for goal in one.goals],
        {
            "clips": f"{clips} of {frames} frames, {size}x{size}",
            "type": "float32",
            "threads": torch.get_num_threads(),
        },
        absent,
        [one.note for one in found],
    )


def peer_network(encoder: Encoder) -> nn.Module:
    """A network of pytorchvideo or torchvision with an encoder's weights, and its feature (B, D).

    Args:
        encoder: one of those in ``PEER_OF``. ``r3d_small`` is taken as it is built, of
            torchvision's blocks in torch's own layout.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder, clips = build_encoder("r3d_small", width=2).eval(), torch.rand(1, 3, 8, 32, 32)
        >>> torch.equal(peer_network(encoder).eval()(clips), encoder(clips))
        True
    """
    name = encoder.spec["name"]
    builders: dict[str, Callable[[], nn.Module]] = {
        "r3d50": lambda: _pytorchvideo((5, 7, 7), (2, 2, 2)),
        "slow_r50": lambda: _pytorchvideo((1, 7, 7), (1, 2, 2)),
        "r3d18": lambda: _torchvision("r3d_18"),
        "r2plus1d18": lambda: _torchvision("r2plus1d_18"),
    }
    if name not in builders:
        return copy.deepcopy(encoder)
    network = builders[name]()
    parts = ("stem", *STAGES)
    theirs = [f"blocks.{place}" for place in range(5)]
    if PEER_OF[name] == "torchvision":
        theirs = ["stem", *(f"layer{place}" for place in range(1, 5))]
    for ours, other in zip(parts, theirs, strict=True):
        network.get_submodule(other).load_state_dict(encoder.get_submodule(ours).state_dict())
    return network.train(encoder.training)


def smooth_clips(count: int, frames: int, size: int) -> Tensor:
    """Clips (B, 3, T, H, W) in [0, 1] that differ from each other as videos do, and a little noise.

    Example:
        >>> smooth_clips(2, 4, 16).shape
        torch.Size([2, 3, 4, 16, 16])
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 3, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, size=(frames, size, size), mode="trilinear")
    return 0.8 * smooth + 0.2 * torch.rand(smooth.shape, generator=generator)


@torch.no_grad()
def settle(encoder: Encoder, clips_BCTHW: Tensor) -> Encoder:
    """Norms that know their inputs, and branches that refine what the shortcuts carry.

    A fresh network is a poor stand-in for a trained one: the norms of some pass their input on, and
    the branches of others are multiplied by 0.

    Args:
        encoder: changed in place; comes back in evaluation mode.
        clips_BCTHW: to measure the norms on.
    """
    for name, norm in encoder.named_modules():
        if isinstance(norm, nn.BatchNorm3d):
            nn.init.constant_(norm.weight, 0.2 if name.endswith(LAST_NORMS) else 1.0)
            norm.momentum = 1.0
    encoder.train()(clips_BCTHW)
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm3d):
            norm.momentum = 0.1
    return encoder.eval()


def gflops(network: nn.Module, clips_BCTHW: Tensor) -> float:
    """Floating-point operations of a forward pass in billions, two a multiplication, by fvcore."""
    counter: Any = load("fvcore.nn").FlopCountAnalysis(network, clips_BCTHW)
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counter.tracer_warnings("none")
    return 2 * float(counter.total()) / 1e9


def matrix_product() -> Callable[[], object]:
    """The product of two float32 matrices: as fast as this machine computes."""
    square = torch.rand(SIDE, SIDE)
    return functools.partial(torch.mm, square, square)


def share_of_peak(gflop: float, timing: Timing, product: Timing) -> float:
    """The speed of some work as a share of that of the matrix product.

    Args:
        gflop: billions of floating-point operations of the work.
        timing: of the work.
        product: of :func:`matrix_product`, in the same turns.

    Example:
        >>> slow, fast = (Timing(name, [1.0], [s]) for name, s in (("work", 2.0), ("mm", 1.0)))
        >>> round(share_of_peak(2 * SIDE**3 / 1e9, slow, fast), 6)
        0.5
    """
    return gflop / timing.median_cpu / (2e-9 * SIDE**3 / product.median_cpu)


def compiled(encoder: Encoder) -> Encoder:
    """The same encoder, under ``torch.compile``."""
    encoder.compile()
    return encoder


def check_names(encoders: Sequence[str]) -> None:
    """Refuse an encoder that is not known.

    Raises:
        UserError: the first such one.

    Example:
        >>> check_names(["r3d18", "r3d50"])
    """
    for name in encoders:
        if name not in PEER_OF:
            raise UserError(f"encoders = {name}", "is not an encoder", f"use {', '.join(PEER_OF)}")


class _Pooled(nn.Module):
    """A network's map, averaged over time and space."""

    def __init__(self, blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """The feature (B, D)."""
        x = clips_BCTHW
        for block in self.blocks.children():
            x = block(x)
        return x.mean(dim=(2, 3, 4))


def _pytorchvideo(kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = load("pytorchvideo.models.resnet")
    network = library.create_resnet(
        stem_conv_kernel_size=kernel,
        stem_conv_stride=stride,
        stem_pool=nn.MaxPool3d,
        stage_conv_a_kernel_size=((1, 1, 1), (1, 1, 1), (3, 1, 1), (3, 1, 1)),
        stage_spatial_h_stride=(1, 2, 2, 2),
        stage_spatial_w_stride=(1, 2, 2, 2),
        head=None,
    )
    return _Pooled(network.blocks)


def _torchvision(name: str) -> nn.Module:
    network: nn.Module = getattr(load("torchvision.models.video"), name)(weights=None)
    network.fc = nn.Identity()
    return network
