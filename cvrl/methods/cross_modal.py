r"""Contrast between pictures and sound: a clip and the sound under it are a positive pair.

Morgado, Vasconcelos and Misra, "Audio-Visual Instance Discrimination with Cross-Modal Agreement"
(AVID, arXiv 2004.12943); hard negatives of Korbar et al. (AVTS, arXiv 1807.00230). With v a clip's
projection, a that of its sound, and a~ that of sound of another moment of the same video,

.. math:: L = \frac{1}{2} \left(
    -\log \frac{\exp(v_i \cdot a_i / \tau)}{\sum_j \exp(v_i \cdot a_j / \tau)
        + \sum_j \exp(v_i \cdot \tilde a_j / \tau)}
    - \log \frac{\exp(a_i \cdot v_i / \tau)}{\sum_j \exp(a_i \cdot v_j / \tau)} \right)

plus ``in_modal`` times the mean of InfoNCE between two clips of a video and between their sounds
(AVID's joint variant).

Deviations: negatives are those of the batch, where AVID draws from memories of both modalities and
estimates by NCE; AVTS has a margin loss over distances. The in-modal terms take two clips at
different times.

Shapes: B videos on this rank, V clips, W = 2 V windows of sound, M mel bins, F frames of the
spectrogram, D dimensions.
"""

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.contrastive import info_nce, query_info_nce
from cvrl.methods.simclr import contrast_top1
from cvrl.models import heads
from cvrl.models.audio import AudioEncoder
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError


class CrossModal(Task):
    """A clip and its sound attract; other sounds and clips, and misaligned sound, repel.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim). It is what is kept.
        clips: V; filled in from the views.
        temperature: tau, > 0.
        hard_negatives: whether sound of another moment of the video is a negative.
        in_modal: weight of the terms within a modality, >= 0; above 0 it needs two clips.
        audio_width: channels of the audio encoder's stem.
        hidden: width of both projection heads' hidden layers.
        hidden_layers: their number.
        dim: D.

    Raises:
        UserError: a number out of range, or in-modal terms of a single clip.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = CrossModal(build_encoder("r3d_small"), clips=1, hidden=64)
        >>> task.hear(torch.rand(2, 2, 64, 101)).shape
        torch.Size([2, 2, 128])
    """

    accepts = frozenset({"sound"})
    needs_negatives = True
    projector: nn.Module

    def __init__(
        self,
        encoder: Encoder,
        *,
        clips: int,
        temperature: float = 0.07,
        hard_negatives: bool = True,
        in_modal: float = 0.0,
        audio_width: int = 16,
        hidden: int = 512,
        hidden_layers: int = 1,
        dim: int = 128,
    ) -> None:
        super().__init__()
        check_range("method.temperature", temperature, "(0, inf)")
        check_range("method.in_modal", in_modal, "[0, inf)")
        check_range("method.audio_width", audio_width, "[1, inf)")
        if in_modal and clips < 2:
            raise UserError(
                f"method.in_modal = {in_modal}",
                "compares two clips of a video",
                "set views.clips=2",
            )
        self.encoder = encoder
        self.audio_encoder = AudioEncoder(width=audio_width)
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim)
        self.audio_projector = heads.mlp(self.audio_encoder.dim, hidden, hidden_layers, dim)
        self.temperature, self.in_modal = temperature, in_modal
        self.hard_negatives = hard_negatives

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss across modalities, and that within each; see :meth:`cvrl.task.Task.forward`.

        ``pretext_top1`` is the share of clips that are nearer to their own sound than to that of
        another moment of the video.
        """
        if batch.sound_BWMF is None:
            raise ValueError("the batch holds no sound")
        V = batch.clips_BVCTHW.shape[1]
        v_VBD = self.project_views(batch.clips_BVCTHW)
        a_WBD = self.hear(batch.sound_BWMF)
        across = torch.stack([self._across(v_VBD, a_WBD, batch, v) for v in range(V)]).mean()
        losses = {"loss": across, "cross_modal_loss": across.detach()}
        if self.in_modal:
            within = torch.stack(
                [
                    info_nce(z[a], z[b], self.temperature, batch.group_id_B)
                    for z in (v_VBD, a_WBD[:V])
                    for a, b in combinations(range(V), 2)
                ]
            ).mean()
            losses |= {"loss": across + self.in_modal * within, "in_modal_loss": within.detach()}
        with torch.no_grad():
            v, own, other = (F.normalize(z.float(), dim=-1) for z in (v_VBD, a_WBD[:V], a_WBD[V:]))
            has_other_VB = batch.order_BV.T >= 0
            gap_N = (v * (own - other)).sum(dim=2)[has_other_VB]
        return {
            **losses,
            "pretext_top1": (gap_N > 0).float().sum() / max(1, len(gap_N)),
            "pretext_chance": gap_N.new_tensor(0.5),
            "contrast_top1": contrast_top1(v_VBD[0], a_WBD[0]),
            "unlabelled": 1 - has_other_VB.float().mean(),
            "embedding_ND": F.normalize(v_VBD.detach().float().flatten(0, 1), dim=1),
        }

    def hear(self, sound_BWMF: Tensor) -> Tensor:
        """Projections of all windows of sound, (W, B, D)."""
        B, W = sound_BWMF.shape[:2]
        a_ND: Tensor = self.audio_projector(self.audio_encoder(sound_BWMF.flatten(0, 1)))
        return a_ND.view(B, W, -1).transpose(0, 1)

    def _across(self, v_VBD: Tensor, a_WBD: Tensor, batch: Batch, v: int) -> Tensor:
        """InfoNCE of the v-th clips with their sounds, the mean of both directions."""
        groups = batch.group_id_B
        hard = {}
        if self.hard_negatives:
            hard = {
                "k_negative_BD": a_WBD[len(v_VBD) + v],
                "has_negative_B": batch.order_BV[:, v] >= 0,
            }
        seen = query_info_nce(v_VBD[v], a_WBD[v], self.temperature, groups, **hard)
        heard = query_info_nce(a_WBD[v], v_VBD[v], self.temperature, groups)
        return (seen + heard) / 2


METHOD = CrossModal
