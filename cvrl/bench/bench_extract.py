"""Features of a frozen encoder: folded and in bytes, beside the same networks elsewhere."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

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
from cvrl.data.manifest import read_manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.evaluation.features.inference_form import for_inference
from cvrl.models.backbones import build_encoder
from cvrl.models.inference.folded import freeze
from cvrl.models.inference.int8 import quantise
from cvrl.pretrained import load_encoder
from cvrl.utils.errors import UserError

MOST_APART = 1e-4
CALIBRATION = 8  # clips
GOALS = {"folded": 0.65, "int8": 0.40}


def measure(
    *,
    runs: int,
    against: Sequence[str],
    encoders: Sequence[str] = tuple(PEER_OF),
    clips: int = 2,
    frames: int = 8,
    size: int = 112,
    compile: bool = False,
    checkpoint: str = "",
    videos: str = "",
) -> Report:
    """Time a forward pass in evaluation mode.

    Args:
        runs: of each candidate.
        against: peers.
        encoders: by name. Their weights are random, with norms measured on the clips.
        clips: of a batch.
        frames: of a clip.
        size: their height and width.
        compile: also the folded form under ``torch.compile``, which takes minutes to begin.
        checkpoint: a trained model; with ``videos``, bytes are also judged by its kNN score.
        videos: a labelled list.

    Returns:
        Goals for the folded form and for bytes, and how near bytes come.

    Raises:
        UserError: an unknown encoder, or features that differ.
    """
    check_names(encoders)
    here, absent = split_by_installed([p for p in dict.fromkeys(PEER_OF.values()) if p in against])
    shape = (clips, frames, size)
    with torch.inference_mode():
        found = [_one(name, shape, runs, PEER_OF[name] in here, compile) for name in encoders]
    report = report_on("extract", found, shape, absent)
    if checkpoint and videos:
        report.goals.append(knn_in_bytes(checkpoint, videos))
    return report


def _one(
    name: str, shape: tuple[int, int, int], runs: int, has_peer: bool, compile: bool
) -> OfEncoder:
    torch.manual_seed(0)
    clips, *rest = shape
    many_NCTHW = smooth_clips(max(CALIBRATION, clips), *rest)
    encoder = settle(build_encoder(name), many_NCTHW)
    ours: dict[str, nn.Module] = {"folded": freeze(encoder), "int8": quantise(encoder, many_NCTHW)}
    apart = float((ours["folded"](many_NCTHW) - encoder(many_NCTHW)).norm())
    apart /= float(encoder(many_NCTHW).norm())
    if apart > MOST_APART:
        raise UserError(name, f"features differ by {apart:.1e}", "its times would not compare")
    near = float(F.cosine_similarity(ours["int8"](many_NCTHW), encoder(many_NCTHW)).min())
    if compile:
        ours["compiled"] = compiled(freeze(encoder))
    peer = PEER_OF[name]
    networks = ours | ({peer: peer_network(encoder)} if has_peer else {})
    work: dict[str, Callable[[], object]] = {
        f"{name} {key}": partial(network, many_NCTHW[:clips]) for key, network in networks.items()
    }
    timings = interleave(work | {f"{name} matrix product": matrix_product()}, runs=runs)
    flops, product = gflops(encoder, many_NCTHW[:clips]), timings[f"{name} matrix product"]
    shares = ", ".join(
        f"{key} at {share_of_peak(flops, timings[f'{name} {key}'], product):.0%}"
        for key in networks
        if key != "int8"
    )
    goals = []
    for key, goal in GOALS.items():
        share = ratio(timings, f"{name} {key}", f"{name} {peer}") if has_peer else None
        why = f"{shares} of a matrix product's speed" if share is not None and share > goal else ""
        goals.append(Goal(f"{name}: {key} / {peer}", share, goal, "at most", note=why))
    goals.append(Goal(f"{name}: least cosine of int8 and fp32", near, 0.99, "at least"))
    note = f"{name}: {shares} of a matrix product's speed; folded features differ from plain ones "
    return OfEncoder(timings, goals, f"{note}by {apart:.1e} of their length")


def knn_in_bytes(checkpoint: str, videos: str) -> Goal:
    """How many points of kNN top-1 a trained encoder loses in bytes.

    Each video is asked for among those of other source groups.

    Args:
        checkpoint: run folder or model file.
        videos: a labelled list.

    Raises:
        UserError: they cannot be used.
    """
    encoder, manifest = load_encoder(checkpoint), read_manifest(videos)
    parts = Parts(train=manifest, test=manifest)
    scores = []
    for precision in ("fp32", "int8"):
        one = for_inference(encoder, precision, manifest)
        [result] = evaluate(one, parts, ["knn"], Options(leave_same_group_out=True))
        scores.append(100 * float(result.row("trained").scores["top1"] or 0.0))
    what = f"kNN top-1 of {len(manifest)} videos, fp32 {scores[0]:.2f} less int8 {scores[1]:.2f}"
    return Goal(what, scores[0] - scores[1], 0.5, "at most", note="points")
