"""Grad-CAM in three dimensions: the places and times of a video that a score depends on.

Selvaraju et al., arXiv 1610.02391, equations 1 and 2, with time as a third axis: the gradient of a
score y with respect to the maps A^k of one stage is computed; the weight of map k is the mean of
its gradient over time and space, and the heat map is the positive part of the weighted sum of maps.

For a classifier, y is the logit of a class. Without one, y is the projection of the feature on a
reference direction: the feature of another video, or the video's own mean feature. As the feature
is the mean of ``res5``, this score is the mean of the contributions of all places (the
decomposition of Stylianou et al., arXiv 1901.00536). The cosine similarity is not used: for a clip
and itself it is at its maximum, where its gradient is zero.

Shapes: B clips, T frames, L ticks of the video, N measured ticks, D dimensions, K classes or
maps; C channels, H W pixels, h w cells of a stage.
"""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cvrl.data.clips import ClipSpec, Ints, clip_indices, timeline
from cvrl.data.dataset import VideoReader, read_clips
from cvrl.evaluation.features.extraction import evaluating, module_device, transform_of
from cvrl.models.backbones import STAGES, Encoder
from cvrl.models.heads import ClassHead
from cvrl.utils.errors import UserError
from cvrl.utils.log import track
from cvrl.video.frame_cache import FrameSource

Target = Callable[[Tensor], Tensor]
"""Computes the score (B,) of features (B, D)."""
READER = VideoReader()
CLIPS_A_BATCH = 4
LEAST_CELLS = 4  # along a side of the maps


@dataclass(frozen=True)
class Heat:
    """Heat map of a video.

    Attributes:
        map_Lhw: float32 in [0, 1]; 1 is the maximum of the whole video, so ticks can be compared.
            All 0 if nothing supports the score.
        words: what the heat map explains, for its title.
        stage: stage of the maps.
    """

    map_Lhw: NDArray[np.float32]
    words: str
    stage: str = STAGES[-1]

    @property
    def over_time_L(self) -> NDArray[np.float32]:
        """The mean heat of each tick, in [0, 1]."""
        return np.asarray(self.map_Lhw.mean(axis=(1, 2)), dtype=np.float32)


def class_logit(head: ClassHead, number: int) -> Target:
    """Score features by the logit of one class.

    Args:
        head: the classifier.
        number: of the class.

    Example:
        >>> head = ClassHead(2, ["run", "jump"])
        >>> class_logit(head, 1)(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    def score(h_BD: Tensor) -> Tensor:
        logits_BK: Tensor = head(h_BD)
        return logits_BK[:, number]

    return score


def along(reference_D: Tensor) -> Target:
    """Score features by their projection on a reference direction.

    Args:
        reference_D: any vector but 0.

    Example:
        >>> along(torch.tensor([0.0, 2.0]))(torch.tensor([[3.0, 4.0]])).item()
        4.0
    """
    direction_D = F.normalize(reference_D, dim=0)
    return lambda h_BD: h_BD @ direction_D


def grad_cam(encoder: Encoder, clips_BCTHW: Tensor, target: Target, stage: str = "res5") -> Tensor:
    """Compute heat maps of clips from one stage; the encoder is left unchanged.

    Args:
        encoder: the network.
        clips_BCTHW: preprocessed clips.
        target: the score to explain.
        stage: res2 to res5.

    Returns:
        (B, T', h, w), float32, non-negative and not scaled, in cells of the stage.

    Raises:
        UserError: an unknown stage, or clips too small for the encoder.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = build_encoder("r3d_small", width=2)
        >>> grad_cam(encoder, torch.rand(1, 3, 8, 64, 64), lambda h_BD: h_BD[:, 0]).shape
        torch.Size([1, 1, 2, 2])
    """
    if stage not in STAGES:
        raise UserError(f"stage {stage}", "is unknown", f"use one of {', '.join(STAGES)}")
    with evaluating(encoder), torch.enable_grad():
        with torch.no_grad():
            maps_BKThw = encoder.stages(clips_BCTHW)[stage]
        maps_BKThw.requires_grad_()
        x = maps_BKThw.clone()  # the next stages may modify it in place
        for name in STAGES[STAGES.index(stage) + 1 :]:
            x = getattr(encoder, name)(x)
        score_B = target(x.mean(dim=(2, 3, 4)))
        (slope_BKThw,) = torch.autograd.grad(score_B.sum(), maps_BKThw)
    weight_BK = slope_BKThw.float().mean(dim=(2, 3, 4))
    return torch.einsum("bk,bkthw->bthw", weight_BK, maps_BKThw.detach().float()).relu()


def default_stage(encoder: Encoder) -> str:
    """Return the last stage with maps of at least 4 x 4 cells, else the finest stage.

    Later stages are more specific to a score, but coarse on small frames: at 48 pixels ``res5`` of
    a ResNet has 2 x 2 cells.

    Args:
        encoder: from ``load_encoder``.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> from cvrl.transforms.op import to_float
        >>> encoder = build_encoder("r3d_small", width=2)
        >>> encoder.clip, encoder.size, encoder.preprocess = ClipSpec(8, 4), 48, to_float
        >>> default_stage(encoder)
        'res3'
    """
    transform_of(encoder)  # raises for an encoder without clip and size
    side = encoder.size or 0
    shape = (1, 3, encoder.clip.frames, side, side)
    with evaluating(encoder), torch.no_grad():
        maps = encoder.stages(torch.zeros(shape, device=module_device(encoder)))
    fine = [stage for stage in STAGES if min(maps[stage].shape[3:]) >= LEAST_CELLS]
    return fine[-1] if fine else STAGES[0]


def heat_of_video(
    encoder: Encoder,
    path: str,
    target: Target,
    words: str,
    *,
    stage: str | None = None,
    reader: VideoReader = READER,
) -> Heat:
    """Compute Grad-CAM over consecutive clips of a video and join the maps over time.

    Args:
        encoder: from ``load_encoder``.
        path: of the video.
        target: the score to explain.
        words: what the heat map explains.
        stage: res2 to res5; None for :func:`default_stage`.
        reader: opens the files.

    Raises:
        UserError: an unknown stage.
        CorruptVideoError: the video cannot be decoded.
    """
    ticks, maps = [], []
    stage = default_stage(encoder) if stage is None else stage
    with reader.open(path, encoder.clip) as video:
        length = len(timeline(video.times, encoder.clip.fps))
        for ticks_BT, clips_BCTHW in _batches(video, encoder, "explaining"):
            heat_BThw = grad_cam(encoder, clips_BCTHW, target, stage)
            # Time first and space when it is drawn: together they are the trilinear interpolation.
            shape = (ticks_BT.shape[1], *heat_BThw.shape[2:])
            fine = F.interpolate(heat_BThw[:, None], shape, mode="trilinear", align_corners=False)
            ticks.append(ticks_BT.ravel())
            maps.append(fine.flatten(0, 2).cpu().numpy())
    map_Lhw = stitch(np.concatenate(ticks), np.concatenate(maps), length)
    return Heat(map_Lhw / max(float(map_Lhw.max()), 1e-12), words, stage)


def feature_of_video(encoder: Encoder, path: str, reader: VideoReader = READER) -> Tensor:
    """Compute the features (N, D) of consecutive clips of a video.

    Args:
        encoder: from ``load_encoder``.
        path: of the video.
        reader: opens the files.

    Raises:
        CorruptVideoError: the video cannot be decoded.
    """
    with reader.open(path, encoder.clip) as video, evaluating(encoder), torch.no_grad():
        clips = (clips_BCTHW for _, clips_BCTHW in _batches(video, encoder, "looking"))
        return torch.cat([encoder(clips_BCTHW) for clips_BCTHW in clips])


def covering_starts(length: int, spec: ClipSpec) -> Ints:
    """Starts of the fewest consecutive clips that cover a video.

    Args:
        length: ticks in the video.
        spec: the shape of a clip.

    Example:
        >>> covering_starts(100, ClipSpec(frames=16, stride=2)).tolist()
        [0, 32, 64, 69]
    """
    starts = np.arange(0, length, spec.frames * spec.stride, dtype=np.int64)
    return np.unique(np.minimum(starts, spec.start_count(length) - 1))


def stitch(ticks_N: Ints, maps_Nhw: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Interpolate maps to every tick: the mean of maps at the same tick, linear in between.

    Args:
        ticks_N: in [0, length), in any order, with repeats.
        maps_Nhw: map at each tick.
        length: L, ticks in the video.

    Returns:
        (L, h, w).

    Example:
        >>> stitch(np.array([0, 2, 2]), np.array([[[0.0]], [[1.0]], [[3.0]]]), 4).ravel().tolist()
        [0.0, 1.0, 2.0, 2.0]
    """
    known_U, place_N = np.unique(ticks_N, return_inverse=True)
    sum_Uhw = np.zeros((len(known_U), *maps_Nhw.shape[1:]), np.float64)
    np.add.at(sum_Uhw, place_N, maps_Nhw)
    mean_Uhw = sum_Uhw / np.bincount(place_N)[:, None, None]
    where_L = np.interp(np.arange(length), known_U, np.arange(len(known_U)))
    before_L = np.floor(where_L).astype(np.int64)
    after_L = np.minimum(before_L + 1, len(known_U) - 1)
    share_L11 = (where_L - before_L)[:, None, None]
    line_Lhw = (1 - share_L11) * mean_Uhw[before_L] + share_L11 * mean_Uhw[after_L]
    return line_Lhw.astype(np.float32)


def class_number(class_names: list[str], name: str) -> int:
    """Return the number of a class.

    Args:
        class_names: of the classifier.
        name: of the class.

    Raises:
        UserError: an unknown class; the message names the most similar one.

    Example:
        >>> class_number(["run", "jump"], "jmp")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: class jmp: is unknown to the model; did you mean jump?
    """
    if name in class_names:
        return class_names.index(name)
    lower = {known.lower(): known for known in class_names}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    known = f"it knows {', '.join(class_names[:8])}{' ...' if len(class_names) > 8 else ''}"
    remedy = f"did you mean {lower[close[0]]}?" if close else known
    raise UserError(f"class {name}", "is unknown to the model", remedy)


def _batches(
    video: FrameSource, encoder: Encoder, description: str
) -> Iterator[tuple[Ints, Tensor]]:
    """Yield batches of consecutive clips of an open video: their ticks and the encoder's input."""
    transform, device = transform_of(encoder), module_device(encoder)
    shown_L = timeline(video.times, encoder.clip.fps)
    starts = covering_starts(len(shown_L), encoder.clip)
    blocks = [starts[i : i + CLIPS_A_BATCH] for i in range(0, len(starts), CLIPS_A_BATCH)]
    for block in track(blocks, len(blocks), description, unit="batches"):
        ticks_BT = np.stack([clip_indices(int(s), encoder.clip, len(shown_L)) for s in block])
        yield ticks_BT, transform(read_clips(video, shown_L[ticks_BT])).to(device)
