"""Values of a step are over all ranks."""

import multiprocessing

import torch
import torch.distributed as torch_dist

from cvrl.engine.step_log import over_ranks
from cvrl.evaluation.diagnostics.collapse import embedding_std


def losses(rank):
    generator = torch.Generator().manual_seed(rank)
    return {
        "loss": torch.tensor(float(rank)),
        "contrast_top1": torch.tensor(0.25 + 0.5 * rank),
        "embedding_ND": torch.randn(4, 3, generator=generator),
    }


def of_rank(rank, store, queue):
    torch_dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    queue.put(over_ranks(losses(rank)))
    torch_dist.destroy_process_group()


def test_monitors_are_over_all_ranks(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    ranks = [
        context.Process(target=of_rank, args=(rank, tmp_path / "store", queue)) for rank in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    values = [queue.get(timeout=60) for _ in ranks]
    for rank in ranks:
        rank.join()
    assert values[0] == values[1]
    assert (values[0]["loss"], values[0]["contrast_top1"]) == (0.5, 0.5)
    both = torch.cat([losses(rank)["embedding_ND"] for rank in (0, 1)])
    assert values[0]["embedding_std"] == embedding_std(both)
