"""BYOL on video clips: predict the target network's projection of another clip.

Papers: Grill et al., "Bootstrap Your Own Latent" (arXiv 2006.07733), eq. 1 and 2; on rho clips of
a video Feichtenhofer et al., "A Large-Scale Study on Unsupervised Spatiotemporal Representation
Learning" (arXiv 2104.14558), rhoBYOL, whose settings are the defaults; with small crops that the
target network does not see, Caron et al. (SwAV, arXiv 2006.09882), sec. 3.2, and DINO (arXiv
2104.14294).

Deviations: the loss is the mean over all ordered pairs of different clips; the paper sums two
directions. The target's running statistics are copied from the online network and never used, since
the target normalises by the batch.

Shapes: B videos on this rank, V views, S small clips, A = V + S, N = B V clips, D dimensions. z is
the online projection, p its prediction of the target projection t.
"""

from itertools import product

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

    With ``multi_crop``, large clips predict and are predicted, small clips only predict.

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

    accepts = frozenset({"clips", "crops"})
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
        """2 - 2 cos of every clip with every other target; see :meth:`cvrl.task.Task.forward`."""
        B, V = batch.clips_BVCTHW.shape[:2]
        z_ABD = self.project_crops(batch)
        p_ABD = self.predictor(z_ABD.flatten(0, 1)).view_as(z_ABD)
        t_ND = self.target(batch.clips_BVCTHW.flatten(0, 1))
        t_VBD = t_ND.view(B, V, -1).transpose(0, 1)
        pairs = [(a, b) for a, b in product(range(len(p_ABD)), range(V)) if a != b]
        loss = torch.stack([cosine_regression(p_ABD[a], t_VBD[b]) for a, b in pairs]).mean()
        return {
            "loss": loss,
            "momentum": loss.new_tensor(self.momentum.at(int(self.step))),
            "embedding_ND": F.normalize(z_ABD[:V].detach().float().flatten(0, 1), dim=1),
        }

    def after_step(self, step: int) -> None:
        """Update the target network."""
        online_network = nn.Sequential(self.encoder, self.projector)
        self.target.update(online_network, self.momentum.at(step))
        self.step.fill_(step + 1)


METHOD = BYOL
