"""Features of whole data sets: deterministic clips in, one vector a clip out.

Shape suffixes: V videos, N clips of all videos, M clips of a batch, D dims; C, T, H, W of a clip.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from cvrl.data.dataset import BadVideo, EvalDataset
from cvrl.data.loader import eval_loader
from cvrl.evaluation.missing import account_for
from cvrl.models.backbones import Encoder
from cvrl.models.inference.overlapping import encode_frames
from cvrl.utils.errors import UserError
from cvrl.utils.log import track

Stage = Literal["res2", "res3", "res4", "res5", "pooled", "projected"]
STAGES: tuple[Stage, ...] = ("res2", "res3", "res4", "res5", "pooled", "projected")


@dataclass(frozen=True)
class Features:
    """The features of a data set, clip by clip, in the order of its list.

    Attributes:
        vectors_ND: one float32 vector a clip, on the CPU.
        index_N: row of the clip's video in the list.
        start_N: when the clip starts, in seconds of its video.
        end_N: when its last frame ends, in seconds.
        n_listed: videos in the list.
        bad: path and reason of videos without features, where the data set names them; see
            :func:`cvrl.evaluation.missing.account_for`.
    """

    vectors_ND: Tensor
    index_N: Tensor
    start_N: Tensor
    end_N: Tensor
    n_listed: int
    bad: tuple[BadVideo, ...] = ()

    @property
    def n_scored(self) -> int:
        """Videos that have features: all listed ones but those in ``bad``."""
        return len(set(self.index_N.tolist()))


def extract_features(
    encoder: nn.Module,
    dataset: EvalDataset,
    *,
    batch_videos: int = 8,
    workers: int = 0,
    projector: nn.Module | None = None,
    stage: Stage = "pooled",
    description: str = "features",
) -> Features:
    """Encode the clips of every video of a list; leaves no trace, see :func:`extract_together`.

    Args:
        encoder: maps clips (M, C, T, H, W) to (M, D).
        dataset: the clips.
        batch_videos: videos encoded at a time.
        workers: loader processes; 0 decodes in this one.
        projector: the head, for stage projected.
        stage: what to take from the encoder, see :func:`encode`.
        description: the words on the progress bar.

    Raises:
        CorruptVideoError: a video cannot be decoded, unless the data set names such ones.
        UserError: the list is empty, or the encoder has no such stage.

    Example:
        >>> from cvrl.data.clips import ClipSpec
        >>> from cvrl.data.manifest import make_manifest
        >>> videos, nothing = make_manifest({"path": ["a.mp4"]}, root="/"), nn.Identity()
        >>> extract_features(nothing, EvalDataset(videos, ClipSpec(8, 4), 2, nothing))
        Traceback (most recent call last):
        cvrl.utils.errors.CorruptVideoError: /a.mp4: no such file
    """
    network = partial(encode, encoder, stage=stage, projector=projector)
    device = module_device(encoder)
    with evaluating(encoder, *([] if projector is None else [projector])):
        return _extract([network], dataset, batch_videos, workers, device, description)[0]


def extract_together(
    encoders: Sequence[nn.Module],
    dataset: EvalDataset,
    *,
    batch_videos: int = 8,
    workers: int = 0,
    description: str = "features",
) -> list[Features]:
    """Encode a list with several encoders while decoding it once.

    The encoders work in evaluation mode and without gradient, and get their modes back. No random
    generator is touched, so a run that evaluates while it trains goes on as one that does not.

    Args:
        encoders: as for :func:`extract_features`, all on one device.
        dataset: the clips.
        batch_videos: videos encoded at a time.
        workers: loader processes; 0 decodes in this one.
        description: the words on the progress bar.

    Returns:
        One :class:`Features` an encoder, of its pooled stage.

    Raises:
        CorruptVideoError: a video cannot be decoded, unless the data set names such ones.
        UserError: the list is empty, or none of its videos can be decoded.
    """
    networks = [partial(encode, encoder) for encoder in encoders]
    with evaluating(*encoders):
        device = module_device(encoders[0])
        return _extract(networks, dataset, batch_videos, workers, device, description)


def _extract(
    networks: Sequence[Callable[[Tensor], Tensor]],
    dataset: EvalDataset,
    batch_videos: int,
    workers: int,
    device: torch.device,
    description: str,
) -> list[Features]:
    """Features of a whole list by each network; complete and finite, or an error."""
    if len(dataset) == 0:
        raise UserError("the list of videos", "is empty", "check the list and its split column")
    vectors: list[list[Tensor]] = [[] for _ in networks]
    index, start, end = [], [], []
    bad: list[BadVideo] = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        loader = eval_loader(dataset, batch_videos=batch_videos, workers=workers)
        for batch in track(loader, len(loader), description, unit="batches"):
            bad += batch.bad
            if not len(batch.index_M):
                continue
            clips_MCTHW = batch.clips_MCTHW.to(device)
            for parts, network in zip(vectors, networks, strict=True):
                parts.append(network(clips_MCTHW).cpu())
            index.append(batch.index_M)
            start.append(batch.start_M)
            end.append(batch.end_M)
    index_N = torch.cat(index) if index else torch.empty(0, dtype=torch.long)
    account_for(dataset.manifest, index_N, bad)
    facts = (index_N, torch.cat(start), torch.cat(end), len(dataset), tuple(bad))
    features = [Features(torch.cat(v), *facts) for v in vectors]
    for one in features:
        _check_finite(one, dataset)
    return features


def encode(
    encoder: nn.Module,
    clips_MCTHW: Tensor,
    stage: Stage = "pooled",
    projector: nn.Module | None = None,
) -> Tensor:
    """Encode clips up to a stage; maps are averaged over time and space.

    Args:
        encoder: maps clips to (M, D); has ``stages(clips)`` for the inner ones.
        clips_MCTHW: preprocessed clips.
        stage: res2 to res5, pooled, or projected (the pooled feature through the head).
        projector: the head.

    Returns:
        Float32 vectors of shape (M, D).

    Raises:
        UserError: no such stage, or no projection head.

    Example:
        >>> encode(torch.nn.Flatten(), torch.zeros(2, 3, 4, 5, 5)).shape
        torch.Size([2, 300])
    """
    if stage == "projected":
        return averaged(_head(projector)(encoder(clips_MCTHW)))
    if stage == "pooled":
        return averaged(encoder(clips_MCTHW))
    stages = encoder.stages(clips_MCTHW) if isinstance(encoder, Encoder) else {}
    if stage not in stages:
        have = ", ".join([*stages, "projected"] if stages else ["pooled", "projected"])
        raise UserError(f"stage {stage}", "the encoder has no such stage", f"use one of {have}")
    return averaged(stages[stage])


def encode_shared(
    encoder: Encoder,
    frames_FCHW: Tensor,
    place_MT: Tensor,
    stage: Stage = "pooled",
    projector: nn.Module | None = None,
    at_once: int = 16,
) -> Tensor:
    """Encode clips that share frames, each frame once as far as the encoder's kernels allow.

    The same as :func:`encode` of the clips, up to rounding; see
    :mod:`cvrl.models.inference.overlapping`.

    Args:
        encoder: in evaluation mode.
        frames_FCHW: preprocessed frames.
        place_MT: which of them each clip is made of.
        stage: as for :func:`encode`.
        projector: the head.
        at_once: clips encoded together.

    Returns:
        Float32 vectors of shape (M, D).

    Raises:
        UserError: no projection head.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> frames_FCHW, place_MT = torch.zeros(5, 3, 32, 32), torch.tensor([[0, 1, 2, 3]])
        >>> encode_shared(build_encoder("r3d_small").eval(), frames_FCHW, place_MT).shape
        torch.Size([1, 128])
    """
    until = "pooled" if stage == "projected" else stage
    parts = encode_frames(encoder, frames_FCHW, place_MT, until=until, at_once=at_once)
    vectors_MD = torch.cat([averaged(part) for part in parts])
    return averaged(_head(projector)(vectors_MD)) if stage == "projected" else vectors_MD


def mean_over_clips(features: Features) -> Tensor:
    """Average the clips of each video.

    Args:
        features: of any number of clips a video.

    Returns:
        One vector a video in the order of the list, shape (V, D).

    Example:
        >>> vectors, video = torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1])
        >>> clips = Features(vectors, video, torch.zeros(3), torch.zeros(3), n_listed=2)
        >>> mean_over_clips(clips).tolist()
        [[1.0], [5.0]]
    """
    sum_VD = features.vectors_ND.new_zeros(features.n_listed, features.vectors_ND.shape[1])
    sum_VD.index_add_(0, features.index_N, features.vectors_ND)
    return sum_VD / features.index_N.bincount(minlength=features.n_listed)[:, None]


def project(encoder: Encoder, features: Features) -> Features:
    """The same clips behind the encoder's projection head.

    Args:
        encoder: with the head, as ``load_encoder`` gives it.
        features: its pooled features.

    Raises:
        UserError: it has no head.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder, zeros = build_encoder("r3d_small"), torch.zeros(2)
        >>> encoder.projector = nn.Linear(encoder.dim, 3)
        >>> clips = Features(torch.zeros(2, encoder.dim), zeros.long(), zeros, zeros, n_listed=1)
        >>> project(encoder, clips).vectors_ND.shape
        torch.Size([2, 3])
    """
    if encoder.projector is None:
        raise UserError("the encoder", "has no projection head", "score the encoder alone")
    with evaluating(encoder.projector), torch.inference_mode():
        z_ND = encoder.projector(features.vectors_ND.to(module_device(encoder)))
    return replace(features, vectors_ND=z_ND.float().cpu())


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then every submodule gets back the mode that it had.

    Args:
        modules: what to switch.

    Example:
        >>> layer = torch.nn.Dropout()
        >>> with evaluating(layer):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    before = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


def transform_of(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    """Give the evaluation transform of an encoder that was loaded with one.

    Raises:
        UserError: it has none, as one fresh from ``build_encoder``.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> transform_of(build_encoder("r3d_small"))
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: the encoder: has no evaluation transform; use load_encoder
    """
    if encoder.preprocess is None or encoder.clip is None:
        raise UserError("the encoder", "has no evaluation transform", "use load_encoder")
    return encoder.preprocess


def module_device(module: nn.Module) -> torch.device:
    """Say where a module's parameters are; the CPU for one without any.

    Example:
        >>> module_device(torch.nn.Linear(2, 2))
        device(type='cpu')
    """
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _head(projector: nn.Module | None) -> nn.Module:
    if projector is None:
        raise UserError("stage projected", "the model has no projection head", "use pooled")
    return projector


def averaged(values: Tensor) -> Tensor:
    """Average whatever lies beyond (M, D), in float32.

    Example:
        >>> averaged(torch.ones(2, 5, 4, 3, 3)).shape
        torch.Size([2, 5])
    """
    values = values.float()
    return values.flatten(2).mean(dim=2) if values.ndim > 2 else values


def _check_finite(features: Features, dataset: EvalDataset) -> None:
    """Refuse features that are not finite, naming a video."""
    finite_N = torch.isfinite(features.vectors_ND).all(dim=1)
    if not bool(finite_N.all()):
        row = int(features.index_N[~finite_N][0])
        raise UserError(
            dataset.manifest.path(row),
            "its features are not finite",
            "the weights have diverged; use an earlier checkpoint",
        )
