"""Fine-tuning: an encoder that has learnt something goes on to learn the classes of the data.

With random weights it is training from scratch with the same recipe. What each part is from: layer-
wise learning rates, BEiT (Bao et al., arXiv 2106.08254, app. H), here a layer a stage; label
smoothing, Szegedy et al. (arXiv 1512.00567, sec. 7); mixup, Zhang et al. (arXiv 1710.09412, eq. 1);
dropout on the pooled feature (Feichtenhofer et al., arXiv 2104.14558, take 0.8 on UCF101); a moving
average of the weights (Polyak and Juditsky, 1992).

Deviations: mixup pairs the videos of one rank, each rank with a share of its own.

Shapes: B videos on this rank, V views, N = B V clips, K classes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.models.backbones import Encoder
from cvrl.models.batchnorm import freeze_batchnorm
from cvrl.models.ema import EMA
from cvrl.models.heads import ClassHead
from cvrl.task import Task, parameter_groups
from cvrl.utils import dist
from cvrl.utils.checks import check_range


class Finetune(Task):
    """The mean cross entropy of every clip with the label of its video.

    Args:
        encoder: maps clips (N, C, T, H, W) to features (N, encoder.dim).
        class_names: of the K classes; filled in from the data.
        layer_decay: the classifier learns at the schedule's rate, res5 at this times it, res4 at
            its square, and so on down to the stem (of a transformer: block by block); 1 lets all
            learn alike. In (0, 1].
        encoder_lr: learning rate of the encoder relative to the classifier's, on top of
            ``layer_decay``; above 0.
        head_share: share of the run in which the classifier alone learns, on features of the
            frozen encoder; the rest trains both (LP-FT, Kumar et al., arXiv 2202.10054). In
            [0, 1]. With random weights there is nothing to keep: leave it 0.
        total_steps: length of the run; set by the trainer.
        frozen_bn: whether the encoder's batch norms use the statistics they came with, as suits
            small batches and few videos. With random weights there are none worth keeping.
        dropout: probability of dropping a feature, in [0, 1).
        label_smoothing: share of the target spread over all classes, in [0, 1).
        mixup: alpha of the Beta(alpha, alpha) that the share of a mixed-in video is drawn from;
            0 mixes nothing.
        average: momentum of the moving average of the weights, which is what is kept in the end,
            in [0, 1); 0 keeps the weights as they are after the last step. It starts with the
            first step, so give it a small part of the run: 0.99 looks back some 100 steps.

    Raises:
        UserError: a number out of its range.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = Finetune(build_encoder("r3d_small"), class_names=["a", "b"], layer_decay=0.5)
        >>> [group["lr_scale"] for group in task.param_groups(0.0)[::2]]
        [0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0]
    """

    accepts = frozenset({"clips"})
    needs_labels = True
    step: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        class_names: Sequence[str],
        total_steps: int = 0,
        layer_decay: float = 1.0,
        encoder_lr: float = 1.0,
        head_share: float = 0.0,
        frozen_bn: bool = False,
        dropout: float = 0.5,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        average: float = 0.0,
    ) -> None:
        super().__init__()
        check_range("method.layer_decay", layer_decay, "(0, 1]")
        check_range("method.encoder_lr", encoder_lr, "(0, inf)")
        check_range("method.head_share", head_share, "[0, 1]")
        check_range("method.dropout", dropout, "[0, 1)")
        check_range("method.label_smoothing", label_smoothing, "[0, 1)")
        check_range("method.mixup", mixup, "[0, inf)")
        check_range("method.average", average, "[0, 1)")
        self.encoder = encoder
        self.classifier = ClassHead(
            encoder.dim, class_names, dropout=dropout, protocol="fine-tuned"
        )
        self.layer_decay, self.encoder_lr = layer_decay, encoder_lr
        self.head_steps = round(head_share * total_steps)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=head_share > 0)
        self.frozen_bn = frozen_bn
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.momentum = average
        self.average: EMA | None = None
        if average > 0:
            self.average = EMA(nn.ModuleDict({"encoder": encoder, "classifier": self.classifier}))

    @property
    def kept_encoder(self) -> Encoder:
        """The average, where there is one."""
        return cast(Encoder, self._kept("encoder"))

    @property
    def class_head(self) -> ClassHead:
        """The classifier, or the average of it where there is one."""
        return cast(ClassHead, self._kept("classifier"))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy, and top-1 by the likelier of two mixed labels."""
        clips_BVCTHW = batch.clips_BVCTHW
        target_BK = F.one_hot(batch.labels_B, self.classifier.out_features).double()
        if self.training and self.mixup > 0:
            clips_BVCTHW, target_BK = mix(clips_BVCTHW, target_BK, alpha=self.mixup)
        h_ND = self._features(clips_BVCTHW.flatten(0, 1))
        logits_NK = self.classifier(h_ND)
        target_NK = target_BK.repeat_interleave(clips_BVCTHW.shape[1], dim=0).to(logits_NK.dtype)
        loss_N = F.cross_entropy(
            logits_NK, target_NK, reduction="none", label_smoothing=self.label_smoothing
        )
        return {
            "loss": dist.global_mean(loss_N),
            "train_top1": (logits_NK.argmax(1) == target_NK.argmax(1)).float().mean().detach(),
            "embedding_ND": F.normalize(h_ND.detach().float()),
        }

    def after_step(self, step: int) -> None:
        """Update the average of the weights."""
        self.step.fill_(step + 1)
        if self.average is not None:
            source = nn.ModuleDict({"encoder": self.encoder, "classifier": self.classifier})
            self.average.update(source, self.momentum)

    def train(self, mode: bool = True) -> "Finetune":
        """As every module's, but for batch norms that are to stay as they are."""
        super().train(mode)
        if self.frozen_bn:
            freeze_batchnorm(self.encoder)
        return self

    def param_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Two groups a layer, from the input up; see :meth:`cvrl.task.Task.param_groups`."""
        layers = [*self.encoder.layers, list(self.classifier.parameters())]
        groups: list[dict[str, Any]] = []
        for above, layer in enumerate(reversed(layers)):
            scale = self.layer_decay**above * (self.encoder_lr if above else 1.0)
            groups = parameter_groups(layer, weight_decay, lr_scale=scale) + groups
        return groups

    def _features(self, clips_NCTHW: Tensor) -> Tensor:
        """The encoder's features; while the classifier alone learns, those of the frozen encoder.

        Its gradients are then zero rather than absent, since DDP waits for every one of them.
        """
        if not self.training or int(self.step) >= self.head_steps:
            h_ND: Tensor = self.encoder(clips_NCTHW)
            return h_ND
        freeze_batchnorm(self.encoder)
        h_ND = self.encoder(clips_NCTHW)
        return h_ND.detach() + 0.0 * h_ND

    def _kept(self, name: str) -> object:
        return getattr(self if self.average is None else self.average.module, name)


def mix(clips_BVCTHW: Tensor, target_BK: Tensor, *, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend every video with another one of the batch, and their targets alike.

    ``x = lambda x_i + (1 - lambda) x_j``, ``lambda ~ Beta(alpha, alpha)`` once a batch, ``j`` a
    random permutation. Drawn from torch's own generator, which the loop seeds with the step.

    Args:
        clips_BVCTHW: floats.
        target_BK: shares of the classes, which sum to 1.
        alpha: > 0; small values mix little.

    Returns:
        The mixed clips and targets.

    Example:
        >>> clips, targets = mix(torch.rand(2, 1, 3, 1, 1, 1), torch.eye(2), alpha=1.0)
        >>> targets.sum(dim=1).tolist()
        [1.0, 1.0]
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other_B = torch.randperm(len(clips_BVCTHW)).to(clips_BVCTHW.device)
    clips_BVCTHW = share * clips_BVCTHW + (1 - share) * clips_BVCTHW[other_B]
    return clips_BVCTHW, share * target_BK + (1 - share) * target_BK[other_B]


METHOD = Finetune
