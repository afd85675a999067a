"""Weights in and out: safetensors files, other libraries' checkpoints, images' weights for video.

No file is trusted: safetensors hold tensors alone, and pickled checkpoints are opened with torch's
``weights_only=True``, which runs nothing they contain.
"""

import json
import logging
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cvrl.models.backbones import Encoder
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

logger = logging.getLogger("cvrl")
PICKLED = (".pt", ".pth", ".pyth", ".bin", ".ckpt", ".tar")

# Where checkpoints keep their tensors, and what wrappers put before the names of an encoder's.
_WRAPPERS = ("model_state", "state_dict", "model", "task")
_PREFIXES = ("module.", "backbone.", "encoder.")

# pytorchvideo's and torchvision's names of the parts of an Encoder, which has no classifier.
_PARTS = {
    "blocks.0.": "stem.",
    **{f"blocks.{number}.": f"res{number + 1}." for number in (1, 2, 3, 4)},
    **{f"layer{number}.": f"res{number + 1}." for number in (1, 2, 3, 4)},
}
_CLASSIFIERS = ("blocks.5.", "fc.")

# torchvision's image ResNet: the names of its stem and of the layers of a block, by video family.
_BOTTLENECK_NAMES = {
    "conv1": "branch2.conv_a",
    "bn1": "branch2.norm_a",
    "conv2": "branch2.conv_b",
    "bn2": "branch2.norm_b",
    "conv3": "branch2.conv_c",
    "bn3": "branch2.norm_c",
    "downsample.0": "branch1_conv",
    "downsample.1": "branch1_norm",
}
_BASIC_NAMES = {
    "conv1": "conv1.0",
    "bn1": "conv1.1",
    "conv2": "conv2.0",
    "bn2": "conv2.1",
    "downsample.0": "downsample.0",
    "downsample.1": "downsample.1",
}
_COPY_AGAIN = "it may be cut short: copy, download or write it again"
_COUNTER = "num_batches_tracked"  # bookkeeping that old checkpoints lack; no part of a match


@dataclass(frozen=True)
class MatchReport:
    """How the tensors of a checkpoint met those of a module; prints as one line.

    Attributes:
        matched: names that were loaded.
        missing: the module's tensors that the checkpoint lacks; they kept their values.
        unexpected: the checkpoint's tensors that the module lacks.
        mismatched: (name, shape in the checkpoint, shape in the module), not loaded.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def fraction(self) -> float:
        """Matched tensors over the module's, in [0, 1]."""
        return len(self.matched) / max(self._total, 1)

    @property
    def _total(self) -> int:
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    def __str__(self) -> str:
        shapes = [f"{name} {_by(there)} for {_by(here)}" for name, there, here in self.mismatched]
        parts = [
            f"{len(self.matched)} of {self._total} tensors match ({100 * self.fraction:.1f} %)",
            *_few("missing", self.missing),
            *_few("of another shape", shapes),
            *_few("not used", self.unexpected),
        ]
        return ", ".join(parts)


def save_weights(
    path: str | PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and facts about them as safetensors, whole or not at all.

    The same content gives the same bytes: safetensors shuffles its metadata, so all of it is stored
    as the JSON text of one entry.

    Args:
        path: the file, replaced if there.
        tensors: on any device; views and shared memory are written out in full.
        metadata: JSON-able.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "w.safetensors"
        >>> save_weights(file, {"a": torch.ones(2)}, {"epoch": 3})
        >>> load_weights(file)
        ({'a': tensor([1., 1.])}, {'epoch': 3})
    """
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with atomic_path(path) as temporary:
        save_file(plain, temporary, {"cvrl": json.dumps(dict(metadata), sort_keys=True)})


def load_weights(path: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file on the CPU.

    Returns:
        The tensors, and the metadata given to :func:`save_weights`; of another program's file, its
        metadata as text.

    Raises:
        UserError: no such file, or a truncated or foreign one.
    """
    _check_is_file(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata() or {}
        return tensors, json.loads(metadata["cvrl"]) if "cvrl" in metadata else dict(metadata)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UserError(path, f"is no whole safetensors file ({error})", _COPY_AGAIN) from error


def read_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint of this or another library.

    Wrappers such as ``{"model_state": ...}`` or ``{"state_dict": ...}`` are opened, and the
    prefixes ``module.``, ``backbone.`` and ``encoder.`` taken off the names.

    Args:
        path: ``.safetensors``, or pickled: one of :data:`PICKLED`.

    Raises:
        UserError: no such file, a truncated one, one without tensors, or a pickle that needs more
            than tensors to be opened, which is never done.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "w.pth"
        >>> torch.save({"state_dict": {"module.a": torch.ones(2)}}, file)
        >>> read_state_dict(file)
        {'a': tensor([1., 1.])}
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".safetensors":
        content: object = load_weights(path)[0]
    elif suffix in PICKLED:
        content = _unpickle(path)
    else:
        known = ", ".join((".safetensors", *PICKLED))
        raise UserError(path, "has no suffix of a file of weights", f"give one of {known}")
    while isinstance(content, Mapping):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): tensor for name, tensor in items if isinstance(tensor, Tensor)}
    if not tensors:
        raise UserError(path, "holds no tensors by name", "give a file with a model's state dict")
    return _without_prefixes(tensors, path)


def to_encoder_keys(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a pytorchvideo or torchvision video network to those of an Encoder.

    The classifier's are dropped; names that are an Encoder's already stay.

    Example:
        >>> one = torch.ones(1)
        >>> list(to_encoder_keys({"blocks.1.a": one, "layer4.b": one, "blocks.5.proj.bias": one}))
        ['res2.a', 'res5.b']
    """
    renamed = {}
    for name, tensor in state_dict.items():
        if name.startswith(_CLASSIFIERS):
            continue
        part = next((part for part in _PARTS if name.startswith(part)), "")
        renamed[_PARTS.get(part, "") + name.removeprefix(part)] = tensor
    return renamed


def inflate(state_2d: Mapping[str, Tensor], encoder: Encoder) -> dict[str, Tensor]:
    """Turn the weights of torchvision's image ResNet into those of a video encoder.

    A kernel is repeated over the T frames that the video kernel sees and divided by T (Carreira
    and Zisserman, arXiv 1705.07750, section 2.4.1). So every convolution answers a still clip as
    the image network's does, but for first and last frames, which see zeros beyond the clip.

    Args:
        state_2d: ResNet-50 for ``r3d50`` and ``slow_r50``; ResNet-18 for ``r3d18``.
        encoder: gives the names and the T of every kernel; not changed.

    Returns:
        Tensors by the encoder's names, for :func:`load_matching`.

    Raises:
        UserError: the encoder is ``r2plus1d18``, whose factored kernels no image network has.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> flat = {"conv1.weight": torch.ones(64, 3, 7, 7)}
        >>> inflate(flat, build_encoder("r3d18"))["stem.0.weight"].shape
        torch.Size([64, 3, 3, 7, 7])
    """
    name = encoder.spec["name"]
    if name == "r2plus1d18":
        remedy = "use r3d18, r3d50 or slow_r50, or weights of a video network"
        raise UserError(f"encoder.name = {name}", "cannot start from image weights", remedy)
    renamed = to_encoder_keys({_video_name(key, name): state_2d[key] for key in state_2d})
    own = encoder.state_dict()
    return {key: _over_time(tensor, own.get(key)) for key, tensor in renamed.items()}


def load_matching(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    minimum: float = 0.95,
    source: object = "weights",
) -> MatchReport:
    """Load the tensors whose name and shape a module has, if these are nearly all it has.

    Args:
        module: changed in place; unchanged when an error is raised.
        state_dict: by the module's names.
        minimum: least share of the module's tensors (parameters and running statistics) that must
            match, in [0, 1].
        source: where they come from, for the message.

    Raises:
        UserError: fewer match.

    Example:
        >>> print(load_matching(nn.Linear(2, 2), nn.Linear(2, 2).state_dict()))
        2 of 2 tensors match (100.0 %)
    """
    own = module.state_dict()
    report = _compare(own, state_dict)
    if report.fraction < minimum:
        remedy = f"give weights of this architecture: {100 * minimum:g} % must match"
        raise UserError(source, str(report), remedy)
    fitting = {n: t for n, t in state_dict.items() if n in own and t.shape == own[n].shape}
    module.load_state_dict(fitting, strict=False)
    return report


def load_pretrained(
    encoder: Encoder, path: str | PathLike[str], *, minimum: float = 0.95
) -> MatchReport:
    """Start an encoder from a file: its own, pytorchvideo's, torchvision's, or an image ResNet's.

    The report is logged, as a warning where a tensor of the encoder keeps its random start.

    Args:
        encoder: changed in place; unchanged when an error is raised.
        path: see :func:`read_state_dict`.
        minimum: see :func:`load_matching`.

    Raises:
        UserError: the file cannot be read, or its tensors are another network's.

    Example:
        >>> import tempfile
        >>> from cvrl.models.backbones import build_encoder
        >>> encoder, file = build_encoder("r3d_small"), Path(tempfile.mkdtemp()) / "w.safetensors"
        >>> save_weights(file, encoder.state_dict(), {})
        >>> print(load_pretrained(encoder, file))
        65 of 65 tensors match (100.0 %)
    """
    state_dict = read_state_dict(path)
    first = state_dict.get("conv1.weight")
    is_of_images = first is not None and first.ndim == 4
    renamed = inflate(state_dict, encoder) if is_of_images else to_encoder_keys(state_dict)
    report = load_matching(encoder, renamed, minimum=minimum, source=path)
    level = logging.INFO if report.fraction == 1.0 else logging.WARNING
    logger.log(level, "%s: %s", path, report)
    return report


def _check_is_file(path: str | PathLike[str]) -> None:
    if not Path(path).is_file():
        reason = "is a folder" if Path(path).is_dir() else "does not exist"
        raise UserError(path, reason, "give the path of a file of weights")


def _unpickle(path: str | PathLike[str]) -> object:
    _check_is_file(path)
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
        return content
    except Exception as error:  # zip, pickle, EOF and decoding errors share no base class
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            reason = f"holds {refused[1]}, code that could do anything, so it was not opened"
            remedy = "where you trust it, load it and save its state dict alone with torch.save"
            raise UserError(path, reason, remedy) from error
        reason = f"is no whole checkpoint ({type(error).__name__})"
        raise UserError(path, reason, _COPY_AGAIN) from error


def _without_prefixes(
    tensors: Mapping[str, Tensor], source: str | PathLike[str]
) -> dict[str, Tensor]:
    stripped: dict[str, Tensor] = {}
    for full_name, tensor in tensors.items():
        name = full_name
        while name.startswith(_PREFIXES):
            name = name.partition(".")[2]
        if name in stripped:
            remedy = "save the encoder's state dict alone"
            raise UserError(source, f"holds two networks with a tensor {name}", remedy)
        stripped[name] = tensor
    return stripped


def _compare(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> MatchReport:
    counted = {name: tuple(t.shape) for name, t in own.items() if not name.endswith(_COUNTER)}
    there = {name: tuple(t.shape) for name, t in given.items()}
    return MatchReport(
        matched=tuple(name for name in counted if there.get(name) == counted[name]),
        missing=tuple(name for name in counted if name not in there),
        unexpected=tuple(name for name in there if name not in own),
        mismatched=tuple(
            (name, there[name], here)
            for name, here in counted.items()
            if name in there and there[name] != here
        ),
    )


def _video_name(flat_name: str, encoder_name: str) -> str:
    """The name that a tensor of torchvision's image ResNet has in its video networks."""
    basic = encoder_name == "r3d18"
    layers = _BASIC_NAMES if basic else _BOTTLENECK_NAMES
    found = re.match(r"(?:(layer\d)\.(\d+)\.)?(conv\d|bn\d|downsample\.\d)(?=\.)", flat_name)
    if not found or found[3] not in layers:
        return flat_name
    stage, block, layer, rest = *found.groups(), flat_name[found.end() :]
    if stage is None:
        kind = "conv" if layer == "conv1" else "norm"
        return "stem." + ({"conv": "0", "norm": "1"}[kind] if basic else kind) + rest
    return f"{stage}.{block if basic else f'res_blocks.{block}'}.{layers[layer]}{rest}"


def _over_time(tensor: Tensor, target: Tensor | None) -> Tensor:
    if tensor.ndim != 4:
        return tensor
    frames = target.shape[2] if target is not None and target.ndim == 5 else 1
    return tensor.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames


def _by(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _few(what: str, names: Iterable[str], shown: int = 3) -> list[str]:
    listed = list(names)
    if not listed:
        return []
    dots = ", ..." if len(listed) > shown else ""
    return [f"{len(listed)} {what} ({', '.join(listed[:shown])}{dots})"]
