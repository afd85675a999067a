"""Features of the training videos by a frozen teacher, computed once a run and stored beside it.

The file ``teacher_<hash>.safetensors`` in the run folder holds a row a training video, in the order
of the list, so ``Batch.video_id_B`` finds it. A run that goes on reads it again. With several
processes the first one computes it while the others wait.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.extraction import (
    extract_features,
    mean_over_clips,
    transform_of,
)
from cvrl.evaluation.features.feature_files import SUFFIXES, read_features
from cvrl.models.hog_mbh import HogMbh
from cvrl.models.weights import load_weights, save_weights
from cvrl.pretrained import load_encoder
from cvrl.transforms import recipes
from cvrl.utils import dist
from cvrl.utils.errors import UserError
from cvrl.utils.seed import numpy_rng

logger = logging.getLogger("cvrl")

HAND_MADE = "hog_mbh"
HAND_MADE_CLIP: dict[str, Any] = {"frames": 16, "stride": 2}
"""Longer than a small student's clips: the features are of the whole video, and cost little."""
HAND_MADE_SIZE = 64  # pixels


@dataclass(frozen=True)
class Teach:
    """Gives the features of a run's training videos; see :mod:`cvrl.methods.distil`.

    Attributes:
        manifest: the training videos.
        reader: how files are opened.
        folder: of the run.
        clip: the student's clips; hand-made features cut black bars off where these do.
        workers: loader processes.
        device: where the teacher works.
        dry: encode a single video, draw the other rows at random and store nothing.
    """

    manifest: Manifest
    reader: VideoReader
    folder: Path
    clip: ClipSpec
    workers: int = 0
    device: str = "cpu"
    dry: bool = False

    def __call__(self, teacher: str, clips: int) -> Tensor:
        """Features (W, E) of the W videos; rows of those that cannot be read are NaN.

        Args:
            teacher: what :func:`cvrl.load_encoder` takes, a file of features of these videos as
                ``tools/extract_features.py`` writes it, or ``hog_mbh`` for hand-made features.
            clips: of a video, that its feature is averaged over; a file has its own.

        Raises:
            UserError: no such teacher, or none of the videos can be decoded or is in the file.
        """
        if self.dry:
            [feature_E] = self._features(teacher, clips, self.manifest.take([0]))
            rows = numpy_rng(0).standard_normal((len(self.manifest), len(feature_E)))
            return torch.from_numpy(rows).float()
        settings: dict[str, Any] = {
            "teacher": teacher,
            "clips": clips,
            "videos": self.manifest.paths,
        }
        settings["clip"] = [dataclasses.asdict(self.clip), HAND_MADE_CLIP, HAND_MADE_SIZE]
        digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
        file = self.folder / f"teacher_{digest[:8]}.safetensors"
        if dist.is_main() and not file.exists():
            feature_WE = self._features(teacher, clips, self.manifest)
            save_weights(file, {"feature_WE": feature_WE}, {"teacher": teacher, "clips": clips})
        dist.barrier()
        return load_weights(file)[0]["feature_WE"]

    def _features(self, teacher: str, clips: int, manifest: Manifest) -> Tensor:
        if Path(teacher).suffix in SUFFIXES:
            return _stored_means(teacher, manifest)
        network: nn.Module
        if teacher == HAND_MADE:
            # Training flips clips at random, so the target must not tell left from right.
            network, clip = HogMbh(mirrored=True), replace(self.clip, **HAND_MADE_CLIP)
            transform: Callable[[Tensor], Tensor] = recipes.evaluation(HAND_MADE_SIZE)
        else:
            with torch.random.fork_rng(devices=[]):  # the run's own weights come after it
                network = encoder = load_encoder(teacher).to(self.device)
            clip, transform = encoder.clip, transform_of(encoder)
        how: dict[str, Any] = {"reader": self.reader, "name_bad": True}
        dataset = EvalDataset(manifest, clip, clips, transform, **how)
        features = extract_features(
            network, dataset, workers=self.workers, description=f"teacher {teacher}"
        )
        for path, reason in features.bad:
            logger.warning("the teacher cannot read %s: %s", path, reason)
        return mean_over_clips(features)


def _stored_means(file: str, manifest: Manifest) -> Tensor:
    """The mean feature of each video of a list by a feature file, NaN where it has none."""
    stored = read_features(file)
    row_of = {path: row for row, path in enumerate(manifest.paths)}
    row_N = np.array([row_of.get(path, -1) for path in stored.videos])
    is_ours_N = row_N >= 0
    if not is_ours_N.any():
        reason = f"has none of the {len(manifest)} training videos"
        raise UserError(file, reason, "extract features of the same list, with the same paths")
    count_W = np.bincount(row_N[is_ours_N], minlength=len(manifest))
    sum_WE = np.zeros((len(manifest), stored.vectors_ND.shape[1]))
    np.add.at(sum_WE, row_N[is_ours_N], stored.vectors_ND[is_ours_N])
    if missing := int((count_W == 0).sum()):
        logger.warning("%s has no feature of %d of %d videos", file, missing, len(manifest))
    mean_WE = np.full_like(sum_WE, np.nan)
    np.divide(sum_WE, count_W[:, None], out=mean_WE, where=count_W[:, None] > 0)
    return torch.from_numpy(mean_WE).float()
