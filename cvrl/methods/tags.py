"""Weak labels, several to a video: the hashtags under which it was posted.

Mahajan et al., "Exploring the Limits of Weakly Supervised Pretraining" (arXiv 1805.00932), sec.
2.2: the target of a video with k tags is 1/k for each, and the loss is cross entropy; for video,
Ghadiyaram et al. (arXiv 1905.00561). Their alternative, one binary decision a tag, is here too.

A label such as ``"surf+sea"`` is two tags, surf and sea.

Deviations: binary cross entropy is averaged over the tags.

Shapes: B videos on this rank, V views, N = B V clips, K distinct labels, H tags.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.data.tags import multi_hot
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.errors import UserError


def soft_cross_entropy(logits_NH: Tensor, has_NH: Tensor) -> Tensor:
    """Cross entropy with the target 1/k for each of the k tags.

    Args:
        logits_NH: scores.
        has_NH: zeros and ones, at least one of them in a row.

    Returns:
        (N,) losses.

    Example:
        >>> import torch
        >>> soft_cross_entropy(torch.zeros(1, 4), torch.tensor([[1.0, 1.0, 0.0, 0.0]])).exp().item()
        4.0
    """
    return F.cross_entropy(logits_NH, has_NH / has_NH.sum(dim=1, keepdim=True), reduction="none")


def binary_cross_entropy(logits_NH: Tensor, has_NH: Tensor) -> Tensor:
    """One yes or no a tag, averaged over the tags.

    Args:
        logits_NH: scores.
        has_NH: zeros and ones.

    Returns:
        (N,) losses.

    Example:
        >>> import torch
        >>> binary_cross_entropy(torch.zeros(1, 4), torch.zeros(1, 4)).exp().item()
        2.0
    """
    return F.binary_cross_entropy_with_logits(logits_NH, has_NH, reduction="none").mean(dim=1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax": soft_cross_entropy,
    "binary": binary_cross_entropy,
}


class Tags(Task):
    """Which tags a video has.

    Args:
        encoder: maps clips (N, C, T, H, W) to features (N, encoder.dim).
        class_names: the K labels of the data, tags joined by ``+``; filled in from the data.
        loss: ``softmax`` or ``binary``.
        dropout: probability of dropping a feature, in [0, 1).

    Raises:
        UserError: data without tags.

    Example:
        >>> import torch
        >>> from cvrl.models.backbones import build_encoder
        >>> Tags(build_encoder("r3d_small"), class_names=["sea", "sea+surf"]).tags
        ['sea', 'surf']
    """

    accepts = frozenset({"clips"})
    needs_labels = True
    has_KH: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        class_names: Sequence[str],
        loss: Literal["softmax", "binary"] = "softmax",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise UserError("method.loss", f"unknown value '{loss}'", "use softmax or binary")
        self.tags, has_KH = multi_hot(class_names)
        if not self.tags:
            raise UserError("data.train", "has no tags", "give labels such as sea+surf")
        self.encoder = encoder
        self.loss = LOSSES[loss]
        self.classifier = ClassHead(encoder.dim, self.tags, dropout=dropout, multi_label=True)
        self.register_buffer("has_KH", has_KH)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, and how often the best tag is one of the video's."""
        V = batch.clips_BVCTHW.shape[1]
        h_ND = self.encoder(batch.clips_BVCTHW.flatten(0, 1))
        logits_NH = self.classifier(h_ND)
        has_NH = self.has_KH[batch.labels_B].repeat_interleave(V, dim=0)
        best_N = logits_NH.detach().argmax(dim=1, keepdim=True)
        return {
            "loss": dist.global_mean(self.loss(logits_NH, has_NH)),
            "train_hit1": has_NH.gather(1, best_N).mean(),
            "embedding_ND": F.normalize(h_ND.detach().float()),
        }


METHOD = Tags
