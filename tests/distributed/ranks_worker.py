"""Five steps of every method on this rank: ``ranks_worker.py RANK WORLD STORE OUTPUT``.

With WORLD 1 there is no process group: that is the reference.
"""

import importlib
import inspect
import sys
from pathlib import Path

import torch
import torch.distributed as torch_dist
from torch.nn.parallel import DistributedDataParallel

import cvrl
from cvrl.data.dataset import Batch
from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import convert_sync_batchnorm

METHODS = sorted(
    file.stem for file in (Path(inspect.getfile(cvrl)).parent / "methods").glob("[a-z]*.py")
)
GIVEN = {"classes": 3, "videos": 8, "total_steps": 5, "hidden": 16, "hidden_layers": 1, "dim": 8}
STEPS, VIDEOS, VIEWS = 5, 8, 2


def build(name):
    factory = importlib.import_module(f"cvrl.methods.{name}").METHOD
    keywords = {k: v for k, v in GIVEN.items() if k in inspect.signature(factory).parameters}
    if "dropout" in inspect.signature(factory).parameters:
        keywords["dropout"] = 0.0  # draws depend on the rank, as they should
    torch.manual_seed(0)
    return factory(build_encoder("r3d_small", width=4, blocks=(1, 1, 1, 1)), **keywords).double()


def batch_of(step, rows):
    generator = torch.Generator().manual_seed(step)
    pattern = torch.rand(VIDEOS, 1, 3, 1, 32, 32, generator=generator, dtype=torch.float64)
    noise = torch.rand(VIDEOS, VIEWS, 3, 8, 32, 32, generator=generator, dtype=torch.float64)
    return Batch(
        clips_BVCTHW=(0.6 * pattern + 0.4 * noise)[rows],
        labels_B=(torch.arange(VIDEOS) % 3)[rows],
        video_id_B=torch.arange(VIDEOS)[rows],
        group_id_B=(torch.arange(VIDEOS) // 2)[rows],
        time_BV=torch.zeros(VIDEOS, VIEWS, dtype=torch.float64)[rows],
        order_B=torch.full((VIDEOS,), -1)[rows],
    )


def run(name, rank, world):
    task = build(name)
    model = task
    if world > 1:
        task = convert_sync_batchnorm(task)
        model = DistributedDataParallel(task, broadcast_buffers=False)
    optimizer = torch.optim.SGD(task.param_groups(1e-3), lr=0.02, momentum=0.9)
    mine = torch.tensor_split(torch.arange(VIDEOS), [5] if world > 1 else [])[rank]  # 5 and 3
    losses = []
    for step in range(STEPS):
        loss = model(batch_of(step, mine))["loss"]
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {k: p.grad.clone() for k, p in task.named_parameters() if p.requires_grad}
        optimizer.step()
        task.after_step(step)
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), "gradients": gradients, "state": task.state_dict()}


def main():
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    if world > 1:
        store = Path(sys.argv[3]).as_uri()
        torch_dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    torch.save({name: run(name, rank, world) for name in METHODS}, sys.argv[4])
    if world > 1:
        torch_dist.destroy_process_group()


if __name__ == "__main__":
    main()
