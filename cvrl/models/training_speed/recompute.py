"""Training with less memory: activations are thrown away and computed again on the way back.

Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174). Cut along the
network, a step holds the activations of one block at a time. Cut along the batch, it holds those of
a few clips at a time: that is the gradient caching of Gao et al. (arXiv 2101.06983), where a
contrastive loss sees the embeddings of the whole batch, its gradient at them goes back, and the
encoder runs again over a few clips at a time to take it up. Either costs one more forward pass.

What is computed again is what was computed before: random numbers are drawn from the same state,
and batch norm uses the same batch without adding it to its running statistics a second time.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")
Maps = TypeVar("Maps", Tensor, dict[str, Tensor])


def recomputed(function: Callable[[Tensor], T], x: Tensor, module: nn.Module) -> T:
    """``function(x)``, whose activations are not kept but computed again for the gradient.

    Where no gradient is wanted this is ``function(x)`` and nothing else.

    Args:
        function: of tensors and of the parameters of ``module``.
        x: what it is given.
        module: holds every batch norm that ``function`` runs through.

    Example:
        >>> layer = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())
        >>> recomputed(layer, torch.rand(4, 3), layer).sum().backward()
        >>> int(layer[0].num_batches_tracked)
        1
    """
    if not torch.is_grad_enabled():
        return function(x)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _spared_statistics(module)

    result: T = checkpoint(function, x, use_reentrant=False, context_fn=contexts)
    return result


def in_parts(
    function: Callable[[Tensor], Maps], clips_NCTHW: Tensor, module: nn.Module, *, at_once: int
) -> Maps:
    """``function`` of some clips at a time, whose activations are computed again for the gradient.

    Clips are dealt out in turns, so that those of one video, which stand side by side, go with
    different others: batch statistics that only they share would tell them from all others.

    Args:
        function: of clips; gives a tensor, or a dict of tensors, with a row a clip.
        clips_NCTHW: N clips.
        module: holds every batch norm that ``function`` runs through.
        at_once: clips at a time, at most.

    Returns:
        What ``function`` gives for all clips, in their order.

    Example:
        >>> in_parts(lambda x: 2 * x, torch.arange(5.0), nn.Identity(), at_once=2)
        tensor([0., 2., 4., 6., 8.])
    """
    count = -(-len(clips_NCTHW) // at_once)
    if count <= 1:
        return function(clips_NCTHW)
    parts = [recomputed(function, clips_NCTHW[n::count], module) for n in range(count)]
    dealt_N = torch.cat([torch.arange(len(clips_NCTHW))[n::count] for n in range(count)])
    place_N = dealt_N.argsort().to(clips_NCTHW.device)
    if isinstance(parts[0], dict):
        return {name: torch.cat([part[name] for part in parts])[place_N] for name in parts[0]}
    return torch.cat(parts)[place_N]


def blocks_of(stage: nn.Module) -> list[nn.Module]:
    """The blocks that a stage runs one after the other; the stage itself where it is no chain.

    Example:
        >>> len(blocks_of(nn.Sequential(nn.ReLU(), nn.ReLU()))), len(blocks_of(nn.ReLU()))
        (2, 1)
    """
    if isinstance(stage, nn.Sequential):
        return list(stage)
    inner = list(stage.children())
    if len(inner) == 1 and isinstance(inner[0], nn.ModuleList):  # pytorchvideo's ResStage
        return list(inner[0])
    return [stage]


@contextmanager
def _spared_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norm inside normalises as ever, but adds what it sees to copies of its statistics."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.training]
    kept = [(norm, dict(norm.named_buffers(recurse=False))) for norm in norms]
    for norm, buffers in kept:
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in kept:
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
