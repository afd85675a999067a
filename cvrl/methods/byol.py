"""BYOL on video clips: predict the target network's projection of another clip.

Papers: Grill et al., "Bootstrap Your Own Latent" (arXiv 2006.07733), eq. 1 and 2; on rho clips of
a video Feichtenhofer et al., "A Large-Scale Study on Unsupervised Spatiotemporal Representation
Learning" (arXiv 2104.14558), rhoBYOL, whose settings are the defaults.

Deviations: the loss is the mean over all ordered pairs of different clips; the paper sums two
directions. The target's running statistics are copied from the online network and never used, since
the target normalises by the batch.

Shapes: B videos on this rank, V views, N = B V clips, D dimensions. z is the online projection,
p its prediction of the target projection t.
"""

from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.regression import cosine_regression
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.models.ema import EMA, MomentumSchedule
from cvrl.task import Task


class BYOL(Task):
    """Every clip predicts the target projection of every other clip of its video; no negatives.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        total_steps: length of the run; set by the trainer.
        momentum: of the target at the first step, in [0, 1].
        final_momentum: at the last step; the schedule is half a cosine.
        hidden: width of the hidden layer of projector and predictor.
        dim: D, the size of z, p and t.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = BYOL(build_encoder("r3d_small"), total_steps=100, hidden=64)
        >>> task.predictor(torch.zeros(2, 256)).shape
        torch.Size([2, 256])
    """

    accepts = frozenset({"clips"})
    least_clips = 2
    projector: nn.Module
    step: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        total_steps: int,
        momentum: float = 0.996,
        final_momentum: float = 1.0,
        hidden: int = 4096,
        dim: int = 256,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers=1, dim_out=dim)
        self.predictor = heads.mlp(dim, hidden, hidden_layers=1, dim_out=dim)
        self.target = EMA(nn.Sequential(encoder, self.projector))
        self.momentum = MomentumSchedule(total_steps, momentum, final_momentum)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """2 - 2 cos over every ordered pair of views; see :meth:`cvrl.task.Task.forward`."""
        B, V = batch.clips_BVCTHW.shape[:2]
        z_VBD = self.project_views(batch.clips_BVCTHW)
        z_ND = z_VBD.transpose(0, 1).flatten(0, 1)
        p_VBD = self.predictor(z_ND).view(B, V, -1).transpose(0, 1)
        t_ND = self.target(batch.clips_BVCTHW.flatten(0, 1))
        t_VBD = t_ND.view(B, V, -1).transpose(0, 1)
        losses = [cosine_regression(p_VBD[a], t_VBD[b]) for a, b in permutations(range(V), 2)]
        loss = torch.stack(losses).mean()
        return {
            "loss": loss,
            "momentum": loss.new_tensor(self.momentum.at(int(self.step))),
            "embedding_ND": F.normalize(z_ND.detach().float(), dim=1),
        }

    def after_step(self, step: int) -> None:
        """Update the target network."""
        online_network = nn.Sequential(self.encoder, self.projector)
        self.target.update(online_network, self.momentum.at(step))
        self.step.fill_(step + 1)


METHOD = BYOL
