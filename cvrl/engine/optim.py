"""Optimisers by name, over the parameter groups a task gives."""

from typing import Any

import torch

from cvrl.utils.errors import UserError

OPTIMIZERS = ("sgd", "lars", "adamw")


def build_optimizer(
    groups: list[dict[str, Any]],
    name: str,
    *,
    lr: float,
    momentum: float = 0.9,
    fused: bool = False,
) -> torch.optim.Optimizer:
    """SGD or LARS with momentum, or AdamW.

    Args:
        groups: parameter groups, each with its own ``weight_decay``.
        name: ``sgd`` (no Nesterov), ``lars`` (You et al., arXiv 1708.03888; groups without decay
            are stepped as by SGD), or ``adamw``.
        lr: the learning rate before a schedule sets it.
        momentum: of SGD and LARS; AdamW keeps its betas (0.9, 0.999).
        fused: step all weights in one kernel, which is faster on a GPU; LARS steps as ever.

    Raises:
        UserError: an unknown name.

    Example:
        >>> group = {"params": [torch.nn.Parameter(torch.ones(2, 2))], "weight_decay": 1e-4}
        >>> type(build_optimizer([group], "sgd", lr=0.1)).__name__
        'SGD'
    """
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=fused or None)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=fused or None)
    if name == "lars":
        from timm.optim.lars import Lars

        # timm adapts the groups with weight decay; without any decay the weights still want it
        for group in groups:
            group["always_adapt"] = group.get("name") == "decayed"
        return Lars(groups, lr=lr, momentum=momentum)
    raise UserError("optim.name", f"unknown optimiser '{name}'", f"use {', '.join(OPTIMIZERS)}")
