"""Telling in which arrangement the clips of a tuple are, from all their pairs.

Xu et al., "Self-supervised Spatiotemporal Learning via Video Clip Order Prediction" (VCOP, CVPR
2019), sec. 3.3; after Lee et al., "Unsupervised Representation Learning by Sorting Sequences" (OPN,
arXiv 1708.01246), which has a layer of its own for each pair. With two patches instead of clips it
is the late fusion of Doersch et al. (arXiv 1505.05192).

Deviations: tuples whose order cannot be told carry no label; they are left out of the loss and
counted.

Shapes: B videos on this rank, V clips of a tuple, P = V (V - 1) / 2 pairs, K classes, N labelled
tuples, D dimensions.
"""

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils import dist


class Order(Task):
    """Cross entropy over the classes of arrangement.

    Args:
        encoder: maps clips (N, C, T, H, W) to features (N, encoder.dim).
        clips: V; filled in from the views.
        order_classes: K; filled in from the views.
        hidden: width of the layer that every pair goes through.
        dropout: probability of dropping a value of the pairs' layer, in [0, 1).

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> Order(build_encoder("r3d_small"), clips=3, order_classes=6).classifier.in_features
        1536
    """

    accepts = frozenset({"tuple"})
    least_clips = 2

    def __init__(
        self,
        encoder: Encoder,
        *,
        clips: int,
        order_classes: int,
        hidden: int = 512,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pairs = list(combinations(range(clips), 2))
        self.pair = nn.Sequential(nn.Linear(2 * encoder.dim, hidden), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden * len(self.pairs), order_classes)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss and top-1 over the tuples that have a label."""
        B, V = batch.clips_BVCTHW.shape[:2]
        h_BVD = self.encoder(batch.clips_BVCTHW.flatten(0, 1)).view(B, V, -1)
        logits_BK = self._logits(h_BVD)
        order_B = batch.order_BV[:, 0]
        labelled_B = order_B >= 0
        logits_NK, order_N = logits_BK[labelled_B], order_B[labelled_B]
        return {
            "loss": dist.global_mean(F.cross_entropy(logits_NK, order_N, reduction="none")),
            "pretext_top1": top1(logits_NK, order_N),
            "unlabelled": 1 - labelled_B.float().mean(),
            "embedding_ND": F.normalize(h_BVD.detach().float().flatten(0, 1)),
        }

    def _logits(self, h_BVD: Tensor) -> Tensor:
        pairs_BPD = torch.stack(
            [self.pair(torch.cat([h_BVD[:, i], h_BVD[:, j]], dim=1)) for i, j in self.pairs], dim=1
        )
        logits_BK: Tensor = self.classifier(self.dropout(pairs_BPD.flatten(1)))
        return logits_BK


@torch.no_grad()
def top1(logits_NK: Tensor, label_N: Tensor) -> Tensor:
    """The share of rows whose greatest score is the label's; 0 where there are no rows.

    Example:
        >>> float(top1(torch.eye(2), torch.tensor([0, 0])))
        0.5
    """
    return (logits_NK.argmax(dim=1) == label_N).float().sum() / max(1, len(label_N))


METHOD = Order
