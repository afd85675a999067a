"""The linear probe as the papers train it: a frozen encoder, one linear layer, augmented clips.

Two protocols go by that name, and their numbers must not stand in one table:

* ``cvrl`` (Qian et al., arXiv 2008.03800, and official/projects/video_ssl of tensorflow/models):
  batch norms use their running statistics, and the feature is scaled to length 1.
* ``slowfast`` (Feichtenhofer et al., arXiv 2104.14558, and facebookresearch/SlowFast): batch norms
  use the statistics of the batch (there 8 clips, see ``bn_clips``), and their running statistics,
  which the test then uses, drift to those of the labelled videos. The feature is used as it is.

Neither decays the weights; give ``optim.weight_decay=0``. The quick probe on stored features is
:mod:`cvrl.evaluation.protocols.linear`.

Deviations: the initial weights of the layer are torch's; with ``bn_clips`` the running statistics
move once a group, where SlowFast's move once a step, by those of its first GPU.

Shapes: B videos on this rank, V views, N = B V clips, D dimensions, K classes.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError

Protocol = Literal["cvrl", "slowfast"]


class LinearProbe(Task):
    """The mean cross entropy of a linear layer on the features of an encoder that stays as it is.

    Args:
        encoder: maps clips (N, C, T, H, W) to features (N, encoder.dim); its weights get no
            gradient.
        class_names: of the K classes; filled in from the data.
        protocol: ``cvrl`` or ``slowfast``. It has no default, since the two measure other things.
        bn_clips: with ``slowfast``, clips that batch norms see together, whatever the number of
            devices; where a device's share is no multiple of it, its groups have a few more.
            SlowFast trains on 8 a GPU. None: all of a device, or with ``train.sync_bn`` of all.

    Raises:
        UserError: an unknown protocol, or groups for batch norms that see none.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = LinearProbe(build_encoder("r3d_small"), class_names=["a"], protocol="cvrl")
        >>> task.classifier.protocol, task.train().encoder.training, task.classifier.unit_length
        ('linear probe, cvrl', False, True)
    """

    accepts = frozenset({"clips"})
    needs_labels = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        class_names: Sequence[str],
        protocol: Protocol,
        bn_clips: int | None = None,
    ) -> None:
        super().__init__()
        if protocol not in ("cvrl", "slowfast"):
            remedy = "use cvrl or slowfast"
            raise UserError("method.protocol", f"unknown value '{protocol}'", remedy)
        if bn_clips is not None:
            check_range("method.bn_clips", bn_clips, "[2, inf)")
            if protocol != "slowfast":
                reason = f"goes with protocol slowfast: batch norms of {protocol} see no batch"
                raise UserError(f"method.bn_clips = {bn_clips}", reason, "leave it out")
        self.bn_clips = bn_clips
        self.local_batchnorm = bn_clips is not None  # see convert_sync_batchnorm
        self.encoder = encoder.requires_grad_(False)
        self.live_bn = protocol == "slowfast"
        self.classifier = ClassHead(
            encoder.dim,
            class_names,
            unit_length=protocol == "cvrl",
            protocol=f"linear probe, {protocol}",
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy and top-1; see :meth:`cvrl.task.Task.forward`."""
        label_N = batch.labels_B.repeat_interleave(batch.clips_BVCTHW.shape[1])
        with torch.no_grad():
            h_ND = self._features(batch.clips_BVCTHW.flatten(0, 1))
        logits_NK = self.classifier(h_ND)
        loss_N = F.cross_entropy(logits_NK, label_N, reduction="none")
        return {
            "loss": dist.global_mean(loss_N),
            "train_top1": (logits_NK.argmax(dim=1) == label_N).float().mean().detach(),
        }

    def train(self, mode: bool = True) -> "LinearProbe":
        """As every module's, but for the encoder, which only a live batch norm trains."""
        super().train(mode)
        self.encoder.train(mode and self.live_bn)
        return self

    def _features(self, clips_NCTHW: Tensor) -> Tensor:
        """Features of all clips; batch norms see ``bn_clips`` of them at a time."""
        groups = max(1, len(clips_NCTHW) // (self.bn_clips or len(clips_NCTHW)))
        return torch.cat([self.encoder(part) for part in clips_NCTHW.tensor_split(groups)])


METHOD = LinearProbe
