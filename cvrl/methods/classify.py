"""Classification: of what a video shows, by its label, or of how its clips were arranged.

With labels of the data it is the supervised network that others are compared with. With the
arrangement it is rotation (Gidaris et al., arXiv 1803.07728), jigsaw permutation (Noroozi and
Favaro, arXiv 1603.09246), pace (Wang et al., arXiv 2008.05861), temporal transformation (Jenni
et al., arXiv 2007.10730) or shuffled-or-not, as the views have it.

Deviations from common recipes: none; cross entropy, optionally smoothed (Szegedy et al., arXiv
1512.00567, sec. 7), on dropped-out pooled features (Srivastava et al., 2014).

Shapes: B videos on this rank, V views, N labelled clips of B V, K classes.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.errors import UserError

Target = Literal["labels", "arrangement"]


class Classify(Task):
    """The mean cross entropy of every labelled clip's class.

    Args:
        encoder: maps clips (N, C, T, H, W) to features (N, encoder.dim).
        class_names: filled in from the data.
        order_classes: filled in from the views.
        target: ``labels`` of the videos, or the ``arrangement`` of the clips. Clips that carry no
            arrangement, such as the unshuffled one of a pair, are not looked at.
        dropout: probability of dropping a feature, in [0, 1).
        label_smoothing: share of the target spread over all classes, in [0, 1).

    Raises:
        UserError: a target that the views do not have.
        ValueError: data without labels.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = build_encoder("r3d_small")
        >>> Classify(encoder, class_names=["a", "b"], order_classes=0).class_head.class_names
        ['a', 'b']
    """

    accepts = frozenset({"clips", "labelled"})

    def __init__(
        self,
        encoder: Encoder,
        *,
        class_names: Sequence[str],
        order_classes: int,
        target: Target = "labels",
        dropout: float = 0.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if target not in ("labels", "arrangement"):
            raise UserError(
                "method.target", f"unknown value '{target}'", "use labels or arrangement"
            )
        if target == "arrangement" and order_classes == 0:
            raise UserError(
                "method.target = arrangement",
                "needs views whose clips carry a label of their own",
                "use views rotated, jigsaw_pair, pace, temporal_transform or shuffled_pair "
                "with views.role=predict",
            )
        self.needs_labels = target == "labels"
        self.encoder = encoder
        self.classifier = (
            ClassHead(encoder.dim, class_names, dropout=dropout)
            if self.needs_labels
            else nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.dim, order_classes))
        )
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy and top-1; see :meth:`cvrl.task.Task.forward`."""
        clips_NCTHW, label_N = self._labelled(batch)
        h_ND = self.encoder(clips_NCTHW)
        logits_NK = self.classifier(h_ND)
        loss_N = F.cross_entropy(
            logits_NK, label_N, reduction="none", label_smoothing=self.label_smoothing
        )
        with torch.no_grad():
            top1 = (logits_NK.argmax(dim=1) == label_N).float().sum() / max(1, len(label_N))
        return {
            "loss": dist.global_mean(loss_N),
            "train_top1" if self.needs_labels else "pretext_top1": top1,
            "embedding_ND": F.normalize(h_ND.detach().float()),
        }

    def _labelled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The clips that have the label asked for, and the labels."""
        clips_NCTHW = batch.clips_BVCTHW.flatten(0, 1)
        if not self.needs_labels:
            order_N = batch.order_BV.flatten()
            return clips_NCTHW[order_N >= 0], order_N[order_N >= 0]
        label_N = batch.labels_B.repeat_interleave(batch.clips_BVCTHW.shape[1])
        if bool((label_N < 0).any()):
            raise ValueError("method classify needs a label for every video")
        return clips_NCTHW, label_N


METHOD = Classify
