"""SwAV on video clips: predict the cluster assignment of one view from the other views.

Papers: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments"
(arXiv 2006.09882), eq. 1 to 3, multi-crop of sec. 3.2, queue of sec. 4.1; on clips of a video
Feichtenhofer et al., "A Large-Scale Study on Unsupervised Spatiotemporal Representation Learning"
(arXiv 2104.14558), whose 1,000 prototypes and head are the defaults.

Deviations: Sinkhorn balances the clips of all ranks together, in the log domain; one queue serves
all large clips and is filled from the first step; prototypes are normalised after each step instead
of before.

Shapes: B videos on this rank, V large clips, S small clips, A = V + S, K prototypes, Q embeddings
in the queue, D dimensions. z is a clip's projection, unit norm.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.swapped import sinkhorn, swapped_prediction, usage_entropy
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.models.memory import Queue
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.checks import check_range


class SwAV(Task):
    """Predict the codes of the large clips from every other clip of the video.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        steps_per_epoch: of the run; set by the trainer.
        prototypes: K.
        temperature: tau of the prediction, > 0.
        epsilon: entropy weight of the codes, > 0; smaller values give harder assignments.
        iterations: of the Sinkhorn algorithm, >= 1.
        frozen_epochs: epochs before the prototypes are trained.
        queue: Q, embeddings of earlier clips used to compute codes, for batches much smaller than
            K; 0 disables it.
        queue_from_epoch: epoch from which the queue is used; before, it is only filled.
        hidden: width of the projection head's hidden layers.
        hidden_layers: number of hidden layers.
        dim: D, size of z.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = SwAV(build_encoder("r3d_small"), steps_per_epoch=10, prototypes=20, hidden=32)
        >>> tuple(task.prototypes.weight.shape), round(task.prototypes.weight[0].norm().item(), 4)
        ((20, 128), 1.0)
    """

    accepts = frozenset({"clips", "crops"})
    least_clips = 2
    projector: nn.Module
    step: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        steps_per_epoch: int,
        prototypes: int = 1000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        frozen_epochs: int = 1,
        queue: int = 0,
        queue_from_epoch: int = 15,
        hidden: int = 2048,
        hidden_layers: int = 2,
        dim: int = 128,
    ) -> None:
        super().__init__()
        check_range("method.prototypes", prototypes, "[2, inf)")
        check_range("method.temperature", temperature, "(0, inf)")
        check_range("method.epsilon", epsilon, "(0, inf)")
        check_range("method.iterations", iterations, "[1, inf)")
        check_range("method.queue", queue, "[0, inf)")
        self.encoder = encoder
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim)
        self.prototypes = nn.Linear(dim, prototypes, bias=False)
        self.queue = Queue(queue, dim) if queue else None
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.frozen_steps = frozen_epochs * steps_per_epoch
        self.queue_from_step = queue_from_epoch * steps_per_epoch
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self._normalise_prototypes()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Swapped prediction over all pairs with a large clip; see :class:`cvrl.task.Task`."""
        V = batch.clips_BVCTHW.shape[1]
        z_ABD = self._embed(batch)
        self._stage(z_ABD[:V], batch)
        scores_ABK = self._scores(z_ABD)
        queue_QK = self._queue_scores()
        losses = []
        for a in range(V):
            code_BK = sinkhorn(scores_ABK[a], self.epsilon, self.iterations, queue_QK)
            losses += [
                swapped_prediction(scores_ABK[b], code_BK, self.temperature)
                for b in range(len(scores_ABK))
                if b != a
            ]
        large_NK = scores_ABK[:V].detach().flatten(0, 1)
        found = {
            "loss": torch.stack(losses).mean(),
            "prototype_entropy": usage_entropy(large_NK, self.temperature),
            "embedding_ND": z_ABD[:V].detach().float().flatten(0, 1),
        }
        return found if self.queue is None else found | {"queue_fill": self.queue.fill}

    def before_step(self) -> None:
        """Take the gradient of frozen prototypes away, so that the optimiser passes over them."""
        if int(self.step) < self.frozen_steps:
            self.prototypes.weight.grad = None

    def after_step(self, step: int) -> None:
        """Normalise the prototypes and enqueue the embeddings of the step."""
        self._normalise_prototypes()
        if self.queue is not None:
            self.queue.push_staged()
        self.step.fill_(step + 1)

    def _embed(self, batch: Batch) -> Tensor:
        """Unit z of every clip, (A, B, D), in full precision under autocast."""
        z_ABD = self.project_crops(batch)
        return F.normalize(z_ABD.to(self.prototypes.weight.dtype), dim=-1)

    def _scores(self, z: Tensor) -> Tensor:
        """Cosine similarities with the prototypes, in full precision."""
        with torch.autocast(z.device.type, enabled=False):
            scores: Tensor = self.prototypes(z)
            return scores

    @torch.no_grad()
    def _queue_scores(self) -> Tensor | None:
        if self.queue is None or not self.queue.is_full or int(self.step) < self.queue_from_step:
            return None
        return self._scores(self.queue.key_KD)

    @torch.no_grad()
    def _stage(self, z_VBD: Tensor, batch: Batch) -> None:
        """Hold every rank's embeddings of large clips for :meth:`after_step`."""
        if self.queue is not None:
            z_VMD = dist.gather(z_VBD.transpose(0, 1)).transpose(0, 1)
            self.queue.stage(z_VMD, batch.video_id_B, batch.group_id_B)

    @torch.no_grad()
    def _normalise_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))


METHOD = SwAV
