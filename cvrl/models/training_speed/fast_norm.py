"""Batch norm in channels-last memory that is as exact as in torch's own layout, and as fast.

On a CPU torch sums the rows of a channels-last map one after the other in float32: over the
800,000 rows of 32 clips in res2 the variance is off by a thousandth, and so is the way back. Here
as many rows as there are pixels are looked upon as channels of their own, whose statistics are few
enough to be joined in float64.

Shapes: B clips, C channels, T frames, H rows, W columns; K places that are summed apart, N rows.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW_ROWS = 4096  # which torch sums exactly enough, and with fewer calls
LEAST_ROWS = 64  # of each place summed apart; fewer make more statistics than are worth while


class FastBatchNorm3d(nn.BatchNorm3d):
    """An ``nn.BatchNorm3d`` over the same parameters and buffers.

    Made by :func:`cvrl.models.training_speed.fast_conv.accelerate`. It is plain
    ``nn.BatchNorm3d`` in evaluation mode, for small maps, in another memory layout, on other
    devices than a CPU and under autocast.

    Example:
        >>> clips = torch.rand(2, 3, 4, 32, 32)
        >>> norm = nn.BatchNorm3d(3)
        >>> fast = FastBatchNorm3d.of(norm)
        >>> last = clips.contiguous(memory_format=torch.channels_last_3d)
        >>> torch.allclose(fast(last), norm(clips), atol=1e-5), int(norm.num_batches_tracked)
        (True, 2)
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm3d) -> "FastBatchNorm3d":
        """The fast form of a norm; it shares its parameters and buffers."""
        fast = cls(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        fast.weight, fast.bias = norm.weight, norm.bias
        fast.running_mean, fast.running_var = norm.running_mean, norm.running_var
        fast.num_batches_tracked = norm.num_batches_tracked
        return fast.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise every channel of (B, C, T, H, W), then scale and shift it."""
        if not self._is_ours(input):
            return super().forward(input)
        y, mean_C, var_C = _Normalise.apply(input, self.weight, self.bias, self.eps)
        self._update_running(mean_C, var_C, input.numel() // input.shape[1])
        result: Tensor = y
        return result

    def _is_ours(self, x: Tensor) -> bool:
        plain = not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
        usual = self.training and self.affine and self.track_running_stats and plain
        last = x.ndim == 5 and x.is_contiguous(memory_format=torch.channels_last_3d)
        kind = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
        return usual and last and kind and x.numel() > FEW_ROWS * x.shape[1]

    @torch.no_grad()
    def _update_running(self, mean_C: Tensor, var_C: Tensor, rows: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # Without a momentum, torch keeps the plain average over all batches seen.
        share = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        unbiased_C = var_C * (rows / (rows - 1))
        # Through `data`, as torch's own norm: a smaller map before this one, which that norm took,
        # has saved these buffers for its backward pass.
        self.running_mean.data.lerp_(mean_C.to(self.running_mean.dtype), share)
        self.running_var.data.lerp_(unbiased_C.to(self.running_var.dtype), share)


class _Normalise(torch.autograd.Function):
    """Normalised rows, and the mean and variance that they were normalised with, in float64."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Two passes over x: one to measure, one to write."""
        apart = _places_apart(x)
        mean_KC, var_KC = (
            statistic.view(-1, x.shape[1]).double()
            for statistic in torch.batch_norm_update_stats(apart, None, None, 0.0)
        )
        mean_C = mean_KC.mean(dim=0)
        var_C = var_KC.mean(dim=0) + (mean_KC - mean_C).square().mean(dim=0)
        ctx.save_for_backward(x, weight_C, mean_C, (var_C + eps).rsqrt())
        ctx.mark_non_differentiable(mean_C, var_C)
        statistics = (mean_C.to(x.dtype), var_C.to(x.dtype))
        return F.batch_norm(x, *statistics, weight_C, bias_C, eps=eps), mean_C, var_C

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Ioffe & Szegedy (arXiv 1502.03167, sec. 3), as a sum of one multiple of each map."""
        x, weight_C, mean_C, invstd_C = ctx.saved_tensors
        rows = x.numel() // x.shape[1]
        grad_y = grad_y.contiguous(memory_format=torch.channels_last_3d)
        grad_weight_C, grad_bias_C = _sums(x, grad_y, mean_C, invstd_C)
        of_grad_C = weight_C.double() * invstd_C
        of_x_C = -of_grad_C * invstd_C * grad_weight_C / rows
        shift_C = -of_grad_C * grad_bias_C / rows - of_x_C * mean_C
        nothing, one = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        by_x = (of_x_C.to(x.dtype), shift_C.to(x.dtype))
        grad_x = F.batch_norm(x, nothing, one, *by_x, eps=0.0)  # x times the one plus the other
        grad_x.addcmul_(grad_y, of_grad_C.to(x.dtype).view(1, -1, 1, 1, 1))
        return grad_x, grad_weight_C.to(x.dtype), grad_bias_C.to(x.dtype), None


def _sums(x: Tensor, grad_y: Tensor, mean_C: Tensor, invstd_C: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of scale and shift in float64: sums over all rows."""
    apart, grad_apart = _places_apart(x), _places_apart(grad_y)
    places = apart.shape[1] // x.shape[1]
    unit = (mean_C.to(x.dtype).repeat(places), invstd_C.to(x.dtype).repeat(places))
    way_back = torch.ops.aten.native_batch_norm_backward
    _, *sums = way_back(
        grad_apart, apart, None, None, None, *unit, True, 0.0, [False, True, True]
    )  # fmt: skip
    weight_C, bias_C = (one.view(places, -1).double().sum(dim=0) for one in sums)
    return weight_C, bias_C


def _places_apart(x: Tensor) -> Tensor:
    """The rows of a channels-last map with K channels for one: a view (1, K C, 1, N / K)."""
    B, C, T, H, W = x.shape
    rows, places = B * T * H * W, 1
    for side in (W, H, T):
        places *= side if rows // (places * side) >= LEAST_ROWS else 1
    flat = x.permute(0, 2, 3, 4, 1).reshape(1, 1, rows // places, places * C)
    return flat.permute(0, 3, 1, 2)
