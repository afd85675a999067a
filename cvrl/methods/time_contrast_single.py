"""Time-contrastive networks on one camera: what is near in time is alike, what is far is not.

Paper: Sermanet et al., "Time-Contrastive Networks: Self-Supervised Learning from Video"
(arXiv 1704.06888), section 3.2: positives lie within a radius of 0.2 s, negatives beyond twice
that, semi-hard triplets of margin 0.2.

Deviations: short clips in place of frames, and an MLP head on the pooled feature; an anchor without
a negative is left out, where the code gives it margin + D_ap; windows of several videos fill a
batch, and are negatives of each other only if asked for.

Shapes: B videos on this rank, V clips of each; N = B V clips; D dimensions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.metric import semi_hard_triplet, time_masks
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils.errors import UserError


class TimeContrastSingle(Task):
    """Clips within a radius of time attract, clips beyond twice the radius repel.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        radius: seconds from the start of one clip to that of another, > 0.
        margin: in squared distances of unit vectors.
        other_videos: whether all clips of other videos (of other groups) are negatives, too.
        hidden: width of the head's hidden layers.
        hidden_layers: their number.
        dim: D, the size of z.

    Raises:
        UserError: a number out of range.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = TimeContrastSingle(build_encoder("r3d_small"), hidden=64)
        >>> task.projector(torch.zeros(2, task.encoder.dim)).shape
        torch.Size([2, 32])
    """

    accepts = frozenset({"window"})
    least_clips = 3
    projector: nn.Module

    def __init__(
        self,
        encoder: Encoder,
        *,
        radius: float = 0.2,
        margin: float = 0.2,
        other_videos: bool = False,
        hidden: int = 512,
        hidden_layers: int = 1,
        dim: int = 32,
    ) -> None:
        super().__init__()
        if not radius > 0 or margin < 0:
            raise UserError("method", "needs radius > 0 and margin >= 0")
        self.encoder = encoder
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim)
        self.radius = radius
        self.margin = margin
        self.other_videos = other_videos

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Triplets over the global batch; see :meth:`cvrl.task.Task.forward`."""
        V = batch.clips_BVCTHW.shape[1]
        z_ND = self.projector(self.encoder(batch.clips_BVCTHW.flatten(0, 1)))
        near_NK, far_NK = time_masks(
            batch.video_id_B.repeat_interleave(V),
            batch.time_BV.flatten(),
            batch.group_id_B.repeat_interleave(V),
            near=self.radius,
            far=2 * self.radius,
            other_videos=self.other_videos,
        )
        return {
            "loss": semi_hard_triplet(z_ND, near_NK, far_NK, margin=self.margin),
            **order_top1(z_ND, batch.time_BV, self.radius),
            "embedding_ND": F.normalize(z_ND.detach().float()),
        }


@torch.no_grad()
def order_top1(z_ND: Tensor, time_BV: Tensor, radius: float) -> dict[str, Tensor]:
    """How often everything near a clip in time is nearer to it than anything far, in its window.

    Args:
        z_ND: embeddings of this rank's clips.
        time_BV: their starts in seconds.
        radius: as of :class:`TimeContrastSingle`.

    Returns:
        ``pretext_top1``, a share of the clips that have both near and far ones, 0 where none has;
        ``pretext_chance``, what distances in random order give: n! m! / (n + m)! for n near and m
        far.

    Example:
        >>> z, time = torch.eye(4)[[0, 0, 1, 1]], torch.tensor([[0.0, 0.1, 1.0, 1.1]])
        >>> {name: round(float(share), 3) for name, share in order_top1(z, time, 0.2).items()}
        {'pretext_top1': 1.0, 'pretext_chance': 0.333}
    """
    z_BVD = F.normalize(z_ND.float()).view(*time_BV.shape, -1)
    similar_BVV = z_BVD @ z_BVD.transpose(1, 2)
    apart_BVV = (time_BV[:, :, None] - time_BV[:, None]).abs()
    near_BVV = (apart_BVV <= radius + 1e-6) & ~_itself(apart_BVV)
    far_BVV = apart_BVV > 2 * radius + 1e-6
    least_BV = similar_BVV.masked_fill(~near_BVV, torch.inf).amin(dim=-1)
    most_BV = similar_BVV.masked_fill(~far_BVV, -torch.inf).amax(dim=-1)
    n_BV, m_BV = near_BVV.sum(dim=-1).float(), far_BVV.sum(dim=-1).float()
    orders_BV = torch.lgamma(n_BV + m_BV + 1) - torch.lgamma(n_BV + 1) - torch.lgamma(m_BV + 1)
    both_BV = (n_BV > 0) & (m_BV > 0)
    right_BV = (least_BV > most_BV) & both_BV
    clips = both_BV.sum().clamp(min=1)
    return {
        "pretext_top1": right_BV.float().sum() / clips,
        "pretext_chance": ((-orders_BV).exp() * both_BV).sum() / clips,
    }


def _itself(apart_BVV: Tensor) -> Tensor:
    return torch.eye(apart_BVV.shape[-1], dtype=torch.bool, device=apart_BVV.device)


METHOD = TimeContrastSingle
