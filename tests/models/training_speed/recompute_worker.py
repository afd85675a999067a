"""One rank of the test of recomputing: `recompute_worker.py RANK WORLD STORE OUTPUT`.

With WORLD 1 there is no process group, and the encoder keeps all it computes.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as torch_dist
from torch.nn.parallel import DistributedDataParallel

from cvrl.data.dataset import Batch
from cvrl.methods.simclr import SimCLR
from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import convert_sync_batchnorm

VIDEOS = 8


def batch_of(rows: torch.Tensor) -> Batch:
    clips = torch.rand(VIDEOS, 2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    ids = torch.arange(VIDEOS)
    return Batch(
        clips_BVCTHW=clips[rows],
        labels_B=ids[rows],
        video_id_B=ids[rows],
        group_id_B=ids[rows],
        time_BV=torch.zeros(len(rows), 2),
        order_BV=torch.zeros(len(rows), 2, dtype=torch.long),
    )


class Apart(torch.nn.Module):
    """An encoder over clips dealt out to so many at once, all of whose activations are kept."""

    def __init__(self, encoder: torch.nn.Module, at_once: int) -> None:
        super().__init__()
        self.encoder, self.count = encoder, -(-2 * VIDEOS // at_once)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        h = clips.new_empty(len(clips), self.encoder.dim)
        for n in range(self.count):
            h[n :: self.count] = self.encoder(clips[n :: self.count])
        return h


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.manual_seed(0)
    task = SimCLR(build_encoder("r3d_small", width=2), hidden=8, hidden_layers=1, dim=4).double()
    encoder, model = task.encoder, task
    if world == 1:
        task.encoder = Apart(encoder, at_once=8)
    else:
        store = Path(sys.argv[3]).as_uri()
        torch_dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
        encoder.clips_at_once, encoder.recompute_blocks = 8 // world, True
        model = DistributedDataParallel(convert_sync_batchnorm(task), broadcast_buffers=False)
    loss = model(batch_of(torch.arange(VIDEOS).chunk(world)[rank]))["loss"]
    loss.backward()
    found = {name: p.grad for name, p in [*encoder.named_parameters()]}
    found |= {f"head.{name}": p.grad for name, p in task.projector.named_parameters()}
    torch.save(found | {"loss": loss.detach()} | dict(encoder.named_buffers()), sys.argv[4])
    if world > 1:
        torch_dist.destroy_process_group()


if __name__ == "__main__":
    main()
