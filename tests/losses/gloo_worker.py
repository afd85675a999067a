"""One rank of the distributed loss test: ``gloo_worker.py RANK WORLD STORE CASES OUTPUT``.

Reads the cases, each with its embeddings and the rows every rank holds, and writes this rank's
loss and the gradient of its own rows for each of them.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist

from cvrl.losses import info_nce, nce_pair
from cvrl.losses.contrastive import nce_pair_of_views


def share(case: dict[str, Any], rank: int) -> dict[str, torch.Tensor]:
    first = sum(case["rows"][:rank])
    here = slice(first, first + case["rows"][rank])
    parts = [z[here].clone().requires_grad_() for z in case["inputs"]]
    if case["loss"] == "nce_pair":
        loss = nce_pair(*parts, temperature=0.5, normalize=True)
    else:
        group = None if case["group"] is None else case["group"][here]
        of_views = nce_pair_of_views if case["loss"] == "nce_pair_of_views" else info_nce
        loss = of_views(*parts, temperature=0.2, group_id=group)
    loss.backward()
    gradients = [part.grad for part in parts if part.grad is not None]
    return {"loss": loss.detach(), "gradient": torch.stack(gradients)}


def refuses(case: dict[str, Any], rank: int) -> str:
    try:
        share(case, rank)
    except FloatingPointError as error:
        return str(error)
    return ""


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch_dist.init_process_group(
        "gloo", init_method=Path(sys.argv[3]).as_uri(), rank=rank, world_size=world
    )
    cases = torch.load(sys.argv[4], weights_only=True)
    results = [refuses(c, rank) if c["bad"] else share(c, rank) for c in cases]
    torch.save(results, sys.argv[5])
    torch_dist.destroy_process_group()


if __name__ == "__main__":
    main()
