"""A few labels and many videos without: the sure guesses on one clip teach the other clips.

The second seed's semi-supervised loss, loss(X, Y) + lambda loss(Z, R(Z, X)), with labelled clips X
and their labels Y, unlabelled clips Z, and R what the labelled ones say of them. R is here, as in
FixMatch (Sohn et al., arXiv 2001.07685, eq. 4), the class that the network, which learnt it from X,
gives to another clip of the same video, where its probability is above a threshold.

Deviations from FixMatch: the clip that is guessed on and those that learn from it are views of the
video at different times, augmented alike, where FixMatch has a weakly and a strongly augmented
copy; batches hold labelled and unlabelled videos as they come.

Shapes: B videos on this rank, V views, K classes, X labelled and Z unlabelled videos of B.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.task import Task
from cvrl.utils import dist


class SemiSupervised(Task):
    """Cross entropy with the labels there are, and with the guesses that are sure.

    Args:
        encoder: maps clips (N, C, T, H, W) to features (N, encoder.dim).
        class_names: of the K classes; filled in from the data.
        unlabelled_weight: lambda, >= 0.
        confidence: probability that a guess needs, in [0, 1).
        dropout: probability of dropping a feature, in [0, 1).

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> SemiSupervised(build_encoder("r3d_small"), class_names=["a"]).confidence
        0.95
    """

    accepts = frozenset({"clips"})
    least_clips = 2

    def __init__(
        self,
        encoder: Encoder,
        *,
        class_names: Sequence[str],
        unlabelled_weight: float = 1.0,
        confidence: float = 0.95,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.unlabelled_weight = unlabelled_weight
        self.confidence = confidence
        self.classifier = ClassHead(encoder.dim, class_names, dropout=dropout)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Both losses and their sum, top-1 on the labelled clips, and the share of sure guesses."""
        B, V = batch.clips_BVCTHW.shape[:2]
        h_ND = self.encoder(batch.clips_BVCTHW.flatten(0, 1))
        logits_BVK = self.classifier(h_ND).view(B, V, -1)
        has_label_B = batch.labels_B >= 0
        supervised_B = cross_entropy(logits_BVK, batch.labels_B.clamp(min=0))
        guess_B, sure_B = self._guess(logits_BVK[:, 0])
        guessed_B = cross_entropy(logits_BVK[:, 1:], guess_B) * sure_B
        supervised = dist.global_mean(supervised_B[has_label_B])
        guessed = dist.global_mean(guessed_B[~has_label_B])
        hit_B = (logits_BVK.argmax(dim=2) == batch.labels_B[:, None]).float().mean(dim=1)
        return {
            "loss": supervised + self.unlabelled_weight * guessed,
            "supervised_loss": supervised.detach(),
            "guessed_loss": guessed.detach(),
            "train_top1": hit_B[has_label_B].sum() / has_label_B.sum().clamp(min=1),
            "sure": sure_B[~has_label_B].sum() / (~has_label_B).sum().clamp(min=1),
            "embedding_ND": F.normalize(h_ND.detach().float()),
        }

    @torch.no_grad()
    def _guess(self, logits_BK: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest class of each video, and 1 where it is likely enough."""
        probability_B, guess_B = logits_BK.softmax(dim=1).max(dim=1)
        return guess_B, (probability_B > self.confidence).to(logits_BK.dtype)


def cross_entropy(logits_BVK: Tensor, label_B: Tensor) -> Tensor:
    """The mean over a video's views of the cross entropy with its class.

    Args:
        logits_BVK: scores.
        label_B: classes, each in [0, K).

    Returns:
        (B,).

    Example:
        >>> cross_entropy(torch.zeros(1, 2, 8), torch.tensor([3])).exp().round().item()
        8.0
    """
    B, V, _ = logits_BVK.shape
    label_N = label_B.repeat_interleave(V)
    loss_N = F.cross_entropy(logits_BVK.flatten(0, 1), label_N, reduction="none")
    return loss_N.view(B, V).mean(dim=1)


METHOD = SemiSupervised
