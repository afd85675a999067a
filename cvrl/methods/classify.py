"""Classification with the labels of the data: the supervised network others are compared with.

Deviation from common recipes: none; cross entropy, optionally smoothed (Szegedy et al., arXiv
1512.00567, sec. 7), on dropped-out pooled features (Srivastava et al., 2014).

Shapes: B videos on this rank, V views, N = B V clips, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils import dist


class Classify(Task):
    """The mean cross entropy of every clip's class.

    Args:
        encoder: maps clips (N, C, T, H, W) to features (N, encoder.dim).
        classes: K; filled in from the data.
        dropout: probability of dropping a feature, in [0, 1).
        label_smoothing: share of the target spread over all classes, in [0, 1).

    Raises:
        ValueError: data without labels.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> Classify(build_encoder("r3d_small"), classes=4).classifier.out_features
        4
    """

    accepts = frozenset({"clips"})
    needs_labels = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        classes: int,
        dropout: float = 0.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(encoder.dim, classes)
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy and top-1; see :meth:`cvrl.task.Task.forward`."""
        V = batch.clips_BVCTHW.shape[1]
        label_N = batch.labels_B.repeat_interleave(V)
        if bool((label_N < 0).any()):
            raise ValueError("method classify needs a label for every video")
        h_ND = self.encoder(batch.clips_BVCTHW.flatten(0, 1))
        logits_NK = self.classifier(self.dropout(h_ND))
        loss_N = F.cross_entropy(
            logits_NK, label_N, reduction="none", label_smoothing=self.label_smoothing
        )
        with torch.no_grad():
            top1 = (logits_NK.argmax(dim=1) == label_N).float().mean()
        return {
            "loss": dist.global_mean(loss_N),
            "train_top1": top1,
            "embedding_ND": F.normalize(h_ND.detach().float()),
        }


METHOD = Classify
