"""Checkpoints: whole or absent, loaded without running anything they hold.

A run keeps ``checkpoints/step_00000100.pt``. A file is written under a temporary name, flushed and
renamed, so that a killed run leaves the previous one; it loads with ``weights_only=True``.
"""

import os
from pathlib import Path
from typing import Any

import torch

from cvrl.models.weights import check_finite
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

State = dict[str, Any]


def save_checkpoint(folder: str | os.PathLike[str], step: int, state: State, *, keep: int) -> Path:
    """Write the state of a run after ``step`` steps and drop the oldest files beyond ``keep``.

    Args:
        folder: the run's ``checkpoints`` folder.
        step: optimiser steps done.
        state: tensors, numbers, strings and containers of them.
        keep: files to keep, >= 1.

    Returns:
        The file.

    Raises:
        DiskFullError: there is no space left; the older files stay.

    Example:
        >>> import tempfile
        >>> save_checkpoint(tempfile.mkdtemp(), 5, {"step": 5}, keep=1).name
        'step_00000005.pt'
    """
    path = Path(folder) / f"step_{step:08d}.pt"
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        torch.save(state, stream)  # to a stream, whose errors say that the disk is full
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def list_checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoint files of a run, oldest first.

    Example:
        >>> list_checkpoints("no such folder")
        []
    """
    return sorted(Path(folder).glob("step_*.pt"))


def load_checkpoint(path: str | os.PathLike[str]) -> State:
    """Read a checkpoint on the CPU.

    Raises:
        UserError: no such file, a truncated or foreign one, one that would need unpickling code,
            or weights that are not finite.
    """
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(path, "no such checkpoint", "give a file under RUN/checkpoints") from None
    except Exception as error:  # zip, pickle, EOF and unpickling errors share no base class
        reason = f"not a whole cvrl checkpoint ({type(error).__name__})"
        raise UserError(path, reason, "remove it to go on from the one before") from error
    if not isinstance(state, dict) or "step" not in state or "task" not in state:
        raise UserError(path, "not a cvrl checkpoint", "give a file under RUN/checkpoints")
    check_finite(state["task"], path, "remove it to go on from the one before")
    return state


def diverged(folder: str | os.PathLike[str], step: int, reason: str) -> UserError:
    """The error of a run whose loss or weights are not finite; it names the last whole checkpoint.

    Args:
        folder: the run's ``checkpoints`` folder.
        step: optimiser steps done.
        reason: what is not finite.

    Example:
        >>> print(diverged("runs/x/checkpoints", 3, "the loss is nan").reason)
        the loss is nan; no checkpoint was saved
    """
    kept = list_checkpoints(folder)
    last = f"the last checkpoint, {kept[-1]}, is finite" if kept else "no checkpoint was saved"
    remedy = "lower optim.lr, set optim.clip_norm=1.0, or use train.precision=fp32"
    return UserError(f"step {step}", f"{reason}; {last}", remedy)
