"""SimCLR on video clips, which with sampled intervals is CVRL.

Papers: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations"
(arXiv 2002.05709), eq. 1; Qian et al., "Spatiotemporal Contrastive Video Representation Learning"
(arXiv 2008.03800), eq. 1; with more than two clips a video, Feichtenhofer et al.
(arXiv 2104.14558); with intra-video negatives, Tao et al. (IIC, arXiv 2008.02531), sec. 3.3;
with one negative a clip, pairwise NCE, sec. 3 of Lu's survey of contrastive learning (2021); with
small crops as further queries, Caron et al. (SwAV, arXiv 2006.09882), sec. 3.2; with a query and a
key encoder, both trained by gradient, the end-to-end mechanism of He et al. (MoCo, arXiv
1911.05722), fig. 2a.

Deviations: the loss is the mean over all anchors (CVRL's code sums the two directions); clips of
one source group are not negatives of each other; with more than two clips, the loss is averaged
over all pairs; small clips are compared with large ones of all videos and never with each other.

Shapes: B videos on this rank, V views, S small clips, A = V + S, D dimensions. h is the encoder's
feature, z its projection.
"""

import copy
from itertools import combinations, product
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.contrastive import info_nce, nce_pair, nce_pair_of_views, query_info_nce
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.models.initial_weights import init_as_keras
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.errors import UserError


class SimCLR(Task):
    """Clips of one video are positives, clips of other videos in the global batch negatives.

    With ``multi_crop``, the large clips are the keys of every clip; small clips are queries only.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        temperature: tau of the loss, > 0.
        hidden: width of the projection head's hidden layers.
        hidden_layers: number of hidden layers; CVRL has 3.
        dim: D, size of z.
        head_bn_momentum: of the head's batch norm; CVRL's 0.003 suits very long runs.
        loss: ``info_nce``, against all clips of the batch; or ``nce_pair``, against a single one:
            of another video, or where the views make one, the clip's own shuffled copy. Small clips
            are compared by ``info_nce`` only.
        key_encoder: ``shared``: one network encodes queries and keys; ``separate``: keys come from
            a second network, which starts as a copy of the first and is trained by gradient too.
            Only the first is kept.
        negatives: number of trailing clips that are negatives of the others, 0 or 1; set by the
            views.

    Raises:
        UserError: another ``key_encoder``, or a separate one with ``nce_pair``; in the first step,
            small clips with ``nce_pair``.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = SimCLR(build_encoder("r3d_small"), hidden=64, hidden_layers=1)
        >>> task.projector(torch.zeros(2, task.encoder.dim)).shape
        torch.Size([2, 128])
    """

    accepts = frozenset({"clips", "contrast", "crops"})
    needs_negatives = True
    least_clips = 2
    projector: nn.Module

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float = 0.1,
        hidden: int = 2048,
        hidden_layers: int = 3,
        dim: int = 128,
        head_bn_momentum: float = 0.1,
        loss: Literal["info_nce", "nce_pair"] = "info_nce",
        key_encoder: Literal["shared", "separate"] = "shared",
        negatives: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = heads.mlp(
            encoder.dim, hidden, hidden_layers, dim, bn_momentum=head_bn_momentum
        )
        if encoder.spec.get("init") == "cvrl":  # its head is drawn alike
            init_as_keras(self.projector)
        if key_encoder not in ("shared", "separate"):
            known = "use shared or separate"
            raise UserError(f"method.key_encoder = {key_encoder}", "is neither", known)
        if key_encoder == "separate" and loss != "info_nce":
            reason = f"does not go with method.loss={loss}"
            raise UserError("method.key_encoder = separate", reason, "use method.loss=info_nce")
        self.key_network: nn.Module | None = None
        if key_encoder == "separate":
            self.key_network = nn.Sequential(*copy.deepcopy([encoder, self.projector]))
        self.temperature = temperature
        self.loss_of = {"info_nce": self._info_nce, "nce_pair": self._nce_pair}[loss]
        self.negatives = negatives

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss over every pair with a large clip; see :meth:`cvrl.task.Task.forward`."""
        V = batch.clips_BVCTHW.shape[1]
        z_ABD = self.project_crops(batch)
        compare = self._one_network if self.key_network is None else self._two_networks
        return {
            "loss": torch.stack(compare(z_ABD, batch)).mean(),
            "contrast_top1": contrast_top1(z_ABD[0], z_ABD[1]),
            "embedding_ND": F.normalize(z_ABD[:V].detach().float().flatten(0, 1)),
        }

    def _one_network(self, z_ABD: Tensor, batch: Batch) -> list[Tensor]:
        """The loss of every ordered pair: large clips are keys of each other and of small ones."""
        V, groups = batch.clips_BVCTHW.shape[1], batch.group_id_B
        if len(z_ABD) > V and self.loss_of != self._info_nce:
            reason = "does not compare small clips"
            raise UserError("method.loss = nce_pair", reason, "use info_nce or other views")
        z_negative_BD = z_ABD[V - 1] if self.negatives else None
        both_ways = [
            self.loss_of(z_ABD[a], z_ABD[b], groups, z_negative_BD)
            for a, b in combinations(range(V - self.negatives), 2)
        ]
        one_way = [
            query_info_nce(z_ABD[small], z_ABD[v], self.temperature, groups)
            for small, v in product(range(V, len(z_ABD)), range(V))
        ]
        return [*both_ways, *both_ways, *one_way]

    def _two_networks(self, q_ABD: Tensor, batch: Batch) -> list[Tensor]:
        """The loss of every query with the key of every other clip; queries meet keys only."""
        B, V = batch.clips_BVCTHW.shape[:2]
        assert self.key_network is not None
        k_ND = self.key_network(batch.clips_BVCTHW.flatten(0, 1))
        k_VBD = k_ND.view(B, V, -1).transpose(0, 1)
        k_negative_BD = k_VBD[-1] if self.negatives else None
        positives = list(range(V - self.negatives))
        queries = [*positives, *range(V, len(q_ABD))]
        return [
            query_info_nce(q_ABD[a], k_VBD[v], self.temperature, batch.group_id_B, k_negative_BD)
            for a, v in product(queries, positives)
            if a != v
        ]

    def _info_nce(
        self, z_a_BD: Tensor, z_b_BD: Tensor, group_B: Tensor, z_negative_BD: Tensor | None
    ) -> Tensor:
        return info_nce(z_a_BD, z_b_BD, self.temperature, group_B, z_negative_BD)

    def _nce_pair(
        self, z_a_BD: Tensor, z_b_BD: Tensor, group_B: Tensor, z_negative_BD: Tensor | None
    ) -> Tensor:
        if z_negative_BD is None:
            return nce_pair_of_views(z_a_BD, z_b_BD, self.temperature, group_B)
        both = [
            nce_pair(one, other, z_negative_BD, self.temperature, normalize=True)
            for one, other in ((z_a_BD, z_b_BD), (z_b_BD, z_a_BD))
        ]
        return torch.stack(both).mean()


@torch.no_grad()
def contrast_top1(z_a_BD: Tensor, z_b_BD: Tensor) -> Tensor:
    """Fraction of clips whose other view is the nearest of all ranks', in [0, 1].

    Example:
        >>> float(contrast_top1(torch.eye(3), torch.eye(3)))
        1.0
    """
    z_a_MD, z_b_MD = dist.gather(z_a_BD), dist.gather(z_b_BD)
    nearest_M = (F.normalize(z_a_MD.float()) @ F.normalize(z_b_MD.float()).T).argmax(dim=1)
    own_M = torch.arange(len(z_a_MD), device=z_a_MD.device)
    return (nearest_M == own_M).float().mean()


METHOD = SimCLR
