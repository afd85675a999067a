"""MoCo on video clips: keys from a momentum encoder, negatives from a queue of earlier keys.

Papers: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning" (arXiv
1911.05722), eq. 1 and 2, shuffled batch norm of sec. 3.3; on rho clips of a video Feichtenhofer et
al., "A Large-Scale Study on Unsupervised Spatiotemporal Representation Learning" (arXiv
2104.14558), rhoMoCo, whose settings are the defaults; with small crops as further queries, Caron et
al. (SwAV, arXiv 2006.09882), sec. 3.2.

Deviations: keys of all ranks enter the queue, which is identical on every rank; keys of the query's
own video or source group are not negatives; every clip is a query for every other clip of its
video, and the loss is the mean. Shuffled batch norm uses groups of the global batch, whatever the
number of ranks, so it works on one device; the key encoder's running statistics are copied from the
query encoder and never used. The optimiser does not step before the queue is full of real keys.

Shapes: B videos on this rank, G on all ranks, V views, S small clips, A = V + S, K keys in the
queue, D dimensions. q is the projection of a query, k the projection of a key.
"""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.memory import are_negatives, memory_info_nce, memory_scores, memory_top1
from cvrl.models import heads
from cvrl.models.backbones import Encoder
from cvrl.models.ema import EMA, MomentumSchedule
from cvrl.models.memory import Queue
from cvrl.task import Task
from cvrl.utils import dist
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError
from cvrl.utils.seed import torch_generator


class MoCo(Task):
    """Momentum contrast: the positive of a query is the key of another clip of its video.

    With ``multi_crop``, large clips are queries and keys, small clips are queries only.

    Args:
        encoder: maps clips (N, C, T, H, W) to h (N, encoder.dim).
        total_steps: length of the run; set by the trainer.
        temperature: tau of the loss, > 0.
        queue: K, size of the queue.
        momentum: of the key encoder at the first step, in [0, 1].
        final_momentum: at the last step; the schedule is half a cosine.
        bn_groups: number of groups for shuffled batch norm. The clips of all ranks are shuffled
            into groups, and each group is normalised by itself on one rank. Use at least the number
            of ranks; 1 normalises all clips together.
        hidden: width of the projection head's hidden layers, which have no batch norm.
        hidden_layers: number of hidden layers.
        dim: D, size of q and k.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> task = MoCo(build_encoder("r3d_small"), total_steps=100, queue=64, hidden=32)
        >>> tuple(task.queue.key_KD.shape), task.is_ready()
        ((64, 128), False)
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
        temperature: float = 0.1,
        queue: int = 65_536,
        momentum: float = 0.994,
        final_momentum: float = 1.0,
        bn_groups: int = 4,
        hidden: int = 2048,
        hidden_layers: int = 2,
        dim: int = 128,
    ) -> None:
        super().__init__()
        check_range("method.temperature", temperature, "(0, inf)")
        check_range("method.bn_groups", bn_groups, "[1, inf)")
        self.encoder = encoder
        self.projector = heads.mlp(encoder.dim, hidden, hidden_layers, dim, batch_norm=False)
        self.key_network = EMA(nn.Sequential(encoder, self.projector), local_batchnorm=True)
        self.queue = Queue(queue, dim)
        self.temperature = temperature
        self.bn_groups = bn_groups
        self.momentum = MomentumSchedule(total_steps, momentum, final_momentum)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """InfoNCE of every clip with every other key; see :meth:`cvrl.task.Task.forward`."""
        B, V = batch.clips_BVCTHW.shape[:2]
        q_ABD = self.project_crops(batch)
        k_VGD = torch.stack([self._keys(batch.clips_BVCTHW[:, v], v) for v in range(V)])
        first = sum(dist.row_counts(batch.video_id_B)[: dist.rank()])
        k_VBD = k_VGD[:, first : first + B]
        is_negative_BK = are_negatives(
            batch.video_id_B, batch.group_id_B, self.queue.video_K, self.queue.group_K
        )
        scores = [
            memory_scores(q_ABD[a], k_VBD[b], self.queue.key_KD, is_negative_BK, self.temperature)
            for a, b in product(range(len(q_ABD)), range(V))
            if a != b
        ]
        self.queue.stage(k_VGD, batch.video_id_B, batch.group_id_B)
        loss = torch.stack([memory_info_nce(scores_BS) for scores_BS in scores]).mean()
        return {
            "loss": loss,
            "contrast_top1": torch.stack([memory_top1(scores_BS) for scores_BS in scores]).mean(),
            "queue_fill": self.queue.fill,
            "momentum": loss.new_tensor(self.momentum.at(int(self.step))),
            "embedding_ND": F.normalize(q_ABD[:V].detach().float().flatten(0, 1), dim=1),
        }

    def after_step(self, step: int) -> None:
        """Update the key encoder (eq. 2) and enqueue the keys of the step."""
        query_network = nn.Sequential(self.encoder, self.projector)
        self.key_network.update(query_network, self.momentum.at(step))
        self.queue.push_staged()
        self.step.fill_(step + 1)

    def is_ready(self) -> bool:
        """Whether the queue is full of real keys."""
        return self.queue.is_full

    @torch.no_grad()
    def _keys(self, clips_BCTHW: Tensor, view: int) -> Tensor:
        """Keys of all ranks' clips of a view, (G, D), unit norm, identical on every rank.

        The clips are shuffled by a permutation of the step and split into groups; each group goes
        through the key encoder alone, so batch norm cannot reveal which key belongs to a query
        (sec. 3.3). The groups are distributed over the ranks; the keys do not depend on how.
        """
        clips_GCTHW = dist.gather(clips_BCTHW)
        self._check_groups(len(clips_GCTHW))
        shuffled_G = torch.randperm(
            len(clips_GCTHW), generator=torch_generator(int(self.step), view)
        ).to(clips_GCTHW.device)
        groups = shuffled_G.tensor_split(self.bn_groups)
        share = torch.arange(self.bn_groups).tensor_split(dist.world_size())[dist.rank()]
        mine = [self.queue.key_KD[:0]]  # a rank may have no group
        for group in share.tolist():
            k_ND = self.key_network(clips_GCTHW[groups[group]])
            mine.append(F.normalize(k_ND.to(self.queue.key_KD.dtype), dim=1))
        shuffled_GD = dist.gather(torch.cat(mine))
        k_GD = torch.empty_like(shuffled_GD)
        k_GD[shuffled_G] = shuffled_GD
        return k_GD

    def _check_groups(self, clips: int) -> None:
        if clips < 2 * self.bn_groups:
            raise UserError(
                f"method.bn_groups = {self.bn_groups}",
                f"leaves fewer than two of {clips} videos a group, too few for batch norm",
                f"set method.bn_groups={max(1, clips // 8)} or a larger train.batch_size",
            )


METHOD = MoCo
