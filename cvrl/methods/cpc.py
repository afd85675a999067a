"""Predicting the features of a video's future from a context of its past.

Papers: van den Oord et al., "Representation Learning with Contrastive Predictive Coding"
(arXiv 1807.03748), eq. 3 and 4: ``context=gru``, ``prediction=per_step``; Han et al., "Video
Representation Learning by Dense Predictive Coding" (arXiv 1909.04656), sec. 3:
``context=conv_gru``, ``prediction=roll_out``. Both score by the dot product.

Each prediction finds its feature among all that are to be predicted in the global batch: other
steps and places of its own video, and other videos.

Deviations: seen and predicted blocks go through the encoder one after the other, so batch norm of
what is seen knows nothing of the future, where DPC's code normalises all blocks together; running
statistics move twice a step. Features have both signs through a linear layer, where DPC leaves out
the last ReLU of its network; the context sees their ReLU, as there. Candidates come from all
processes, in DPC's code from one device; other videos of a source group are none. ``score=cosine``
with a temperature is ours.

Shapes: B videos on this rank, N blocks seen, K blocks to predict, D dimensions of a feature,
C of a context, H W places (1 1 for ``gru``), Q = K H W predictions a video.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.predictive import chance, prediction_nce, prediction_scores, prediction_top1
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.models.recurrent import ConvGRU, RollOutPredictor, StepPredictor
from cvrl.task import Task
from cvrl.utils.errors import UserError


def pooled(encoder: Encoder, clips_MCTHW: Tensor) -> Tensor:
    """The feature of a whole clip, as a map of one place (M, D, 1, 1)."""
    h_MD: Tensor = encoder(clips_MCTHW)
    return h_MD[:, :, None, None]


def over_places(encoder: Encoder, clips_MCTHW: Tensor) -> Tensor:
    """The last map of the encoder, averaged over time (M, D, H, W)."""
    return encoder.stages(clips_MCTHW)["res5"].mean(dim=2)


# What a context is made of. With 1x1 kernels, a ConvGRU over one place is a GRU.
FEATURES: dict[str, Callable[[Encoder, Tensor], Tensor]] = {"gru": pooled, "conv_gru": over_places}
PREDICTORS: dict[str, type[StepPredictor] | type[RollOutPredictor]] = {
    "per_step": StepPredictor,
    "roll_out": RollOutPredictor,
}


class CPC(Task):
    """The context of the blocks seen picks out the features of the blocks to come.

    Reports ``pretext_top1``, how often the best candidate is the right one; ``pretext_chance``, 1
    over the number of candidates; and ``pretext_copy``, the top-1 by cosine of the guess that every
    block to come looks at each place like the last one seen. That guess is the same for all K
    steps, so it is right for at most one of them; what top-1 is above it was learned of change.

    Args:
        encoder: maps clips (M, C, T, H, W) to maps and features with encoder.dim channels.
        predict: K; filled in from the views.
        context: ``gru`` over pooled features, or ``conv_gru`` over every place of the last map.
        prediction: ``per_step``, a matrix for each step ahead, or ``roll_out``, step by step.
        score: ``dot`` product, or ``cosine``.
        temperature: scores are divided by it, > 0; 1 in both papers, 0.1 suits the cosine.
        dim: D.
        context_dim: C.
        dropout: of the context, in [0, 1); DPC has 0.1.
        stop_gradient: leave the features that are predicted as they are; both papers move them.

    Raises:
        UserError: a choice that there is not, or a temperature not above 0.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = CPC(build_encoder("r3d_small"), predict=1, context="conv_gru", dim=64)
        >>> task.see(torch.rand(2, 3, 3, 8, 48, 48))[0].shape  # contexts at 2x2 places
        torch.Size([2, 128, 2, 2])
    """

    accepts = frozenset({"blocks"})
    needs_negatives = True
    least_clips = 2
    projector: nn.Module

    def __init__(
        self,
        encoder: Encoder,
        *,
        predict: int,
        context: Literal["gru", "conv_gru"] = "gru",
        prediction: Literal["per_step", "roll_out"] = "per_step",
        score: Literal["dot", "cosine"] = "dot",
        temperature: float = 1.0,
        dim: int = 128,
        context_dim: int = 128,
        dropout: float = 0.0,
        stop_gradient: bool = False,
    ) -> None:
        super().__init__()
        _check_choice("context", context, FEATURES)
        _check_choice("prediction", prediction, PREDICTORS)
        _check_choice("score", score, ("dot", "cosine"))
        if not temperature > 0:
            raise UserError(f"method.temperature = {temperature}", "is not above 0", "use 0.1 or 1")
        self.encoder = encoder
        self.features = FEATURES[context]
        self.projector = heads.mlp(encoder.dim, dim, 0, dim)
        self.context = ConvGRU(dim, context_dim, dropout=dropout)
        self.predictor = PREDICTORS[prediction](context_dim, dim, predict)
        self.predict = predict
        self.cosine = score == "cosine"
        self.temperature = temperature
        self.stop_gradient = stop_gradient

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """InfoNCE of all predictions; see :meth:`cvrl.task.Task.forward`."""
        now = batch.clips_BVCTHW.shape[1] - self.predict
        c_BCHW, last_BDHW = self.see(batch.clips_BVCTHW[:, :now])
        predicted_BQD = _questions(self.predictor(c_BCHW, self.context))
        with torch.no_grad() if self.stop_gradient else nullcontext():
            z_BKDHW = self.embed(batch.clips_BVCTHW[:, now:])
        z_BQD = _questions(z_BKDHW)
        scores, own = prediction_scores(
            predicted_BQD, z_BQD, self.temperature, self.cosine, batch.group_id_B
        )
        with torch.no_grad():
            copy_BQD = _questions(last_BDHW.unsqueeze(1).expand_as(z_BKDHW))
            copies, _ = prediction_scores(copy_BQD, z_BQD, 1.0, True, batch.group_id_B)
        return {
            "loss": prediction_nce(scores, own),
            "pretext_top1": prediction_top1(scores, own),
            "pretext_chance": chance(scores),
            "pretext_copy": prediction_top1(copies, own),
            "embedding_ND": _mean_over_places(z_BKDHW),
        }

    def see(self, clips_BNCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """The context (B, C, H, W) of blocks, and the feature (B, D, H, W) of the last of them."""
        z_BNDHW = self.embed(clips_BNCTHW)
        return self.context(F.relu(z_BNDHW)), z_BNDHW[:, -1]

    def embed(self, clips_BNCTHW: Tensor) -> Tensor:
        """Features z of blocks (B, N, D, H, W)."""
        B, N = clips_BNCTHW.shape[:2]
        h_MDHW = self.features(self.encoder, clips_BNCTHW.flatten(0, 1))
        z_PD: Tensor = self.projector(h_MDHW.permute(0, 2, 3, 1).flatten(0, 2))  # P = M H W places
        H, W = h_MDHW.shape[2:]
        return z_PD.view(B, N, H, W, -1).permute(0, 1, 4, 2, 3)


def _questions(z_BKDHW: Tensor) -> Tensor:
    """(B, Q, D): one row for each step and place."""
    return z_BKDHW.permute(0, 1, 3, 4, 2).flatten(1, 3)


def _mean_over_places(z_BKDHW: Tensor) -> Tensor:
    """(B K, D) of unit norm."""
    return F.normalize(z_BKDHW.detach().float().mean(dim=(-2, -1)).flatten(0, 1))


def _check_choice(key: str, given: str, known: Iterable[str]) -> None:
    if given not in known:
        raise UserError(f"method.{key}", f"unknown value '{given}'", f"use {' or '.join(known)}")


METHOD = CPC
