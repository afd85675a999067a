"""Distillation: a network learns the features of a frozen teacher from videos without labels.

Papers: features of a teacher as targets, Romero et al., "FitNets" (arXiv 1412.6550), eq. 3, here
with BYOL's cosine regression (arXiv 2006.07733, eq. 2); relations within the batch as targets, Park
et al. (RKD, arXiv 1904.05068) and Tung and Mori (arXiv 1907.09682), see
:func:`cvrl.losses.relational.similarity_regression`; a contrastive term beside them, as Tian et al.
(CRD, arXiv 1910.10699) have it between student and teacher, optionally with a target that is shared
among similar videos, Denize et al. (SCE, arXiv 2111.14585).

Deviations: the teacher sees each video once, before training: its feature is the mean over clips
spread over the video, whatever clip the student sees. So the student's clips of a video all have
one target, and a large teacher costs as much as one evaluation. Targets are whitened: centred,
projected on the leading principal components of the training videos, and scaled to unit variance
there, since features of networks are dominated by few directions that all videos share. The
contrastive term is between clips of the student alone (SimCLR, arXiv 2002.05709, eq. 1).

Shapes: B videos on this rank, V views, N = B V clips, W videos in the data, E dimensions of the
teacher's feature, D of the targets. h is the encoder's feature, z its projection, c that for
contrast.
"""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.contrastive import soft_info_nce
from cvrl.losses.regression import cosine_regression
from cvrl.losses.relational import similarity_regression
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError


class Distil(Task):
    """The projection of every clip predicts the teacher's feature of its video.

    Args:
        encoder: the student: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        teach: gives the features (W, E) of all training videos by a teacher and a number of clips;
            rows of videos that it could not read are not finite. Set by the data.
        clips: V; set by the views.
        teacher: what :func:`cvrl.load_encoder` takes (a run folder, a model file, or the folder of
            a video model of ``transformers``), a file of features of the training videos, as
            ``tools/extract_features.py`` writes it, or ``hog_mbh``, hand-made features of clips
            like the student's (:mod:`cvrl.models.hog_mbh`).
        teacher_clips: clips of a video that the teacher's feature is averaged over.
        components: D, principal components of the teacher's features that are kept, at most; 0
            takes the features themselves, each dimension scaled to mean 0 and variance 1.
        whiten: 1 gives every component unit variance, 0 leaves them their own; in [0, 1].
        cosine: weight of the regression of each video's target.
        relation: weight of the regression of similarities within the batch.
        contrast: weight of InfoNCE between clips of a video, which takes two of them and has a
            head of its own.
        soft: share of InfoNCE's target that goes to clips of other videos which the teacher finds
            similar, in [0, 1], see :func:`cvrl.losses.contrastive.soft_info_nce`.
        soft_temperature: temperature of the teacher's similarities for ``soft``, > 0.
        temperature: tau of InfoNCE, > 0.
        hidden: width of the hidden layers of either head.
        hidden_layers: number of hidden layers of the head that predicts the target; 0 is linear.

    Raises:
        UserError: a number out of its range, or fewer clips than the contrastive term takes.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> def teach(teacher: str, clips: int) -> Tensor:
        ...     return torch.rand(100, 16)
        >>> encoder = build_encoder("r3d_small")
        >>> task = Distil(encoder, teach=teach, clips=1, teacher="runs/x", components=8)
        >>> tuple(task.target_WD.shape)
        (100, 8)
    """

    accepts = frozenset({"clips"})
    needs_negatives = True
    projector: nn.Module
    target_WD: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        teach: Callable[[str, int], Tensor],
        clips: int,
        teacher: str,
        teacher_clips: int = 4,
        components: int = 128,
        whiten: float = 1.0,
        cosine: float = 1.0,
        relation: float = 0.0,
        contrast: float = 0.0,
        soft: float = 0.0,
        soft_temperature: float = 0.1,
        temperature: float = 0.1,
        hidden: int = 512,
        hidden_layers: int = 0,
    ) -> None:
        super().__init__()
        check_range("method.teacher_clips", teacher_clips, "[1, inf)")
        check_range("method.components", components, "[0, inf)")
        check_range("method.whiten", whiten, "[0, 1]")
        check_range("method.soft", soft, "[0, 1]")
        check_range("method.soft_temperature", soft_temperature, "(0, inf)")
        check_range("method.temperature", temperature, "(0, inf)")
        for name, weight in (("cosine", cosine), ("relation", relation), ("contrast", contrast)):
            check_range(f"method.{name}", weight, "[0, inf)")
        if contrast > 0 and clips < 2:
            reason = f"compares clips of a video, and views.clips = {clips}"
            raise UserError(f"method.contrast = {contrast:g}", reason, "set views.clips=2")
        self.encoder = encoder
        feature_WE = teach(teacher, teacher_clips)
        if components:
            feature_WE = principal_components(feature_WE, components, whiten)
        else:
            feature_WE = standardised(feature_WE)
        # Kept in the checkpoint: principal axes are not the same on every machine.
        self.register_buffer("target_WD", feature_WE.float())
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, feature_WE.shape[1])
        self.contrast_head = heads.mlp(encoder.dim, hidden, 1, 128) if contrast > 0 else None
        self.weights = {"cosine": cosine, "relation": relation, "contrast": contrast}
        self.soft_targets = {
            "share": soft,
            "teacher_temperature": soft_temperature,
            "temperature": temperature,
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted sum of the losses; see :meth:`cvrl.task.Task.forward`."""
        B, V = batch.clips_BVCTHW.shape[:2]
        h_ND = self.encoder(batch.clips_BVCTHW.flatten(0, 1))
        z_ND = self.projector(h_ND)
        target_ND = self.target_WD[batch.video_id_B].repeat_interleave(V, dim=0)
        is_known_N = torch.isfinite(target_ND).all(dim=1)
        known = (z_ND[is_known_N], target_ND[is_known_N])
        losses = {"cosine": cosine_regression(*known), "relation": similarity_regression(*known)}
        if self.contrast_head is not None:
            c_VBD = self.contrast_head(h_ND).view(B, V, -1).transpose(0, 1)
            teacher_BD, group_B = self.target_WD[batch.video_id_B], batch.group_id_B
            how = self.soft_targets
            pairs = [
                soft_info_nce(c_VBD[a], c_VBD[b], teacher_BD, group_id=group_B, **how)
                for a, b in combinations(range(V), 2)
            ]
            losses["contrast"] = torch.stack(pairs).mean()
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return {
            "loss": total,
            **{f"{name}_loss": loss.detach() for name, loss in losses.items()},
            "embedding_ND": F.normalize(z_ND.detach().float()),
        }


def standardised(feature_WE: Tensor) -> Tensor:
    """Features with each dimension at mean 0 and variance 1; rows that are not finite stay so.

    Example:
        >>> standardised(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        tensor([[-0.7071,  0.0000],
                [ 0.7071,  0.0000]])
    """
    known_WE = feature_WE[torch.isfinite(feature_WE).all(dim=1)].double()
    std_E, mean_E = torch.std_mean(known_WE, dim=0)
    return ((feature_WE - mean_E) / (std_E + 1e-6)).float()


def principal_components(feature_WE: Tensor, components: int, whiten: float = 1.0) -> Tensor:
    """Centred features on their leading principal components.

    Args:
        feature_WE: rows that are not finite stay so and do not count.
        components: kept at most; fewer where the features vary along fewer directions.
        whiten: a component of standard deviation s keeps s to the power of ``1 - whiten``; then
            all are scaled to a mean variance of 1.

    Returns:
        (W, D) float32, D at least 1.

    Example:
        >>> feature_WE = torch.tensor([[0.0, 5.0], [2.0, 5.0]])
        >>> principal_components(feature_WE, components=2).abs().flatten()
        tensor([0.7071, 0.7071])
    """
    is_known_W = torch.isfinite(feature_WE).all(dim=1)
    x_WE = feature_WE[is_known_W].double()
    u_WK, scale_K, _ = torch.linalg.svd(x_WE - x_WE.mean(dim=0), full_matrices=False)
    n_kept = max(1, min(components, int((scale_K > 1e-6 * scale_K[0]).sum())))
    kept_WD = u_WK[:, :n_kept] * scale_K[:n_kept] ** (1 - whiten)
    variance = kept_WD.square().sum() / (max(1, len(x_WE) - 1) * n_kept)
    target_WD = torch.full((len(feature_WE), n_kept), torch.nan)
    target_WD[is_known_W] = (kept_WD / variance.sqrt()).float()
    return target_WD


METHOD = Distil
