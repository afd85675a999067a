"""Saving a trained encoder with all that is needed to use it, and loading it in one line."""

import dataclasses
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from cvrl.data.clips import ClipSpec
from cvrl.models import heads
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.weights import load_weights, save_weights
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError

MODEL_FILE = "model.safetensors"


def save_model(
    path: str | PathLike[str],
    encoder: Encoder,
    *,
    clip: ClipSpec,
    size: int,
    normalise: bool = False,
    projector: nn.Module | None = None,
) -> None:
    """Write an encoder, and its projection head where there is one, as safetensors.

    Args:
        path: the file.
        encoder: what was trained.
        clip: the clips it was trained on.
        size: their height and width in pixels.
        normalise: whether its input is shifted and scaled after [0, 1].
        projector: a head made by :func:`cvrl.models.heads.mlp`.
    """
    kept = {k: v for k, v in encoder.state_dict().items() if not k.startswith("projector.")}
    facts: dict[str, Any] = {
        "encoder": encoder.spec,
        "clip": dataclasses.asdict(clip),
        "size": size,
        "normalise": normalise,
        "projector": None if projector is None else heads.describe(projector),
    }
    tensors = {f"encoder.{key}": value for key, value in kept.items()}
    if projector is not None:
        tensors |= {f"projector.{key}": value for key, value in projector.state_dict().items()}
    save_weights(path, tensors, {"cvrl": facts})


def load_encoder(path: str | PathLike[str]) -> Encoder:
    """Load a trained encoder.

    Args:
        path: a run folder or a ``model.safetensors``.

    Returns:
        The encoder in evaluation mode: ``encoder(clips_BCTHW) -> (B, D)``. It also has

        * ``preprocess``: the evaluation transform, uint8 (..., C, T, H, W) to float
          (..., C, T, S, S);
        * ``clip``: the :class:`~cvrl.data.clips.ClipSpec` of its clips, ``size``: S in pixels;
        * ``projector``: the projection head, or None.

    Raises:
        UserError: no such file, a truncated one, or one that is not a cvrl model.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(file, build_encoder("r3d_small"), clip=ClipSpec(8, 4), size=64)
        >>> encoder = load_encoder(file)
        >>> encoder.clip.frames, encoder.size
        (8, 64)
    """
    file = Path(path) / MODEL_FILE if Path(path).is_dir() else Path(path)
    if not file.exists():
        raise UserError(path, f"holds no {MODEL_FILE}", "give a run folder, or train one first")
    tensors, metadata = load_weights(file)
    if "cvrl" not in metadata:
        raise UserError(file, "is not a model that cvrl wrote", "give the run folder of a cvrl run")
    facts = metadata["cvrl"]
    encoder = build_encoder(**facts["encoder"])
    encoder.load_state_dict(_under("encoder.", tensors))
    if facts["projector"] is not None:
        encoder.projector = heads.mlp(**facts["projector"])
        encoder.projector.load_state_dict(_under("projector.", tensors))
    encoder.clip = ClipSpec(**facts["clip"])
    encoder.size = facts["size"]
    encoder.preprocess = recipes.evaluation(facts["size"], normalise=facts["normalise"])
    return encoder.eval()


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
