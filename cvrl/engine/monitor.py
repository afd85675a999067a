"""The scores of the encoder, and of its classifier, while they train, from clean features."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from cvrl.config import EvalConfig
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.extraction import Features, extract_features, mean_over_clips
from cvrl.evaluation.protocols.instance import instance_retrieval
from cvrl.evaluation.protocols.knn import knn_accuracy
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.utils.errors import CorruptVideoError
from cvrl.utils.seed import numpy_rng

logger = logging.getLogger("cvrl")


@dataclass
class KnnMonitor:
    """kNN top-1 of the watched videos against the training videos, with the encoder as it is.

    A monitor, not a result: it looks at no more than ``options.max_videos`` of each part, and a
    file that cannot be decoded is named and left out. Without labels it reports how often a clip
    finds the other clip of its own video. With a classifier it reports that one's top-1 too, by the
    mean of the probabilities over a video's clips.

    Attributes:
        train: the gallery.
        watch: the queries.
        spec: the shape of a clip.
        transform: the evaluation transform.
        options: how many videos, clips and neighbours.
        reader: how files are opened.
        workers: loader processes.
        seed: of the choice of videos.
    """

    train: Manifest
    watch: Manifest
    spec: ClipSpec
    transform: Callable[[torch.Tensor], torch.Tensor]
    options: EvalConfig
    reader: VideoReader
    workers: int
    seed: int

    def __post_init__(self) -> None:
        if _is_labelled(self.train) and _is_labelled(self.watch):
            self.train, self.watch = self.train.labelled(), self.watch.labelled()
        self.train = self._some(self.train)
        self.watch = self._some(self.watch)

    def __call__(self, encoder: Encoder, class_head: ClassHead | None = None) -> dict[str, float]:
        """The scores, in [0, 1]."""
        if not (_is_labelled(self.train) and _is_labelled(self.watch)):
            features, self.watch = self._features(encoder, self.watch, clips=2)
            groups = torch.from_numpy(self.watch.group_ids)
            return {"instance_r1": instance_retrieval(features, groups).r1}
        clips = self.options.clips_per_video
        gallery, self.train = self._features(encoder, self.train, clips)
        queries, self.watch = self._features(encoder, self.watch, clips)
        scores = knn_accuracy(
            mean_over_clips(queries),
            torch.from_numpy(self.watch.label_ids),
            mean_over_clips(gallery),
            torch.from_numpy(self.train.label_ids),
            k=min(self.options.k, len(self.train)),
            temperature=self.options.temperature,
        )
        found = {"knn_top1": scores.top1}
        if class_head is not None and not class_head.multi_label:
            found["classifier_top1"] = _classifier_top1(class_head, queries, self.watch)
        return found

    def _features(
        self, encoder: Encoder, videos: Manifest, clips: int
    ) -> tuple[Features, Manifest]:
        """Features of the videos that can be read, and those videos."""
        while True:
            dataset = EvalDataset(videos, self.spec, clips, self.transform, reader=self.reader)
            try:
                features = extract_features(
                    encoder,
                    dataset,
                    batch_videos=self.options.batch_videos,
                    workers=self.workers,
                    description="kNN",
                )
                return features, videos
            except CorruptVideoError as error:
                logger.warning("%s; left out of the kNN score", error)
                videos = videos.take(
                    [row for row, path in enumerate(videos.paths) if path != error.path]
                )

    def _some(self, videos: Manifest) -> Manifest:
        if len(videos) <= self.options.max_videos:
            return videos
        chosen = numpy_rng(self.seed).permutation(len(videos))[: self.options.max_videos]
        return videos.take(np.sort(chosen))


@torch.no_grad()
def _classifier_top1(head: ClassHead, features: Features, videos: Manifest) -> float:
    was_training, device = head.training, head.weight.device
    probability_NK = head.eval().probabilities(features.vectors_ND.to(device)).cpu()
    head.train(was_training)
    mean_VK = mean_over_clips(replace(features, vectors_ND=probability_NK))
    truth_V = torch.from_numpy(videos.label_ids)
    return float((mean_VK.argmax(dim=1) == truth_V).float().mean())


def _is_labelled(videos: Manifest) -> bool:
    return bool((videos.label_ids >= 0).any())
