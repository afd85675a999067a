r"""Relative speed perception beside instance discrimination.

Chen et al., "RSPNet: Relative Speed Perception for Unsupervised Video Representation Learning"
(arXiv 2011.07949). With heads g_m and g_a over one encoder, clips c_i and c_j of the same speed and
c_k of another, all of one video, and cosine similarities,

.. math:: L_m = \max(0, \gamma - (d^+ - d^-)), \quad
    d^+ = g_m(c_i) \cdot g_m(c_j), \; d^- = g_m(c_i) \cdot g_m(c_k)

(relative speed perception), and L_a is InfoNCE of g_a with c_i as the anchor and a clip of its
video as the positive, whatever its speed (appearance-focused instance discrimination).
L = lambda L_m + (1 - lambda) L_a.

Deviations: negatives are the clips of the batch and both directions count, where the paper has a
momentum encoder and a queue; L_a is the mean over the positives c_j and c_k, which the authors'
code adds; videos that are too short for two speeds take no part in L_m and are counted.

Shapes: B videos on this rank, V = 3 clips, D dimensions. a and m are projections by g_a and g_m.
"""

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


class RSPNet(Task):
    """Clips of equal speed are alike for one head, clips of one video for the other.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        margin: gamma, in cosines, [0, 2].
        speed_weight: lambda, share of L_m in the loss, in [0, 1].
        temperature: tau of L_a, > 0.
        hidden: width of the heads' hidden layers.
        hidden_layers: their number.
        dim: D.

    Raises:
        UserError: a number out of range.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = RSPNet(build_encoder("r3d_small"), hidden=64)
        >>> task.speed_projector(torch.zeros(2, task.encoder.dim)).shape
        torch.Size([2, 128])
    """

    accepts = frozenset({"relative_speed"})
    needs_negatives = True
    least_clips = 3
    projector: nn.Module

    def __init__(
        self,
        encoder: Encoder,
        *,
        margin: float = 0.15,
        speed_weight: float = 0.5,
        temperature: float = 0.07,
        hidden: int = 512,
        hidden_layers: int = 1,
        dim: int = 128,
    ) -> None:
        super().__init__()
        check_range("method.margin", margin, "[0, 2]")
        check_range("method.speed_weight", speed_weight, "[0, 1]")
        check_range("method.temperature", temperature, "(0, inf)")
        self.encoder = encoder
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim)
        self.speed_projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim)
        self.margin = margin
        self.speed_weight = speed_weight
        self.temperature = temperature

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Both losses and their weighted sum; see :meth:`cvrl.task.Task.forward`."""
        B, V = batch.clips_BVCTHW.shape[:2]
        h_ND = self.encoder(batch.clips_BVCTHW.flatten(0, 1))
        a_VBD, m_VBD = (
            head(h_ND).view(B, V, -1).transpose(0, 1)
            for head in (self.projector, self.speed_projector)
        )
        has_speeds_B = batch.order_BV[:, 0] >= 0
        gap_N = speed_gap(m_VBD)[has_speeds_B]
        speed = dist.global_mean(F.relu(self.margin - gap_N))
        anchor_BD, *positives = a_VBD
        appearance = torch.stack(
            [info_nce(anchor_BD, a_BD, self.temperature, batch.group_id_B) for a_BD in positives]
        ).mean()
        return {
            "loss": self.speed_weight * speed + (1 - self.speed_weight) * appearance,
            "speed_loss": speed.detach(),
            "appearance_loss": appearance.detach(),
            "pretext_top1": (gap_N > 0).float().sum() / max(1, len(gap_N)),
            "pretext_chance": gap_N.new_tensor(0.5),
            "contrast_top1": contrast_top1(a_VBD[0], a_VBD[1]),
            "unlabelled": 1 - has_speeds_B.float().mean(),
            "embedding_ND": F.normalize(a_VBD.detach().float().flatten(0, 1), dim=1),
        }


def speed_gap(m_VBD: Tensor) -> Tensor:
    """By how much c_i is nearer to c_j than to c_k: d+ - d-, in cosines.

    Args:
        m_VBD: projections of the clips c_i, c_j and c_k, any norm.

    Returns:
        (B,), in [-2, 2]; float32 (float64 for float64 input) under autocast too.

    Example:
        >>> m_VBD = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 1.0]]])
        >>> speed_gap(m_VBD).tolist()
        [1.0]
    """
    with torch.autocast(m_VBD.device.type, enabled=False):
        precise = m_VBD if m_VBD.dtype == torch.float64 else m_VBD.float()
        i_BD, j_BD, k_BD = F.normalize(precise, dim=2).unbind()
        return (i_BD * (j_BD - k_BD)).sum(dim=1)


METHOD = RSPNet
