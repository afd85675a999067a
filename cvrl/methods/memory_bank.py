"""Instance discrimination against a memory of every video; with two branches it is PIRL.

Papers: Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (NPID,
arXiv 1805.01978), eq. 2 and 4 to 7; Misra and van der Maaten, "Self-Supervised Learning of
Pretext-Invariant Representations" (PIRL, arXiv 1912.01991), eq. 5: clip and transformed clip are
both told by the clip's own entry in the memory, never by each other.

Deviations: one set of negatives is drawn a step, without repeats, and shared by all videos and
ranks, where the codes draw for each image, with repeats; a video's own entry and those of its
source group are never its negatives, in the codes they may be; both branches share one head, since
any views can stand in the second. Entries are written after the optimiser's step, not in the
backward pass.

Shapes: B videos on this rank, V views, N videos in the bank, K negatives, S = 1 + K scores, D
dimensions.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.memory import (
    are_negatives,
    memory_info_nce,
    memory_nce,
    memory_scores,
    memory_top1,
    nce_log_constant,
)
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.models.memory import Bank
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.checks import check_range
from cvrl.utils.seed import torch_generator


class MemoryBank(Task):
    """Every view of a video finds the video's entry in the bank among drawn others.

    View 0 is the clip itself: it alone is written to the bank. Further views, if any, are the
    branch that should be told by the same entry: another clip, or the clip jigsawed.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        videos: N of the training data; filled in.
        temperature: tau of the loss, > 0.
        negatives_drawn: K a step; all of the bank where it has no more.
        momentum: share of the old entry at an update, in [0, 1].
        loss: ``info_nce``, the softmax over the drawn entries, or ``nce``, noise-contrastive
            estimation of the softmax over all, with a constant kept from the first batch.
        view_weight: lambda, share of the further views in the loss, in [0, 1]; view 0 has the rest.
        hidden: width of the projection head's hidden layers.
        hidden_layers: their number; 0 is the papers' linear head.
        dim: D, the size of z.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = MemoryBank(build_encoder("r3d_small"), videos=50)
        >>> tuple(task.bank.entry_ND.shape)
        (50, 128)
    """

    accepts = frozenset({"clips"})
    projector: nn.Module
    step: Tensor
    log_constant: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        videos: int,
        temperature: float = 0.07,
        negatives_drawn: int = 4096,
        momentum: float = 0.5,
        loss: Literal["info_nce", "nce"] = "info_nce",
        view_weight: float = 0.5,
        hidden: int = 2048,
        hidden_layers: int = 0,
        dim: int = 128,
    ) -> None:
        super().__init__()
        check_range("method.temperature", temperature, "(0, inf)")
        check_range("method.momentum", momentum, "[0, 1]")
        check_range("method.negatives_drawn", negatives_drawn, "[1, inf)")
        check_range("method.view_weight", view_weight, "[0, 1]")
        self.encoder = encoder
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim)
        self.bank = Bank(videos, dim)
        self.temperature = temperature
        self.negatives_drawn = negatives_drawn
        self.momentum = momentum
        self.loss_of = {"info_nce": self._info_nce, "nce": self._nce}[loss]
        self.view_weight = view_weight
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("log_constant", torch.zeros(()))
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self.first_constants: list[Tensor] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The branches' weighted loss; see :meth:`cvrl.task.Task.forward`."""
        z_VBD = self.project_views(batch.clips_BVCTHW)
        drawn_K = self._draw().to(z_VBD.device)
        is_negative_BK = are_negatives(
            batch.video_id_B, batch.group_id_B, drawn_K, self.bank.group_N[drawn_K]
        )
        own_BD, entry_KD = self.bank.entry_ND[batch.video_id_B], self.bank.entry_ND[drawn_K]
        scores = [
            memory_scores(z_BD, own_BD, entry_KD, is_negative_BK, self.temperature)
            for z_BD in z_VBD
        ]
        self._remember(z_VBD[0], batch)
        embedding_ND = F.normalize(z_VBD.detach().float().flatten(0, 1), dim=1)
        top1 = {f"contrast_top1_view{v}": memory_top1(s_BS) for v, s_BS in enumerate(scores)}
        return {"loss": self._branches(self.loss_of(scores)), **top1, "embedding_ND": embedding_ND}

    def after_step(self, step: int) -> None:
        """Write what was seen into the bank."""
        if self.first_constants and not int(self.step):
            total = torch.stack(self.first_constants).logsumexp(dim=0)
            self.log_constant.copy_(total - math.log(len(self.first_constants)))
        if self.seen:
            video_M, z_MD, group_M = (torch.cat(rows) for rows in zip(*self.seen, strict=True))
            self.bank.update(video_M, z_MD, group_M, self.momentum)
        self.seen, self.first_constants = [], []
        self.step.fill_(step + 1)

    def _draw(self) -> Tensor:
        """K different videos of the bank, a function of the step: the same on every rank."""
        order_N = torch.randperm(len(self.bank.entry_ND), generator=torch_generator(int(self.step)))
        return order_N[: self.negatives_drawn]

    def _branches(self, loss_V: Tensor) -> Tensor:
        if len(loss_V) == 1:
            return loss_V[0]
        return (1.0 - self.view_weight) * loss_V[0] + self.view_weight * loss_V[1:].mean()

    def _info_nce(self, scores: list[Tensor]) -> Tensor:
        return torch.stack([memory_info_nce(scores_BS) for scores_BS in scores])

    def _nce(self, scores: list[Tensor]) -> Tensor:
        """With the constant of the first batch, which :meth:`after_step` keeps."""
        log_constant = self.log_constant
        if not int(self.step):
            log_constant = nce_log_constant(torch.cat(scores))
            self.first_constants.append(log_constant)
        return torch.stack([memory_nce(scores_BS, log_constant) for scores_BS in scores])

    @torch.no_grad()
    def _remember(self, z_BD: Tensor, batch: Batch) -> None:
        unit_BD = F.normalize(z_BD.to(self.bank.entry_ND.dtype), dim=1)
        rows = (batch.video_id_B, unit_BD, batch.group_id_B)
        video_G, unit_GD, group_G = (dist.gather(row) for row in rows)
        self.seen.append((video_G, unit_GD, group_G))


METHOD = MemoryBank
