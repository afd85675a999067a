"""Features of the trained encoder and its baselines on the same clips, for the page.

The baselines are the random-init encoder (the better of two treatments of batch norm, see
:mod:`cvrl.evaluation.random_init`) and the trained encoder on *still* clips, which repeat one
frame. The difference to still clips measures how much the encoder uses motion.

Shapes: V videos, N clips of all videos, D dimensions; B, C, T, H, W of a batch of clips.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest
from cvrl.data.splits import Parts, labelled_only
from cvrl.evaluation.features.extraction import (
    Features,
    extract_together,
    mean_over_clips,
    module_device,
    transform_of,
)
from cvrl.evaluation.protocols.instance import instance_retrieval
from cvrl.evaluation.protocols.knn import Scores, knn_accuracy
from cvrl.evaluation.protocols.linear import linear_probe
from cvrl.evaluation.random_init import random_init_encoders
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.seed import numpy_rng

T = TypeVar("T")
logger = logging.getLogger("cvrl")
NAMES = ("trained", "untrained", "still")


@dataclass(frozen=True)
class Comparison:
    """Features of the networks on the same videos.

    Attributes:
        test: test split, the queries.
        train: labelled training split, the gallery; None without labels.
        test_features: by name: trained, untrained (random init) and, where encoded, still.
        train_features: the same for `train`; empty if that is None.
        reader: opens the files.
    """

    test: Manifest
    train: Manifest | None
    test_features: dict[str, Features]
    train_features: dict[str, Features]
    reader: VideoReader

    def test_means(self, name: str) -> Tensor:
        """Mean features (V, D) of the test videos by one network."""
        return mean_over_clips(self.test_features[name])

    def train_means(self, name: str) -> Tensor:
        """Mean features (V, D) of the training videos by one network.

        Raises:
            KeyError: there is no labelled training split.
        """
        return mean_over_clips(self.train_features[name])


class Still(nn.Module):
    """Encode clips that repeat their middle frame.

    Example:
        >>> clip_BCTHW = torch.arange(4.0).reshape(1, 1, 4, 1, 1)
        >>> Still(nn.Identity())(clip_BCTHW).flatten().tolist()
        [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Encode the middle frame of each clip, repeated."""
        middle = clips_BCTHW.shape[2] // 2
        still_BCTHW = clips_BCTHW[:, :, middle : middle + 1].expand_as(clips_BCTHW)
        features: Tensor = self.encoder(still_BCTHW.contiguous())
        return features


def compare(
    encoder: Encoder,
    parts: Parts,
    *,
    seed: int = 0,
    clips: int = 2,
    max_videos: int = 400,
    batch_videos: int = 8,
    workers: int = 0,
    bad: Collection[str] = (),
    reader: VideoReader | None = None,
    still: bool = True,
) -> Comparison:
    """Encode videos of both splits with every network; each video is decoded once.

    Args:
        encoder: from `load_encoder`.
        parts: test and training split.
        seed: of the random-init weights and of the choice of videos.
        clips: clips spread over each video, at least 2.
        max_videos: of the test split; at most twice as many of the training split.
        batch_videos: videos per batch.
        workers: loader processes.
        bad: paths of unreadable videos. They are left out, as are other unreadable videos, which
            are logged.
        reader: opens the files.
        still: whether to encode still clips too.

    Raises:
        UserError: no readable videos.
    """
    how: dict[str, Any] = {"batch_videos": batch_videos, "workers": workers}
    transform, reader = transform_of(encoder), reader or VideoReader()

    def dataset(videos: Manifest) -> EvalDataset:
        return EvalDataset(videos, encoder.clip, clips, transform, reader=reader)

    if is_labelled(parts):
        parts, _ = labelled_only(parts)
    train = parts.train if is_labelled(parts) else None
    test = _some(parts.test, max_videos, bad, seed)
    train = None if train is None else _some(train, 2 * max_videos, bad, seed)
    device = module_device(encoder)
    (twins, _), _ = _retry(
        train or test,
        lambda some: random_init_encoders(encoder.spec, dataset(some), seed, device, **how),
    )
    networks = {"trained": encoder, **({"still": Still(encoder)} if still else {}), **twins}

    def encode(videos: Manifest) -> tuple[dict[str, Features], Manifest]:
        features, readable = _retry(
            videos,
            lambda some: extract_together(
                list(networks.values()), dataset(some), description="page", **how
            ),
        )
        return dict(zip(networks, features, strict=True)), readable

    test_features, test = encode(test)
    train_features, train = ({}, None) if train is None else encode(train)
    candidates = [
        Comparison(test, train, _named(test_features, twin), _named(train_features, twin), reader)
        for twin in twins
    ]
    return max(candidates, key=_untrained_score)


def is_labelled(parts: Parts) -> bool:
    """Whether both splits exist and hold labelled videos.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> is_labelled(Parts(make_manifest({"path": ["a.mp4"]}, root="/")))
        False
    """
    both = [parts.test, parts.train]
    return all(part is not None and bool((part.label_ids >= 0).any()) for part in both)


def knn_scores(comparison: Comparison, name: str, k: int = 20, temperature: float = 0.07) -> Scores:
    """Score one network by kNN on the videos of the page.

    Args:
        comparison: with a training split.
        name: trained, untrained or still.
        k: neighbours that vote.
        temperature: of the vote.

    Raises:
        ValueError: there is no training split.
    """
    test_VD, train_VD, test_labels_V, train_labels_V = _labelled(comparison, name)
    return knn_accuracy(
        test_VD,
        test_labels_V,
        train_VD,
        train_labels_V,
        k=min(k, len(train_VD)),
        temperature=temperature,
        n_classes=len(comparison.test.class_names),
    )


def linear_score(comparison: Comparison, name: str, seed: int = 0) -> float | None:
    """Top-1 of a linear probe on one network; None if there is only one class.

    Args:
        comparison: with a training split.
        name: trained, untrained or still.
        seed: of the folds.

    Raises:
        ValueError: there is no training split.
    """
    test_VD, train_VD, test_labels_V, train_labels_V = _labelled(comparison, name)
    if len(torch.unique(train_labels_V)) < 2 or comparison.train is None:
        return None
    groups = torch.from_numpy(comparison.train.group_ids)
    n_classes = len(comparison.test.class_names)
    probe = linear_probe(
        train_VD,
        train_labels_V,
        test_VD,
        test_labels_V,
        train_groups_N=groups,
        n_classes=n_classes,
        seed=seed,
    )
    return probe.scores.top1


def _named(features: dict[str, Features], twin: str) -> dict[str, Features]:
    """Keep the features of one of the random-init encoders, as ``untrained``."""
    keys = {"trained": "trained", "untrained": twin, "still": "still"}
    return {name: features[key] for name, key in keys.items() if key in features}


def _untrained_score(comparison: Comparison) -> float:
    if comparison.train is not None:
        return knn_scores(comparison, "untrained").top1
    groups = torch.from_numpy(comparison.test.group_ids)
    if len(comparison.test) < 2:
        return 0.0
    return instance_retrieval(comparison.test_features["untrained"], groups).r1


def _labelled(comparison: Comparison, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if comparison.train is None:
        raise ValueError("these scores need a labelled training split")
    labels = [torch.from_numpy(part.label_ids) for part in (comparison.test, comparison.train)]
    return comparison.test_means(name), comparison.train_means(name), labels[0], labels[1]


def _some(videos: Manifest, most: int, bad: Collection[str], seed: int) -> Manifest:
    """Draw at most `most` readable videos at random."""
    unreadable = set(bad)
    rows = np.array([row for row, path in enumerate(videos.paths) if path not in unreadable], int)
    if len(rows) > most:
        rows = np.sort(numpy_rng(seed).permutation(rows)[:most])
    return videos.take(rows)


def _retry(videos: Manifest, work: Callable[[Manifest], T]) -> tuple[T, Manifest]:
    """Call `work` on the readable videos; returns its result and these videos."""
    while len(videos):
        try:
            return work(videos), videos
        except CorruptVideoError as error:
            logger.warning("%s; left out of the page", error)
            good = [row for row, path in enumerate(videos.paths) if path != error.path]
            videos = videos.take(good)
    raise UserError(videos.source, "has no readable video", "see quarantine.csv")
