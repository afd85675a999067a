"""A training step of each encoder on a device: forms, precisions, sizes, peers.

A step is forward, backward and an SGD step of the encoder alone, from random clips on the device.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cvrl.bench.common.networks import PEER_OF, gflops, peer_network
from cvrl.bench.gpu.clock import Measured, tf32, time_on
from cvrl.models.backbones import build_encoder
from cvrl.models.training_speed.gpu_conv import accelerate_on_gpu

logger = logging.getLogger("cvrl")

PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Cell:
    """What one form of one encoder was found to do.

    Attributes:
        encoder: by name.
        form: what was done to it, or the peer whose network it is.
        precision: fp32, tf32 or bf16.
        size: height and width of a clip.
        clips: of a step.
        measured: time and memory of a step.
        tflops: the step's arithmetic over its time, in TFLOP/s.
        share: the same as a share of the matrix product's in this precision.
    """

    encoder: str
    form: str
    precision: str
    size: int
    clips: int
    measured: Measured
    tflops: float
    share: float

    @property
    def clips_per_second(self) -> float:
        """Clips a second of training."""
        return self.clips / self.measured.seconds


Form = Callable[[nn.Module], nn.Module]


def plain(network: nn.Module) -> nn.Module:
    """The network as it comes."""
    return network


def channels_last(network: nn.Module) -> nn.Module:
    """The same network in channels-last memory."""
    return network.to(memory_format=torch.channels_last_3d)


def compiled(network: nn.Module, form: Form) -> nn.Module:
    """A form of the network under ``torch.compile``."""
    network = form(network)
    network.compile()
    return network


FORMS: dict[str, Form] = {
    "cvrl": plain,
    "cvrl channels_last": channels_last,
    "cvrl 2D forms": accelerate_on_gpu,
    "cvrl channels_last, compiled": partial(compiled, form=channels_last),
    "cvrl 2D forms, compiled": partial(compiled, form=accelerate_on_gpu),
    "cvrl 2D forms, CUDA graph": accelerate_on_gpu,
}
QUICK = ("cvrl", "cvrl channels_last", "cvrl 2D forms")


def cells_of(
    device: torch.device,
    name: str,
    *,
    size: int,
    clips: int,
    frames: int,
    precision: str,
    forms: Sequence[str],
    peak: float,
    peer: bool = True,
) -> list[Cell]:
    """Measure the forms of one encoder, and its peer's network as it comes.

    What does not fit into the device's memory is left out.

    Args:
        device: where.
        name: of the encoder.
        size: height and width of a clip.
        clips: of a step.
        frames: of a clip.
        precision: one of :data:`PRECISIONS`.
        forms: some of :data:`FORMS`.
        peak: from :func:`cvrl.bench.gpu.clock.matmul_peak`, in TFLOP/s.
        peer: also the network of pytorchvideo or torchvision, in torch's own layout.
    """
    x = torch.rand(clips, 3, frames, size, size, device=device)
    per_step = 3 * gflops_of(name, frames, size) * clips / 1e3
    found = []
    for form in [*forms, *([PEER_OF[name]] if peer else [])]:
        ours, encoder = form in FORMS, build_encoder(name)
        network = FORMS[form](encoder.to(device)) if ours else peer_network(encoder).to(device)
        try:
            with mode(device, precision, benchmark=ours):
                fused, graph = ours and device.type == "cuda", "graph" in form
                step = make_step(network.train(), x, fused=fused, graph=graph)
                measured = time_on(device, step, seconds=0.5)
        except torch.OutOfMemoryError:
            logger.warning("%s, %s at %d: the device's memory is too small", name, form, size)
            continue
        tflops = per_step / measured.seconds
        found.append(Cell(name, form, precision, size, clips, measured, tflops, tflops / peak))
    return found


@functools.cache
def gflops_of(name: str, frames: int, size: int) -> float:
    """Billions of floating-point operations of a clip's forward pass."""
    return gflops(build_encoder(name), torch.rand(1, 3, frames, size, size))


@contextmanager
def mode(device: torch.device, precision: str, *, benchmark: bool) -> Iterator[None]:
    """Precision of the block, and whether cuDNN may try its algorithms first."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = benchmark
    try:
        with (
            tf32(precision == "tf32"),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
        ):
            yield
    finally:
        torch.backends.cudnn.benchmark = before


def make_step(
    network: nn.Module, x: Tensor, *, fused: bool = False, graph: bool = False
) -> Callable[[], Any]:
    """A step on the same clips each time: forward, backward, SGD.

    Args:
        network: in training mode, on the device of the clips.
        x: clips (B, 3, T, H, W).
        fused: one kernel for all weights.
        graph: record the step as a CUDA graph and replay it.
    """
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, fused=fused or None)
    if next(iter(network.parameters())).is_contiguous(memory_format=torch.channels_last_3d):
        x = x.contiguous(memory_format=torch.channels_last_3d)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(x).float().square().mean().backward()
        optimizer.step()

    if not graph:
        return step
    aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    recorded = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(recorded):
        step()
    return recorded.replay


def table(cells: Sequence[Cell], known: Sequence[Cell]) -> list[str]:
    """Cells as rows of Markdown, with the ratio to the peer of the same precision and size.

    Args:
        cells: to show.
        known: all that were measured, the peers' among them.
    """
    theirs = {
        (cell.encoder, cell.precision, cell.size): cell.clips_per_second
        for cell in known
        if not cell.form.startswith("cvrl")
    }
    rows = [
        "| encoder | size | type | form | clips/s | of peer | of peak | GB | spread |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        peer = theirs.get((cell.encoder, cell.precision, cell.size))
        ratio = f"{cell.clips_per_second / peer:.2f}" if peer else "-"
        rows.append(
            f"| {cell.encoder} | {cell.size} | {cell.precision} | {cell.form} "
            f"| {cell.clips_per_second:.0f} | {ratio} | {cell.share:.1%} "
            f"| {cell.measured.memory_gb:.1f} | {cell.measured.spread:.0%} |"
        )
    return rows
