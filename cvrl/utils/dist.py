"""What the ranks of a distributed run share, correct for any number of them, one included.

Shapes: N rows on this rank, M rows over all ranks, D dimensions.

The convention that makes a contrastive loss independent of the number of processes: every rank
returns its share of the loss through :func:`global_mean`, embeddings of other ranks come through
:func:`gather_with_grad`, and DistributedDataParallel averages the gradients over ranks. The result
is the gradient of the mean over the global batch.
"""

import torch
import torch.distributed as torch_dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether a process group of more than one rank is up."""
    return torch_dist.is_available() and torch_dist.is_initialized() and world_size() > 1


def rank() -> int:
    """This process's rank; 0 without a process group."""
    return torch_dist.get_rank() if _initialised() else 0


def world_size() -> int:
    """The number of ranks; 1 without a process group."""
    return torch_dist.get_world_size() if _initialised() else 1


def is_main() -> bool:
    """Whether this rank is the one that writes files and prints."""
    return rank() == 0


def barrier() -> None:
    """Wait until every rank is here."""
    if is_distributed():
        torch_dist.barrier()


def row_counts(x_ND: Tensor) -> list[int]:
    """The number of rows each rank holds of ``x_ND``, in rank order.

    Example:
        >>> row_counts(torch.zeros(3, 2))
        [3]
    """
    if not is_distributed():
        return [x_ND.shape[0]]
    count = torch.tensor([x_ND.shape[0]], device=x_ND.device)
    counts = [torch.zeros_like(count) for _ in range(world_size())]
    torch_dist.all_gather(counts, count)
    return [int(c) for c in counts]


@torch.no_grad()
def gather(x_ND: Tensor) -> Tensor:
    """The rows of every rank in rank order, without gradient.

    Args:
        x_ND: rows of this rank; ranks may hold different numbers of rows.

    Returns:
        (M, D), the same on every rank.

    Example:
        >>> gather(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    if not is_distributed():
        return x_ND.detach()
    counts = row_counts(x_ND)
    padded = x_ND.new_zeros((max(counts), *x_ND.shape[1:]))
    padded[: x_ND.shape[0]] = x_ND
    parts = [torch.empty_like(padded) for _ in counts]
    torch_dist.all_gather(parts, padded)
    return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])


class _GatherWithGrad(torch.autograd.Function):
    """All-gather whose backward sums, over ranks, the gradients that reached this rank's rows."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x_ND: Tensor) -> Tensor:
        counts = row_counts(x_ND)
        ctx.first, ctx.rows = sum(counts[: rank()]), x_ND.shape[0]  # type: ignore[attr-defined]
        return gather(x_ND)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        total_MD = grads[0].contiguous().clone()
        torch_dist.all_reduce(total_MD)
        return total_MD.narrow(0, ctx.first, ctx.rows)  # type: ignore[attr-defined]


def gather_with_grad(x_ND: Tensor) -> Tensor:
    """The rows of every rank in rank order; gradients flow back to the rank that holds the row.

    The gradient of a row is the sum over all ranks' losses, which is what DistributedDataParallel's
    averaging of parameter gradients needs to give the single-process gradient.

    Args:
        x_ND: rows of this rank; ranks may hold different numbers of rows.

    Returns:
        (M, D); ``x_ND`` itself when there is one process.

    Example:
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> gather_with_grad(x) is x
        True
    """
    if not is_distributed():
        return x_ND
    gathered: Tensor = _GatherWithGrad.apply(x_ND)
    return gathered


def global_mean(values_N: Tensor) -> Tensor:
    """This rank's share of the mean over all ranks' values.

    Args:
        values_N: one value a row on this rank, (N,); counts may differ between ranks, and be 0.

    Returns:
        A scalar: the local sum times the number of ranks over the global count. Averaged over
        ranks, as DistributedDataParallel averages gradients, it is the mean over all M values; 0
        where there are none, with a gradient of 0 and not of NaN.

    Example:
        >>> float(global_mean(torch.tensor([1.0, 3.0])))
        2.0
    """
    if not is_distributed():
        return values_N.mean() if len(values_N) else values_N.sum()
    return values_N.sum() * (world_size() / max(1, sum(row_counts(values_N))))


@torch.no_grad()
def average(value: Tensor) -> Tensor:
    """The mean of a tensor over the ranks, the same on each, without gradient.

    Example:
        >>> float(average(torch.tensor(2.0)))
        2.0
    """
    result = value.detach().clone()
    if is_distributed():
        torch_dist.all_reduce(result)
        result /= world_size()
    return result


def is_loss_of_rank(error: RuntimeError) -> bool:
    """Whether an error says that another rank does not answer any more.

    Example:
        >>> is_loss_of_rank(RuntimeError("[gloo/tcp/pair.cc] Connection closed by peer"))
        False
    """
    if not is_distributed():
        return False
    return isinstance(error, torch_dist.DistError) or "gloo" in str(error)


def _initialised() -> bool:
    return torch_dist.is_available() and torch_dist.is_initialized()
