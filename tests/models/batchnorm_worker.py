"""One rank of the batch norm test: `batchnorm_worker.py RANK WORLD STORE CASES OUTPUT`.

Runs this rank's rows of every case through a converted network for two steps and one evaluation,
and writes outputs, gradients and running statistics.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import Tensor, nn

from cvrl.models.batchnorm import convert_sync_batchnorm


def network(case: dict[str, Any]) -> nn.Module:
    """The network of a case with plain batch norm, the same wherever it is made."""
    torch.manual_seed(7)
    if case["kind"] == "network":
        net: nn.Module = nn.Sequential(
            *(nn.Conv3d(3, 4, 3, bias=False), nn.BatchNorm3d(4), nn.ReLU()),
            *(nn.Conv3d(4, 6, (1, 3, 3)), nn.BatchNorm3d(6), nn.ReLU()),
            *(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8)),
        )
    else:
        norms = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
        net = norms[case["x"].ndim](case["x"].shape[1], **case["keywords"])
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5) if "weight" in name else nn.init.normal_(
                parameter
            )
    return net.to(torch.promote_types(case["x"].dtype, torch.float32))


def run(net: nn.Module, case: dict[str, Any], rows: slice) -> dict[str, Tensor]:
    """Two training steps without an optimiser, and an evaluation, on some rows of the case."""
    found: dict[str, Tensor] = {}
    for step in range(2):
        x = (case["x"][rows] * (1 + step)).requires_grad_()
        net.zero_grad()
        y = net(x)
        (y.square() * case["coefficients"][rows]).sum().backward()
        assert x.grad is not None
        found |= {f"y{step}": y.detach(), f"x{step}": x.grad}
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        found[f"sum.{name}"] = parameter.grad  # of this rank's rows: the ranks' sum is compared
    found |= {f"same.{name}": buffer for name, buffer in net.named_buffers()}
    if case["keywords"].get("track_running_stats", True):
        found["evaluated"] = net.eval()(case["x"][rows]).detach()
    return found


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch_dist.init_process_group(
        "gloo", init_method=Path(sys.argv[3]).as_uri(), rank=rank, world_size=world
    )
    results = []
    for case in torch.load(sys.argv[4], weights_only=True):
        first = sum(case["rows"][:rank])
        rows = slice(first, first + case["rows"][rank])
        results.append(run(convert_sync_batchnorm(network(case)), case, rows))
    torch.save(results, sys.argv[5])
    torch_dist.destroy_process_group()


if __name__ == "__main__":
    main()
