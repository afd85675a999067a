"""The row every score is held against: the same network with random weights.

A random network sees a good deal (a random 3D ResNet is far above chance on UCF101), so a number
says little without it. Batch norm needs care. Its running statistics start at mean 0 and variance
1, which in evaluation mode normalises nothing, unlike the network that training started from. So
one twin gets statistics measured on the training clips. But whichever of the two is weaker depends
on data and protocol, and a weak rival would flatter the trained network; so both are scored, and
the better one is the random-init row.
"""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cvrl.data.dataset import EvalDataset
from cvrl.data.loader import eval_loader
from cvrl.evaluation.features.extraction import evaluating, module_device
from cvrl.models.backbones import build_encoder
from cvrl.utils.log import track
from cvrl.utils.seed import integer_seed, numpy_rng

FOR_WEIGHTS = 3  # the engine's key for initial weights, so the twin of a run is the run at step 0
FOR_CHOICE = 5  # the key for the choice of clips that batch norm is measured on
LEAST_BATCH = 8  # videos: smaller batches would miss how much videos differ


def random_init_encoder(spec: dict[str, Any], seed: int) -> nn.Module:
    """Build an encoder with random weights, leaving the global random generator as it was.

    Args:
        spec: what ``build_encoder`` takes, as in ``encoder.spec``.
        seed: of the weights; a run's own seed gives the network it started from.

    Returns:
        The encoder. Its batch norm has no statistics yet, see :func:`recalibrate_batch_norm`.

    Example:
        >>> spec = {"name": "r3d_small"}
        >>> first, second = (random_init_encoder(spec, seed=0) for _ in range(2))
        >>> weights_sha256(first) == weights_sha256(second)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(seed, FOR_WEIGHTS))
        return build_encoder(**spec)


def random_init_encoders(
    spec: dict[str, Any],
    dataset: EvalDataset,
    seed: int,
    device: torch.device,
    *,
    batch_videos: int,
    workers: int,
) -> tuple[dict[str, nn.Module], str]:
    """Build the rivals of a trained encoder: the same random weights, batch norm treated two ways.

    Args:
        spec: what ``build_encoder`` takes.
        dataset: clips to measure batch norm on.
        seed: of the weights and of the choice of clips.
        device: where the networks shall work.
        batch_videos: videos encoded at a time.
        workers: loader processes.

    Returns:
        The networks by how their batch norm is set (a single one where there is none), and a line
        for the protocol card.

    Raises:
        CorruptVideoError: a video cannot be decoded.
    """
    plain = random_init_encoder(spec, seed).to(device)
    measured = copy.deepcopy(plain)
    used = recalibrate_batch_norm(
        measured, dataset, seed=seed, batch_videos=batch_videos, workers=workers
    )
    words = f"same architecture, random weights of seed {seed}"
    if used == 0:
        return {"none": plain}, words
    twins = {"measured": measured, "as initialised": plain}
    return twins, f"{words}, batch norm measured on {used} videos or as initialised: the better row"


def recalibrate_batch_norm(
    encoder: nn.Module,
    dataset: EvalDataset,
    *,
    seed: int = 0,
    max_videos: int = 256,
    batch_videos: int = 8,
    workers: int = 0,
) -> int:
    """Replace the running statistics of batch norm by plain averages over clips of a list.

    Only batch norm is put in training mode; weights, and the modes of all modules, stay as they
    were. Labels are not looked at.

    Args:
        encoder: maps clips (M, C, T, H, W) to vectors.
        dataset: clips of the training part.
        seed: decides which videos and their order: a list is often sorted by class, and a batch
            of one class would understate the variance.
        max_videos: how many videos at most.
        batch_videos: videos a batch; at least 8 are taken.
        workers: loader processes.

    Returns:
        The number of videos used; 0 for an encoder without batch norm, which is left alone.

    Raises:
        CorruptVideoError: a video cannot be decoded, unless the data set names such ones.
    """
    if not any(isinstance(part, _BatchNorm) for part in encoder.modules()):
        return 0
    rows = numpy_rng(seed, FOR_CHOICE).permutation(len(dataset))[:max_videos]
    some = copy.copy(dataset)
    some.manifest = dataset.manifest.take(rows)
    loader = eval_loader(some, batch_videos=max(batch_videos, LEAST_BATCH), workers=workers)
    device, used = module_device(encoder), len(rows)
    with _averaging(encoder), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for batch in track(loader, len(loader), "batch norm of the random-init network", "batches"):
            used -= len(batch.bad)
            if len(batch.index_M):
                encoder(batch.clips_MCTHW.to(device))
    return used


@contextmanager
def _averaging(encoder: nn.Module) -> Iterator[None]:
    """Batch norm begins its statistics anew and averages them evenly; all else is in eval mode."""
    norms = [part for part in encoder.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        with evaluating(encoder):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch's name for the cumulative average
                norm.train()
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def weights_sha256(module: nn.Module) -> str:
    """Identify weights: a hash over names, types, shapes and bytes of parameters and buffers.

    It does not depend on the file they came from, so the same weights saved twice agree.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> weights_sha256(nn.Identity())[:8]
        'e3b0c442'
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
