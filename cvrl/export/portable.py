"""A model as other programs see it: one graph with a dynamic batch, and what it takes and gives.

Shapes: B clips, T frames, S rows and columns of a clip, C = 3 channels (RGB), D dimensions, K
classes.
"""

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cvrl import __version__
from cvrl.models.backbones import Encoder
from cvrl.models.classifier import Classifier
from cvrl.transforms.colour import Normalize
from cvrl.utils.errors import UserError

Input = Literal["uint8", "float"]
Model = Encoder | Classifier
NAMES = {"uint8": "frames", "float": "clips"}
LAYOUTS = {
    "uint8": "batch, frame, row, column, RGB",
    "float": "batch, RGB, frame, row, column",
}


class Portable(nn.Module):
    """A model with the arithmetic between uint8 frames and its own input.

    Resizing and cropping are left to the caller, since videos differ in size; what comes after
    (scaling to [0, 1], normalisation, differences of frames) is part of the graph.

    Args:
        model: an encoder as :func:`cvrl.load_encoder` gives it, or a classifier.
        takes: ``uint8``: frames (B, T, S, S, 3) in [0, 255] as video readers give them; ``float``:
            clips (B, 3, T, S, S) as ``encoder.preprocess`` gives them.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> model = Portable(build_encoder("r3d_small", width=4).eval(), takes="uint8")
        >>> model(torch.zeros(2, 8, 32, 32, 3, dtype=torch.uint8)).shape
        torch.Size([2, 32])
    """

    def __init__(self, model: Model, takes: Input = "uint8") -> None:
        super().__init__()
        self.model = model
        self.takes = takes
        self.normalise = _normalised(encoder_of(model))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, D), or probabilities (B, K), of frames or clips."""
        if self.takes == "uint8":
            x = x.permute(0, 4, 1, 2, 3).float() / 255
            if self.normalise:
                x = (x - Normalize.mean[0]) / Normalize.std[0]
        y: Tensor = self.model(x)
        return y


def encoder_of(model: Model) -> Encoder:
    """The encoder of a model, which may be one itself."""
    return model.encoder if isinstance(model, Classifier) else model


def clip_shape(model: Model) -> tuple[int, int]:
    """T and S of the clips of a model.

    Raises:
        UserError: the encoder does not know its clips: it was built, not loaded.
    """
    encoder = encoder_of(model)
    if encoder.clip is None or encoder.size is None:
        raise UserError("the encoder", "does not know its clips", "load it with cvrl.load_encoder")
    return encoder.clip.frames, encoder.size


def trace(portable: Portable) -> torch.export.ExportedProgram:
    """The graph of a model, for clips of its own length and size and any batch."""
    T, S = clip_shape(portable.model)
    example = torch.zeros(2, 3, T, S, S)
    if portable.takes == "uint8":
        example = torch.zeros(2, T, S, S, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        return torch.export.export(portable.eval(), (example,), dynamic_shapes=({0: batch},))


def describe(portable: Portable) -> dict[str, Any]:
    """What a program needs to know to use the exported file, JSON-able.

    Returns:
        ``kind``, ``input``, ``clip`` (how frames are chosen), ``size``, ``resize``, ``output``,
            ``labels`` (K names in the order of the probabilities; None of an encoder),
            ``multi_label``, ``encoder`` and ``cvrl_version``.
    """
    model, encoder = portable.model, encoder_of(portable.model)
    classifier = model if isinstance(model, Classifier) else None
    T, S = clip_shape(model)
    uint8 = portable.takes == "uint8"
    return {
        "kind": "encoder" if classifier is None else "classifier",
        "input": {
            "name": NAMES[portable.takes],
            "dtype": "uint8" if uint8 else "float32",
            "shape": ["batch", T, S, S, 3] if uint8 else ["batch", 3, T, S, S],
            "layout": LAYOUTS[portable.takes],
            "normalised_before": portable.normalise and not uint8,
        },
        "clip": dataclasses.asdict(encoder.clip),
        "size": S,
        "resize": "short side to size, bilinear with antialiasing, then the central square",
        "output": "features" if classifier is None else "probabilities",
        "labels": None if classifier is None else classifier.class_names,
        "multi_label": classifier is not None and classifier.head.multi_label,
        "encoder": encoder.spec,
        "cvrl_version": __version__,
    }


def _normalised(encoder: Encoder) -> bool:
    return bool(getattr(encoder.preprocess, "normalised", False))
