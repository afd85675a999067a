r"""Temporal contrast within a video, beside instance contrast between videos.

Dave et al., "TCLR: Temporal Contrastive Learning for Video Representation" (arXiv 2101.07974). With
z_n and z'_n the projections of local clip n under two augmentations, and s_n that of slice n of the
feature map of the global clip, h(a, b) = exp(a . b / tau), and one head for all,

.. math:: L_{LL} = -\log \frac{h(z_n, z'_n)}{\sum_{m \ne n} h(z_n, z_m) + \sum_m h(z_n, z'_m)}
.. math:: L_{GL} = -\log \frac{h(z_n, s_n)}{\sum_m h(z_n, s_m)}
    - \log \frac{h(s_n, z_n)}{\sum_m h(s_n, z_m)}

and L_IC is InfoNCE between videos, of the global clips and of the local ones. L = L_IC + L_LL +
L_GL.

Deviations: every term is a mean over its anchors, pairs and directions, where the code sums some of
them; videos that are too short for different pieces take part in L_IC only.

Shapes: B videos on this rank, N local clips, V = 2 + 2 N clips, D dimensions, M rows.
"""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.contrastive import info_nce
from cvrl.methods.simclr import contrast_top1
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError


class TCLR(Task):
    """Pieces of a video differ from each other, and each is like its part of the whole.

    Args:
        encoder: maps clips (M, C, T, H, W) to maps and features with encoder.dim channels. Its last
            map needs a time step for each local clip.
        order_classes: N; filled in from the views.
        local_weight: of L_LL, >= 0.
        global_weight: of L_GL, >= 0.
        temperature: tau of all terms, > 0.
        hidden: width of the projection head's hidden layers.
        hidden_layers: their number.
        dim: D.

    Raises:
        UserError: a number out of range; in the first step, an encoder with too few time steps.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder = build_encoder("r3d_small", time_strides=[1, 2, 1, 1])
        >>> TCLR(encoder, order_classes=4).see(torch.rand(1, 10, 3, 8, 48, 48))[1].shape
        torch.Size([1, 2, 4, 128])
    """

    accepts = frozenset({"global_local"})
    needs_negatives = True
    least_clips = 6
    projector: nn.Module

    def __init__(
        self,
        encoder: Encoder,
        *,
        order_classes: int,
        local_weight: float = 1.0,
        global_weight: float = 1.0,
        temperature: float = 0.1,
        hidden: int = 512,
        hidden_layers: int = 1,
        dim: int = 128,
    ) -> None:
        super().__init__()
        check_range("method.local_weight", local_weight, "[0, inf)")
        check_range("method.global_weight", global_weight, "[0, inf)")
        check_range("method.temperature", temperature, "(0, inf)")
        self.encoder = encoder
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim)
        self.pieces = order_classes
        self.local_weight = local_weight
        self.global_weight = global_weight
        self.temperature = temperature

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The three losses and their weighted sum; see :meth:`cvrl.task.Task.forward`."""
        z_BVD, s_B2ND = self.see(batch.clips_BVCTHW)
        z_B2ND = z_BVD[:, 2:].reshape(len(z_BVD), 2, self.pieces, -1)
        has_pieces_B = batch.order_BV[:, 2] >= 0
        local_B = local_local(z_B2ND[:, 0], z_B2ND[:, 1], self.temperature)
        global_B = torch.stack(
            [
                global_local(z_B2ND[:, a], s_B2ND[:, b], self.temperature)
                for a, b in product(range(2), repeat=2)
            ]
        ).mean(dim=0)
        instance = self._instance(z_BVD[:, :2], z_B2ND, batch.group_id_B)
        local, whole = (dist.global_mean(loss_B[has_pieces_B]) for loss_B in (local_B, global_B))
        top1_B = piece_top1(z_B2ND[:, 0], z_B2ND[:, 1])[has_pieces_B]
        return {
            "loss": instance + self.local_weight * local + self.global_weight * whole,
            "instance_loss": instance.detach(),
            "local_loss": local.detach(),
            "global_loss": whole.detach(),
            "pretext_top1": top1_B.sum() / max(1, len(top1_B)),
            "contrast_top1": contrast_top1(z_BVD[:, 0], z_BVD[:, 1]),
            "unlabelled": 1 - has_pieces_B.float().mean(),
            "embedding_ND": F.normalize(z_BVD.detach().float().flatten(0, 1), dim=1),
        }

    def see(self, clips_BVCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Projections of all clips, (B, V, D), and of the global clips' slices, (B, 2, N, D)."""
        B, V = clips_BVCTHW.shape[:2]
        maps = self.encoder.stages(clips_BVCTHW.flatten(0, 1))
        h_MD, map_MDT = maps["pooled"], maps["res5"].mean(dim=(3, 4))
        if map_MDT.shape[2] < self.pieces:
            raise UserError(
                f"encoder.name = {self.encoder.spec['name']}",
                f"makes {map_MDT.shape[2]} time steps of a clip, fewer than {self.pieces} pieces",
                "use r3d_small with encoder.time_strides=[1, 2, 1, 1], or more clip.frames",
            )
        whole_MDT = map_MDT.view(B, V, *map_MDT.shape[1:])[:, :2].flatten(0, 1)
        slice_MD = F.adaptive_avg_pool1d(whole_MDT, self.pieces).mT.flatten(0, 1)
        z_MD: Tensor = self.projector(torch.cat([h_MD, slice_MD]))
        z_BVD, s_B2ND = z_MD[: B * V].view(B, V, -1), z_MD[B * V :].view(B, 2, self.pieces, -1)
        return z_BVD, s_B2ND

    def _instance(self, whole_B2D: Tensor, z_B2ND: Tensor, group_id_B: Tensor) -> Tensor:
        """L_IC: the mean of that of the global clips and that over all pairs of local ones."""

        def contrast(one_BD: Tensor, other_BD: Tensor) -> Tensor:
            return info_nce(one_BD, other_BD, self.temperature, group_id_B)

        pairs = product(range(self.pieces), repeat=2)
        pieces = [contrast(z_B2ND[:, 0, n], z_B2ND[:, 1, m]) for n, m in pairs]
        return (contrast(whole_B2D[:, 0], whole_B2D[:, 1]) + torch.stack(pieces).mean()) / 2


def local_local(one_BND: Tensor, other_BND: Tensor, temperature: float) -> Tensor:
    """L_LL of each video, the mean over its local clips under both augmentations.

    Args:
        one_BND: projections of the local clips, any norm.
        other_BND: those under the other augmentation, in the same order.
        temperature: tau > 0.

    Returns:
        (B,), float32 (float64 for float64 input) under autocast too.

    Example:
        >>> z_BND = torch.eye(2)[None]
        >>> round(local_local(z_BND, z_BND, 1.0).item(), 6)  # log(e + 2) - 1
        0.551445
    """
    with torch.autocast(one_BND.device.type, enabled=False):
        z_BMD = _unit(torch.cat([one_BND, other_BND], dim=1))
        itself_MM = torch.eye(z_BMD.shape[1], dtype=torch.bool, device=z_BMD.device)
        score_BMM = (z_BMD @ z_BMD.mT / temperature).masked_fill(itself_MM, -torch.inf)
        partner_M = torch.arange(z_BMD.shape[1], device=z_BMD.device).roll(one_BND.shape[1])
        return _mean_cross_entropy(score_BMM, partner_M)


def global_local(local_BND: Tensor, slice_BND: Tensor, temperature: float) -> Tensor:
    """L_GL of each video, the mean over its pieces and the two directions.

    Args:
        local_BND: projections of the local clips, any norm.
        slice_BND: those of the slices of the global clip, in the same order.
        temperature: tau > 0.

    Returns:
        (B,), float32 (float64 for float64 input) under autocast too.

    Example:
        >>> z_BND = torch.eye(2)[None]
        >>> round(global_local(z_BND, z_BND, 1.0).item(), 6)  # log(e + 1) - 1
        0.313262
    """
    with torch.autocast(local_BND.device.type, enabled=False):
        score_BNN = _unit(local_BND) @ _unit(slice_BND).mT / temperature
        own_N = torch.arange(score_BNN.shape[1], device=score_BNN.device)
        there_B, back_B = (_mean_cross_entropy(s_BNN, own_N) for s_BNN in (score_BNN, score_BNN.mT))
        return (there_B + back_B) / 2


@torch.no_grad()
def piece_top1(one_BND: Tensor, other_BND: Tensor) -> Tensor:
    """The share of a video's local clips whose nearest other copy is their own, (B,).

    Example:
        >>> piece_top1(torch.eye(2)[None], torch.eye(2)[None]).tolist()
        [1.0]
    """
    nearest_BN = (_unit(one_BND) @ _unit(other_BND).mT).argmax(dim=2)
    own_N = torch.arange(one_BND.shape[1], device=one_BND.device)
    return (nearest_BN == own_N).float().mean(dim=1)


def _mean_cross_entropy(score_BMK: Tensor, target_M: Tensor) -> Tensor:
    target_BM = target_M.expand(len(score_BMK), -1)
    return F.cross_entropy(score_BMK.mT, target_BM, reduction="none").mean(dim=1)


def _unit(z_BND: Tensor) -> Tensor:
    precise = z_BND if z_BND.dtype == torch.float64 else z_BND.float()
    return F.normalize(precise, dim=-1)


METHOD = TCLR
