"""Weights in and out: safetensors files, and the checkpoints of other libraries.

No file is trusted: safetensors hold tensors alone, and pickled checkpoints and numpy archives are
opened with torch's ``weights_only=True`` and numpy's ``allow_pickle=False``, which run nothing.
"""

import json
import logging
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cvrl.models.backbones import Encoder
from cvrl.models.key_maps import comes_from_tensorflow, inflate, to_encoder_keys
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

logger = logging.getLogger("cvrl")
PICKLED = (".pt", ".pth", ".pyth", ".bin", ".ckpt", ".tar")

# Where checkpoints keep their tensors, and what wrappers put before the names of an encoder's.
_WRAPPERS = ("model_state", "state_dict", "model", "task")
_PREFIXES = ("module.", "backbone.", "encoder.")

_COPY_AGAIN = "it may be cut short: copy, download or write it again"
_PADS_ASIDE = (
    "these are TensorFlow's weights, which pads even sizes unevenly: features differ from the "
    "original's, but for clips of an odd number of frames and sides of 32 k + 1 pixels (17 of 225)"
)
_HEADS = ("projector.", "class_head.")  # what cvrl saves beside an encoder
_SHOWN = 3  # names of a kind in the one line of a report
_COUNTER = "num_batches_tracked"  # bookkeeping that old checkpoints lack; no part of a match


@dataclass(frozen=True)
class MatchReport:
    """How the tensors of a checkpoint met those of a module; prints as one line, lists in full.

    Attributes:
        matched: names that were loaded.
        missing: the module's tensors that the checkpoint lacks; they kept their values.
        unexpected: the checkpoint's tensors that the module lacks, by the checkpoint's names.
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

    @property
    def _unmatched(self) -> dict[str, tuple[str, ...]]:
        """What kept each tensor of either side from being loaded, and which these are."""
        shapes = (f"{name} {_by(there)} for {_by(here)}" for name, there, here in self.mismatched)
        return {
            "missing": self.missing,
            "of another shape": tuple(shapes),
            "not used": self.unexpected,
        }

    def __str__(self) -> str:
        share = f"{len(self.matched)} of {self._total} tensors match ({100 * self.fraction:.1f} %)"
        kinds = [_few(what, names) for what, names in self._unmatched.items() if names]
        return ", ".join([share, *kinds])

    def lines(self) -> list[str]:
        """Every tensor of either side that was not loaded, one a line, and why.

        Example:
            >>> state = {"weight": torch.ones(3, 2), "fc.bias": torch.ones(1)}
            >>> load_matching(nn.Linear(2, 2), state, minimum=0.0).lines()
            ['missing: bias', 'of another shape: weight 3x2 for 2x2', 'not used: fc.bias']
        """
        return [f"{what}: {name}" for what, names in self._unmatched.items() for name in names]

    @property
    def is_abridged(self) -> bool:
        """Whether the one line leaves out names that :meth:`lines` lists."""
        return any(len(names) > _SHOWN for names in self._unmatched.values())


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


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Describe the first tensor that holds infinite values or NaN; None where all are finite.

    Example:
        >>> first_not_finite({"a": torch.ones(2), "b": torch.tensor([1.0, torch.inf])})
        'tensor b holds 1 of 2 values that are not finite'
    """
    for name, tensor in tensors.items():
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            bad = int((~finite).sum())
            return f"tensor {name} holds {bad} of {tensor.numel()} values that are not finite"
    return None


def check_finite(tensors: Mapping[str, Tensor], source: object, remedy: str) -> None:
    """Refuse weights that hold infinite values or NaN.

    Args:
        tensors: by name; whole numbers are always finite.
        source: where they come from, for the message.
        remedy: what to do about it.

    Raises:
        UserError: naming the first such tensor.
    """
    found = first_not_finite(tensors)
    if found is not None:
        raise UserError(source, found, remedy)


def read_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint of this or another library.

    Wrappers such as ``{"model_state": ...}`` or ``{"state_dict": ...}`` are opened, and the
    prefixes ``module.``, ``backbone.`` and ``encoder.`` taken off the names.

    Args:
        path: ``.safetensors``, ``.npz`` (arrays by name, as of TensorFlow's variables; texts are
            passed over), or pickled: one of :data:`PICKLED`.

    Raises:
        UserError: no such file, a truncated one, one without tensors, or a pickle that needs more
            than tensors to be opened, which is never done; or values that are not finite.

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
    elif suffix == ".npz":
        content = _read_arrays(path)
    elif suffix in PICKLED:
        content = _unpickle(path)
    else:
        known = ", ".join((".safetensors", ".npz", *PICKLED))
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
    check_finite(tensors, path, "give weights of a training run that did not diverge")
    return _without_prefixes(tensors, path)


def load_matching(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    minimum: float = 0.95,
    source: object = "weights",
    origins: Mapping[str, str] | None = None,
) -> MatchReport:
    """Load the tensors whose name and shape a module has, if these are nearly all, on both sides.

    Args:
        module: changed in place; unchanged when an error is raised.
        state_dict: by the module's names.
        minimum: least share of the module's tensors (parameters and running statistics) that must
            match, and of those given for its children (a deeper network has more), in [0, 1].
        source: where they come from, for the message.
        origins: the names that the tensors have there, for the report; those given by default.

    Raises:
        UserError: fewer match.

    Example:
        >>> print(load_matching(nn.Linear(2, 2), nn.Linear(2, 2).state_dict()))
        2 of 2 tensors match (100.0 %)
    """
    own = module.state_dict()
    origins = origins or {}
    report = _compare(own, state_dict, origins)
    if report.fraction < minimum:
        remedy = f"give weights of this architecture: {100 * minimum:g} % must match"
        raise UserError(source, str(report), remedy)
    children = {name.partition(".")[0] for name in own}
    given = [n for n in state_dict if n.partition(".")[0] in children and not n.endswith(_COUNTER)]
    placeless = [origins.get(name, name) for name in given if name not in own]
    if len(placeless) > (1 - minimum) * len(given):
        reason = f"is of a larger network: {_few('tensors without a place', placeless)}"
        raise UserError(source, reason, "give weights of this architecture")
    fitting = {n: t for n, t in state_dict.items() if n in own and t.shape == own[n].shape}
    module.load_state_dict(fitting, strict=False)
    return report


def load_pretrained(
    encoder: Encoder, path: str | PathLike[str], *, minimum: float = 0.95
) -> MatchReport:
    """Start an encoder from a file of its own, of another library, or of an image ResNet.

    Of other libraries' files, those of pytorchvideo and SlowFast fit ``slow_r50``, torchvision's
    ``r3d18`` and ``r2plus1d18``, and those of CVRL ``r3d50``; the last do not give the very
    features of the original, see :func:`~cvrl.models.key_maps.comes_from_tensorflow`. An image
    ResNet's are inflated, see :func:`~cvrl.models.key_maps.inflate`.

    The report is logged, as a warning where a tensor of the encoder keeps its random start, and
    every tensor of either side that was not loaded is listed.

    Args:
        encoder: changed in place; unchanged when an error is raised.
        path: see :func:`read_state_dict`.
        minimum: see :func:`load_matching`.

    Returns:
        Which tensors were loaded and which not; :meth:`MatchReport.lines` lists them.

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
    if first is not None and first.ndim == 4:
        renamed = inflate(state_dict, encoder)
    else:
        renamed = to_encoder_keys(state_dict, source=path)
    origins = dict(zip(renamed, state_dict, strict=True))
    report = load_matching(encoder, renamed, minimum=minimum, source=path, origins=origins)
    of_encoder = [name for name in report.unexpected if not name.startswith(_HEADS)]
    shown = replace(report, unexpected=tuple(of_encoder))
    logger.log(logging.INFO if report.fraction == 1.0 else logging.WARNING, "%s: %s", path, shown)
    if shown.is_abridged:
        logger.info("%s: tensors not loaded:\n  %s", path, "\n  ".join(shown.lines()))
    if len(of_encoder) < len(report.unexpected):
        left_out = len(report.unexpected) - len(of_encoder)
        logger.info("%s: the encoder is used, its heads (%d tensors) are left out", path, left_out)
    if comes_from_tensorflow(state_dict):
        logger.warning("%s: %s", path, _PADS_ASIDE)
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


def _read_arrays(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The arrays of numbers in a numpy archive; as with a pickle, what is none is no tensor."""
    _check_is_file(path)
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        native = {name: a.astype(a.dtype.newbyteorder("=")) for name, a in arrays.items()}
        return {name: torch.from_numpy(a) for name, a in native.items() if a.dtype.kind not in "SU"}
    except Exception as error:  # zip, header, decompression and type errors share no base class
        if "Object arrays" in str(error):
            reason = "holds Python objects, code that could do anything, so it was not opened"
            raise UserError(path, reason, "save arrays of numbers alone") from error
        if isinstance(error, TypeError):
            reason = f"holds an array that is not of numbers ({error})"
            raise UserError(path, reason, "save its arrays as float32") from error
        reason = f"is no whole numpy archive ({type(error).__name__})"
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


def _compare(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], origins: Mapping[str, str]
) -> MatchReport:
    counted = {name: tuple(t.shape) for name, t in own.items() if not name.endswith(_COUNTER)}
    there = {name: tuple(t.shape) for name, t in given.items()}
    return MatchReport(
        matched=tuple(name for name in counted if there.get(name) == counted[name]),
        missing=tuple(name for name in counted if name not in there),
        unexpected=tuple(origins.get(name, name) for name in there if name not in own),
        mismatched=tuple(
            (name, there[name], here)
            for name, here in counted.items()
            if name in there and there[name] != here
        ),
    )


def _by(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _few(what: str, names: Sequence[str]) -> str:
    dots = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{dots})"
