"""A training step's forward and backward pass: our encoders beside the same networks elsewhere."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from cvrl.bench.common.networks import (
    PEER_OF,
    OfEncoder,
    check_names,
    compiled,
    gflops,
    matrix_product,
    peer_network,
    report_on,
    settle,
    share_of_peak,
    smooth_clips,
)
from cvrl.bench.common.peers import split_by_installed
from cvrl.bench.common.timing import Goal, Report, interleave, ratio
from cvrl.models.backbones import build_encoder
from cvrl.models.training_speed.fast_conv import accelerate
from cvrl.utils.errors import UserError

MOST_APART = 1e-4
GOAL = 0.70


def measure(
    *,
    runs: int,
    against: Sequence[str],
    encoders: Sequence[str] = tuple(PEER_OF),
    clips: int = 2,
    frames: int = 8,
    size: int = 112,
    compile: bool = False,
) -> Report:
    """Time the passes in float32, norms in training mode.

    Args:
        runs: of each candidate.
        against: peers.
        encoders: by name.
        clips: of a batch.
        frames: of a clip.
        size: their height and width.
        compile: also our encoders under ``torch.compile``, which takes minutes to begin.

    Returns:
        Goals, the share of the machine's own matrix product, and how far gradients agree.

    Raises:
        UserError: an unknown encoder, or gradients that differ.
    """
    check_names(encoders)
    here, absent = split_by_installed([p for p in dict.fromkeys(PEER_OF.values()) if p in against])
    clips_BCTHW = smooth_clips(clips, frames, size)
    found = [_one(name, clips_BCTHW, runs, PEER_OF[name] in here, compile) for name in encoders]
    return report_on("step", found, (clips, frames, size), absent)


def _one(name: str, clips_BCTHW: Tensor, runs: int, has_peer: bool, compile: bool) -> OfEncoder:
    torch.manual_seed(0)
    encoder = settle(build_encoder(name), clips_BCTHW).train()
    ours, peer = accelerate(copy.deepcopy(encoder)), PEER_OF[name]
    networks: dict[str, nn.Module] = {"cvrl": ours}
    if has_peer:
        networks[peer] = peer_network(encoder)
    alike = check_alike(ours, networks.get(peer, encoder), clips_BCTHW)
    if compile:
        networks["cvrl, compiled"] = compiled(accelerate(copy.deepcopy(encoder)))
    work: dict[str, Callable[[], object]] = {
        f"{name} {key}": partial(run, network, clips_BCTHW) for key, network in networks.items()
    }
    timings = interleave(work | {f"{name} matrix product": matrix_product()}, runs=runs)
    flops = 3 * gflops(encoder, clips_BCTHW)  # a backward pass is two forward ones
    product = timings[f"{name} matrix product"]
    share = {key: share_of_peak(flops, timings[f"{name} {key}"], product) for key in networks}
    of_peer = ratio(timings, f"{name} cvrl", f"{name} {peer}") if has_peer else None
    shares = ", ".join(f"{key} at {part:.0%}" for key, part in share.items())
    why = f"{shares} of a matrix product's speed"
    missed = of_peer is not None and of_peer > GOAL
    goals = [Goal(f"{name}: cvrl / {peer}", of_peer, GOAL, "at most", note=why if missed else "")]
    if name == "r3d50":
        what = "r3d50: share of the matrix product's speed"
        goals.append(Goal(what, share["cvrl"], 0.65, "at least"))
    note = f"{name}: {flops:.0f} GFLOP a step, {shares} of a matrix product's speed; {alike}"
    return OfEncoder(timings, goals, note)


def run(network: nn.Module, clips_BCTHW: Tensor) -> None:
    """Forward and backward, from no gradients."""
    network.zero_grad(set_to_none=True)
    h_BD = network(clips_BCTHW)
    toward_D = torch.linspace(-1.0, 1.0, h_BD.shape[1], dtype=h_BD.dtype)
    (h_BD @ toward_D).sum().backward()


def check_alike(ours: nn.Module, theirs: nn.Module, clips_BCTHW: Tensor) -> str:
    """Hold gradients against each other in float64, and those in float32 against these.

    In float32 rounding puts some values on the other side of a ReLU's corner, and few clips
    normalise the last maps by a few cells, which multiplies what differs by ten thousand, whoever
    computes. So float32 is asked to be no further from float64 than twice the peer's.

    Args:
        ours: in training mode.
        theirs: with the same weights.
        clips_BCTHW: of the step.

    Returns:
        How far they agree, in words.

    Raises:
        UserError: they differ by more than 1e-4 of their length in float64, or ours in float32 are
            twice as far from it as theirs.
    """
    exact = _gradients(copy.deepcopy(theirs).double(), clips_BCTHW.double())
    apart = _distance(_gradients(copy.deepcopy(ours).double(), clips_BCTHW.double()), exact)
    near, far = (
        _distance(_gradients(copy.deepcopy(n), clips_BCTHW), exact) for n in (ours, theirs)
    )
    said = f"gradients differ by {apart:.1e} of their length in float64; those in float32 from "
    said += f"float64 by {near:.1e}, the peer's by {far:.1e}"
    if apart > MOST_APART or near > 2 * far + MOST_APART:
        raise UserError("step", said, "its times would compare unequal work")
    return said


def _gradients(network: nn.Module, clips_BCTHW: Tensor) -> Tensor:
    """Those of all parameters behind one another."""
    run(network, clips_BCTHW)
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def _distance(one: Tensor, other: Tensor) -> float:
    """As a share of the length of the second."""
    return float((one.double() - other.double()).norm() / other.double().norm())
