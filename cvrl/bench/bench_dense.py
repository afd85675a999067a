"""Dense features along a video: overlapping clips encoded together, beside one clip at a time."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cvrl.bench.common.timing import Goal, Report, interleave, ratio
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.inference.overlapping import encode_frames, gather_clips, still_stages

GOALS = {0.5: 0.75, 0.75: 0.55}  # overlap: share of the time clip by clip


def measure(
    *,
    runs: int,
    against: Sequence[str] = (),
    encoder: str = "slow_r50",
    clips: int = 16,
    frames: int = 8,
    size: int = 224,
    at_once: int = 4,
) -> Report:
    """Time the encoder over clips that overlap by a half and by three quarters.

    Args:
        runs: of each candidate.
        against: no peer does the same work, so none is measured.
        encoder: one whose first stages see one frame at a time.
        clips: of a video.
        frames: of a clip.
        size: their height and width.
        at_once: clips encoded together, in both ways.

    Returns:
        Goals, and how far the features agree. Decoding and resizing are not part of it: they are
        done once a frame in either way.
    """
    network = _settled(build_encoder(encoder))
    candidates: dict[str, Callable[[], Tensor]] = {}
    for overlap in GOALS:
        step = round(frames * (1 - overlap))
        place_NT = torch.arange(0, clips * step, step)[:, None] + torch.arange(frames)
        frames_FCHW = torch.rand(int(place_NT.max()) + 1, 3, size, size)
        work = (network, frames_FCHW, place_NT, at_once)
        candidates[f"{overlap:.0%} overlap, shared frames"] = functools.partial(_shared, *work)
        candidates[f"{overlap:.0%} overlap, clip by clip"] = functools.partial(_apart, *work)
    with torch.inference_mode():
        error = max(_error(candidates, overlap) for overlap in GOALS)
        timings = interleave(candidates, runs=runs, warm_up=0)
    goals = [
        Goal(
            f"{overlap:.0%} overlap, shared frames / clip by clip",
            ratio(timings, *_names(overlap)),
            goal,
            "at most",
        )
        for overlap, goal in GOALS.items()
    ]
    goals.append(Goal("largest difference of a feature", error, 1e-5, "at most"))
    facts = {"encoder": encoder, "clips": clips, "frames": frames, "size": size}
    facts |= {"at once": at_once, "once a frame": " ".join(still_stages(network)) or "nothing"}
    return Report("dense", timings, goals, facts)


def _shared(encoder: Encoder, frames_FCHW: Tensor, place_NT: Tensor, at_once: int) -> Tensor:
    return torch.cat(list(encode_frames(encoder, frames_FCHW, place_NT, at_once=at_once)))


def _apart(encoder: Encoder, frames_FCHW: Tensor, place_NT: Tensor, at_once: int) -> Tensor:
    parts = torch.split(place_NT, at_once)
    return torch.cat([encoder(gather_clips(frames_FCHW, part)) for part in parts])


def _names(overlap: float) -> tuple[str, str]:
    return f"{overlap:.0%} overlap, shared frames", f"{overlap:.0%} overlap, clip by clip"


def _error(candidates: dict[str, Callable[[], Tensor]], overlap: float) -> float:
    """The largest difference, as a share of the largest feature."""
    shared_ND, apart_ND = (candidates[name]() for name in _names(overlap))
    return float((shared_ND - apart_ND).abs().max() / apart_ND.abs().max())


def _settled(encoder: Encoder) -> Encoder:
    """A fresh encoder whose blocks all take part, as those of a trained one do."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return encoder.eval()
