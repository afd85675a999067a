"""Contrastive losses and their gradients, beside lightly's on the same embeddings."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from cvrl.bench.common.peers import load, split_by_installed
from cvrl.bench.common.timing import Goal, Report, interleave, ratio
from cvrl.losses.contrastive import info_nce
from cvrl.utils.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]
MOST_APART = 1e-4
TEMPERATURE = 0.1


def measure(
    *, runs: int, against: Sequence[str], videos: Sequence[int] = (256, 1024), dim: int = 128
) -> Report:
    """Time InfoNCE (NT-Xent) of two views, forward and backward, in float32.

    Args:
        runs: of each candidate.
        against: peers; lightly is the one that has it.
        videos: of a batch, one after the other.
        dim: of an embedding.

    Returns:
        Goals, and how far gradients agree.

    Raises:
        UserError: they do not.
    """
    here, absent = split_by_installed([name for name in against if name == "lightly"])
    losses: dict[str, Loss] = {"cvrl": partial(info_nce, temperature=TEMPERATURE)}
    if here:
        losses["lightly"] = load("lightly.loss").NTXentLoss(temperature=TEMPERATURE)
    torch.manual_seed(0)
    work: dict[str, Callable[[], object]] = {}
    notes = []
    for count in videos:
        views = torch.randn(count, dim), torch.randn(count, dim)
        work |= {f"{name}, {count} videos": partial(run, f, *views) for name, f in losses.items()}
        if here:
            notes.append(
                f"{count} videos: {check_alike(losses['cvrl'], losses['lightly'], *views)}"
            )
    timings = interleave(work, runs=runs)
    goals = []
    for count in videos:
        names = [f"{name}, {count} videos" for name in ("cvrl", "lightly")]
        found = ratio(timings, names[0], names[1]) if here else None
        goals.append(Goal(f"{count} videos: cvrl / lightly", found, 1.0, "at most"))
    facts = {"dimensions": dim, "type": "float32", "threads": torch.get_num_threads()}
    return Report("loss", timings, goals, facts, absent, notes)


def run(loss: Loss, a_BD: Tensor, b_BD: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of a loss at both views' embeddings."""
    a_BD, b_BD = a_BD.detach().requires_grad_(), b_BD.detach().requires_grad_()
    grad_a_BD, grad_b_BD = torch.autograd.grad(loss(a_BD, b_BD), (a_BD, b_BD))
    return grad_a_BD, grad_b_BD


def check_alike(ours: Loss, theirs: Loss, a_BD: Tensor, b_BD: Tensor) -> str:
    """How far the gradients of two losses agree, in words.

    Raises:
        UserError: they differ by more than 1e-4 of their length.
    """
    one, other = (torch.cat(run(loss, a_BD, b_BD)) for loss in (ours, theirs))
    apart = float((one - other).norm() / other.norm())
    if apart > MOST_APART:
        said = f"gradients differ by {apart:.1e} of their length"
        raise UserError("loss", said, "its times would compare unequal work")
    return f"gradients differ by {apart:.1e} of their length"
