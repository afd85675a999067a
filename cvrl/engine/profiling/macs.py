"""Multiply-adds of a forward pass.

``torch.utils.flop_counter`` counts the same (see tests/engine/profiling/test_macs.py), but imports
``torch._dynamo``, which takes longer than all else that a dry run does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def count_macs(net: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of the convolutions, matrix products and attention of one forward pass.

    Args:
        net: its mode is as before afterwards; the pass is made in evaluation mode.
        inputs: of the pass.

    Example:
        >>> count_macs(nn.Linear(3, 5), torch.zeros(2, 3))
        30
    """
    was_training = net.training
    counter = _Count()
    with torch.no_grad(), counter:
        net.eval()(*inputs)
    net.train(was_training)
    return counter.macs


class _Count(TorchFunctionMode):
    """Sums the multiply-adds of the functions that are called while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _CONVOLUTIONS:
            weight = args[1] if len(args) > 1 else (kwargs or {})["weight"]
            self.macs += result.numel() * weight[0].numel()
        elif func in _PRODUCTS:
            self.macs += result.numel() * args[0].shape[-1]
        elif func is F.scaled_dot_product_attention:
            q, k, v = args[:3] if len(args) > 2 else [(kwargs or {})[n] for n in _QKV]
            self.macs += q[..., 0].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1])
        return result


_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d}
_PRODUCTS = {F.linear, torch.matmul, torch.bmm, torch.mm, Tensor.matmul, Tensor.__matmul__}
_QKV = ("query", "key", "value")
