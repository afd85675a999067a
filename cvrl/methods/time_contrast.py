"""Time-contrastive networks on several cameras: what they see at one moment is alike.

Paper: Sermanet et al., "Time-Contrastive Networks: Self-Supervised Learning from Video"
(arXiv 1704.06888), section 3.1, with the n-pairs loss of its best rows, or triplets.

Deviations: a moment is a short clip, not a frame, seen by a video network of ours. Each clip is an
anchor, so both directions count, and is told from both clips of every other moment; the code has
one direction, and the clips across. Identities are (event, time): the code numbers moments within
an event, which mixes events up in one batch. Moments within ``gap`` are left out, where the code
takes them for negatives; so are other events, unless asked for. The head is an MLP on the pooled
feature in place of convolutions and a spatial softmax.

Shapes: B events on this rank, V = 2 M clips of each, clips 2m and 2m + 1 of moment m; N = B V clips
on this rank and K on all; D dimensions.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.metric import n_pairs, places_of, semi_hard_triplet, time_masks
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.checks import nearest
from cvrl.utils.errors import UserError


class TimeContrast(Task):
    """Clips of one moment attract, clips of other moments of the event repel.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        loss: ``n_pairs``, or ``triplet`` with semi-hard negatives.
        temperature: of n-pairs, > 0; the paper has none, which is 1.
        normalise: n-pairs on cosines in place of plain products.
        norm_weight: of the mean squared norm under n-pairs; TCN's code has 0.25 * 0.002 for the
            anchors' mean and as much for the positives', 0.001 together.
        margin: of triplets, in squared distances of unit vectors.
        gap: seconds; moments no farther apart are left out.
        other_events: whether all clips of other events (of other groups) are negatives, too.
        hidden: width of the head's hidden layers.
        hidden_layers: their number.
        dim: D, the size of z.

    Raises:
        UserError: an unknown loss, or a number out of range.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = TimeContrast(build_encoder("r3d_small"), loss="triplet", hidden=64)
        >>> task.projector(torch.zeros(2, task.encoder.dim)).shape
        torch.Size([2, 32])
    """

    accepts = frozenset({"synchronised"})
    least_clips = 4
    projector: nn.Module

    def __init__(
        self,
        encoder: Encoder,
        *,
        loss: Literal["n_pairs", "triplet"] = "n_pairs",
        temperature: float = 1.0,
        normalise: bool = False,
        norm_weight: float = 0.001,
        margin: float = 0.2,
        gap: float = 0.2,
        other_events: bool = False,
        hidden: int = 512,
        hidden_layers: int = 1,
        dim: int = 32,
    ) -> None:
        super().__init__()
        if not temperature > 0 or min(norm_weight, margin, gap) < 0:
            reason = "needs temperature > 0, and norm_weight, margin and gap >= 0"
            raise UserError("method", reason)
        pairs = partial(
            n_pairs, temperature=temperature, norm_weight=norm_weight, normalize=normalise
        )
        losses = {"n_pairs": pairs, "triplet": partial(semi_hard_triplet, margin=margin)}
        if loss not in losses:
            raise UserError(f"method.loss = {loss}", "is not known", nearest(loss, losses))
        self.encoder = encoder
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim)
        self.loss = losses[loss]
        self.gap = gap
        self.other_events = other_events

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss over all moments of the global batch; see :meth:`cvrl.task.Task.forward`."""
        V = batch.clips_BVCTHW.shape[1]
        z_ND = self.projector(self.encoder(batch.clips_BVCTHW.flatten(0, 1)))
        _, negative_NK = time_masks(
            batch.video_id_B.repeat_interleave(V),
            batch.time_BV.flatten(),
            batch.group_id_B.repeat_interleave(V),
            near=0.0,
            far=self.gap,
            other_videos=self.other_events,
        )
        return {
            "loss": self.loss(z_ND, partners(z_ND), negative_NK),
            **moment_top1(z_ND, batch.order_BV),
            "embedding_ND": F.normalize(z_ND.detach().float()),
        }


def partners(z_ND: Tensor) -> Tensor:
    """Mark the other clip of each clip's moment: boolean (N, K).

    Example:
        >>> partners(torch.zeros(4, 2)).int().tolist()
        [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    """
    K = sum(dist.row_counts(z_ND))
    return (places_of(z_ND) ^ 1)[:, None] == torch.arange(K, device=z_ND.device)


@torch.no_grad()
def moment_top1(z_ND: Tensor, camera_BV: Tensor) -> dict[str, Tensor]:
    """How often a clip's nearest clip of the other camera, within its event, shows its moment.

    The other camera is the one that its moment was seen by, too.

    Args:
        z_ND: embeddings of this rank's clips.
        camera_BV: the camera of each clip.

    Returns:
        ``pretext_top1``, a share of the clips, and ``pretext_chance``, what guessing gives.

    Example:
        >>> z, camera = torch.tensor([0.0, 0.1, 1.0, 0.9])[:, None], torch.tensor([[0, 1, 1, 0]])
        >>> {name: float(share) for name, share in moment_top1(z, camera).items()}
        {'pretext_top1': 1.0, 'pretext_chance': 0.5}
    """
    B, V = camera_BV.shape
    z_BVD = z_ND.float().view(B, V, -1)
    distance_BVV = (z_BVD[:, :, None] - z_BVD[:, None]).square().sum(dim=-1)
    partner_V = torch.arange(V, device=z_ND.device) ^ 1
    there_BVV = camera_BV[:, partner_V, None] == camera_BV[:, None]
    nearest_BV = distance_BVV.masked_fill(~there_BVV, torch.inf).argmin(dim=-1)
    return {
        "pretext_top1": (nearest_BV == partner_V).float().mean(),
        "pretext_chance": (1 / there_BVV.sum(dim=-1)).mean(),
    }


METHOD = TimeContrast
