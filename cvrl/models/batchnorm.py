"""Batch norm over the batches of all ranks, on any device that the process group can reduce.

torch's own SyncBatchNorm refuses CPU tensors; this one needs nothing but an all-reduce, so a gloo
group on CPUs trains exactly like one process that holds the whole batch.

Shapes: C channels, R ranks. A "row" is one value of a channel: sample, time and place.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as torch_dist
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from cvrl.utils import dist


class SyncBatchNorm(_BatchNorm):
    """Batch norm whose statistics are those of all ranks' rows together.

    Takes (N, C, ...) with any number of trailing dimensions; ranks may hold different N, also 0.
    In evaluation mode, and in a single process, it is plain batch norm. Parameters, buffers and
    their names are those of ``nn.BatchNorm*``, so checkpoints fit both ways.

    The running statistics use the global mean and the unbiased variance over the global count.
    Gradients of weight and bias are this rank's share: their sum over ranks is the gradient of the
    summed loss, which DistributedDataParallel then averages. Every rank must run forward and
    backward through the layer the same number of times.

    Example:
        >>> norm = SyncBatchNorm(3)
        >>> norm(torch.rand(8, 3, 2, 4, 4)).mean().abs().item() < 1e-6
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every channel of (N, C, ...), then scale and shift it."""
        if not self.training or dist.world_size() == 1:
            normalised: Tensor = super().forward(x)
            return normalised
        self._check_input_dim(x)
        mean_C, var_C, count = _global_statistics(x)
        self._update_running(mean_C, var_C * (count / (count - 1).clamp(min=1)))
        y: Tensor = _Normalise.apply(x, self.weight, self.bias, mean_C, var_C, count, self.eps)
        return y

    @torch.no_grad()
    def _update_running(self, mean_C: Tensor, unbiased_var_C: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # Without a momentum, torch keeps the plain average over all batches seen.
        share = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_var_C.to(self.running_var.dtype), share)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (N, C, ...), got shape {tuple(input.shape)}")


def convert_sync_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every ``nn.BatchNorm1d``, ``2d`` and ``3d`` in a module by :class:`SyncBatchNorm`.

    Parameters and buffers are kept, not copied, so an optimiser that holds them still does; names
    in the state dict stay as they were. A norm that is used in two places stays shared.

    A module with a true attribute ``local_batchnorm`` is left as it is with all that is in it: it
    chooses itself which rows are normalised together.

    Args:
        module: changed in place.

    Returns:
        The module itself, or its replacement when it is a batch norm.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> type(convert_sync_batchnorm(net)[1]).__name__
        'SyncBatchNorm'
    """
    return _convert(module, {})


def freeze_batchnorm(module: nn.Module) -> None:
    """Let every batch norm in a module use its running statistics, and leave them as they are.

    ``module.train()`` ends that, so a module that wants it kept calls this in its own ``train``.
    Scale and shift stay trainable.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> freeze_batchnorm(net)
        >>> net.training, net[1].training
        (True, False)
    """
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()


def _convert(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if module not in done:
        done[module] = module
        if getattr(module, "local_batchnorm", False):
            return module
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            done[module] = _synchronised(module)
        for name, child in list(module._modules.items()):
            if child is not None:
                module.add_module(name, _convert(child, done))
    return done[module]


def _synchronised(norm: _BatchNorm) -> SyncBatchNorm:
    sync = SyncBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    sync.weight, sync.bias = norm.weight, norm.bias
    sync.running_mean, sync.running_var = norm.running_mean, norm.running_var
    sync.num_batches_tracked = norm.num_batches_tracked
    return sync.train(norm.training)


@torch.no_grad()
def _global_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), biased variance (C,) and number of rows (1,) over all ranks.

    Each rank's own mean and squared deviations are combined (Chan et al., 1979), which keeps the
    digits that a difference of sums of squares would lose.
    """
    local, dims = _at_least_float32(x), _all_but_channels(x)
    rows = local.new_tensor([x.numel() // x.shape[1]])
    if x.numel():
        var_C, mean_C = torch.var_mean(local, dims, correction=0)
    else:
        var_C = mean_C = local.new_zeros(x.shape[1])
    # One all-reduce of a table with a line for each rank: gloo has no all-gather on every device.
    table = local.new_zeros(dist.world_size(), 1 + 2 * x.shape[1])
    table[dist.rank()] = torch.cat([rows, mean_C, var_C])
    torch_dist.all_reduce(table)
    rows_R1, mean_RC, var_RC = torch.split(table, [1, x.shape[1], x.shape[1]], dim=1)
    count = rows_R1.sum(dim=0)
    share_R1 = rows_R1 / count
    mean_C = (share_R1 * mean_RC).sum(dim=0)
    var_C = (share_R1 * (var_RC + (mean_RC - mean_C).square())).sum(dim=0)
    return mean_C, var_C, count


class _Normalise(torch.autograd.Function):
    """``(x - mean) / sqrt(var + eps) * weight + bias``, mean and var being functions of all x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        mean_C: Tensor,
        var_C: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        """Normalise by given statistics and keep what the way back needs."""
        ctx.save_for_backward(x, weight_C, mean_C, (var_C + eps).rsqrt(), count)
        return F.batch_norm(x, mean_C, var_C, weight_C, bias_C, training=False, eps=eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, with the other ranks' share in that of x."""
        x, weight_C, mean_C, invstd_C, count = ctx.saved_tensors
        dims = _all_but_channels(x)
        shape = [1, -1] + [1] * (x.ndim - 2)
        grad_y = _at_least_float32(grad_y)
        unit = (_at_least_float32(x) - mean_C.view(shape)) * invstd_C.view(shape)
        grad_bias_C = grad_y.sum(dims)
        grad_weight_C = (grad_y * unit).sum(dims)
        # Every row moves the mean and the variance that all ranks' rows were normalised with.
        means_2C = torch.stack([grad_bias_C, grad_weight_C])
        torch_dist.all_reduce(means_2C)
        means_2C /= count
        through_mean, through_var = (mean.view(shape) for mean in means_2C)
        scale_C = invstd_C if weight_C is None else invstd_C * weight_C
        grad_x = scale_C.view(shape) * (grad_y - through_mean - unit * through_var)
        if weight_C is None:
            return grad_x.to(x.dtype), None, None, None, None, None, None
        return (
            grad_x.to(x.dtype),
            grad_weight_C.to(weight_C.dtype),
            grad_bias_C.to(weight_C.dtype),
            *(None,) * 4,
        )


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
