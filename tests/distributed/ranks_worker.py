"""Five steps of every method on this rank: ``ranks_worker.py RANK WORLD STORE OUTPUT``.

With WORLD 1 there is no process group: that is the reference.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cvrl.methods.finetune import Finetune
from cvrl.models.batchnorm import convert_sync_batchnorm

sys.path.insert(0, str(Path(__file__).parents[1] / "methods"))
from cases import CASES, build, make_batch, rows_of

STEPS, VIDEOS = 5, 8


def task_of(name):
    task = build(name).double()
    for module in task.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # draws depend on the rank, as they should
        if isinstance(module, Finetune):
            module.mixup = 0.0  # likewise
    return task


def batch_of(name, step, rows):
    batch = make_batch(name, VIDEOS, seed=step, dtype=torch.float64)
    return rows_of(replace(batch, group_id_B=torch.arange(VIDEOS) // 2), rows)


def run(name, rank, world):
    task = task_of(name)
    model = task
    if world > 1:
        task = convert_sync_batchnorm(task)
        model = DistributedDataParallel(task, broadcast_buffers=False)
    optimizer = torch.optim.SGD(task.param_groups(1e-3), lr=0.02, momentum=0.9)
    mine = torch.tensor_split(torch.arange(VIDEOS), [5] if world > 1 else [])[rank]  # 5 and 3
    losses = []
    for step in range(STEPS):
        loss = model(batch_of(name, step, mine))["loss"]
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
    torch.save({name: run(name, rank, world) for name in CASES}, sys.argv[4])
    if world > 1:
        torch_dist.destroy_process_group()


if __name__ == "__main__":
    main()
