"""Saving a trained encoder with all that is needed to use it, and loading it in one line."""

import dataclasses
from os import PathLike
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from cvrl.data.clips import ClipSpec
from cvrl.models import heads
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.classifier import Classifier as Classifier
from cvrl.models.hf import TokenMap, is_stored_model
from cvrl.models.weights import check_finite, load_weights, save_weights
from cvrl.transforms import recipes
from cvrl.utils import hub
from cvrl.utils.errors import UserError
from cvrl.utils.remote_folder import fetch

MODEL_FILE = "model.safetensors"
KINDS = {
    **dict.fromkeys((".yaml", ".yml"), "is a config, not a model"),
    **dict.fromkeys((".csv", ".txt", ".parquet", ".tsv"), "is a list of videos, not a model"),
    **dict.fromkeys((".json", ".jsonl"), "is a file of results, not a model"),
}
DIVERGED = "its training diverged: train it again with a lower optim.lr in a new output="
SHIPPED = Path(__file__).parent / "weights"
"""Encoders that come with the package, one file each; see docs/cvrl_small.md."""


def save_model(
    path: str | PathLike[str],
    encoder: Encoder,
    *,
    clip: ClipSpec,
    size: int,
    normalise: bool = False,
    projector: nn.Module | None = None,
    class_head: heads.ClassHead | None = None,
) -> None:
    """Write an encoder, and the heads it has, as safetensors.

    Args:
        path: the file.
        encoder: what was trained.
        clip: the clips it was trained on.
        size: their height and width in pixels.
        normalise: whether its input is shifted and scaled after [0, 1].
        projector: a head made by :func:`cvrl.models.heads.mlp`.
        class_head: the classifier on its feature.
    """
    kept = {k: v for k, v in encoder.state_dict().items() if not k.startswith("projector.")}
    facts: dict[str, Any] = {
        "encoder": encoder.spec,
        "clip": dataclasses.asdict(clip),
        "size": size,
        "normalise": normalise,
        "projector": None if projector is None else heads.describe(projector),
        "class_head": None if class_head is None else class_head.spec,
    }
    tensors = {f"encoder.{key}": value for key, value in kept.items()}
    for name, head in (("projector", projector), ("class_head", class_head)):
        if head is not None:
            tensors |= {f"{name}.{key}": value for key, value in head.state_dict().items()}
    save_weights(path, tensors, {"cvrl": facts})


def load_encoder(
    path: str | PathLike[str], *, size: int | None = None, short_side: int | None = None
) -> Encoder:
    """Load a trained encoder.

    Args:
        path: a run folder or a ``model.safetensors``; a folder with a video model of
            ``transformers``, as its ``save_pretrained`` writes it (see :mod:`cvrl.models.hf`);
            the name of a model on the Hugging Face Hub, ``org/name`` or ``org/name@revision``; or
            ``cvrl_small``, an encoder that comes with the package.
        size: pixels of the crops of its evaluation transform; None for those of training.
        short_side: of the frames that they are cut from; None for ``size``, so that a crop reaches
            over the whole short side.

    Returns:
        The encoder in evaluation mode, ``encoder(clips_BCTHW) -> (B, D)``. Its attribute
            ``preprocess`` is the evaluation transform, uint8 (..., C, T, H, W) to float
            (..., C, T, S, S); ``clip`` is the ClipSpec of its clips, ``size`` is S in pixels, and
            ``projector`` is the projection head, or None.

    Raises:
        UserError: no such file, a truncated one, one that is not a cvrl model, weights that are not
            finite, or a Hub that cannot be reached; a size that the encoder does not take, or
            frames smaller than the crop.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(file, build_encoder("r3d_small"), clip=ClipSpec(8, 4), size=64)
        >>> encoder = load_encoder(file)
        >>> encoder.clip.frames, encoder.size
        (8, 64)
        >>> load_encoder(file, size=80).size
        80
        >>> load_encoder("cvrl_small").dim
        128
    """
    return load_with_head(path, size=size, short_side=short_side)[0]


def load_classifier(
    path: str | PathLike[str], *, size: int | None = None, short_side: int | None = None
) -> Classifier:
    """Load an encoder that was trained with labels, together with its classifier.

    Args:
        path: as :func:`load_encoder`.
        size: as for :func:`load_encoder`, like the next.
        short_side: of the frames.

    Returns:
        The classifier in evaluation mode: ``classifier(clips_BCTHW) -> (B, K)`` probabilities.

    Raises:
        UserError: as :func:`load_encoder`, or the model has no classifier.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> encoder = build_encoder("r3d_small")
        >>> head = heads.ClassHead(encoder.dim, ["run", "jump"])
        >>> save_model(file, encoder, clip=ClipSpec(8, 4), size=64, class_head=head)
        >>> load_classifier(file).class_names
        ['run', 'jump']
    """
    encoder, head = load_with_head(path, size=size, short_side=short_side)
    if head is None:
        reason = "was trained without labels and holds no classifier"
        remedy = "fine-tune it: tools/train_net.py --config configs/finetune/small.yaml"
        raise UserError(path, reason, f"{remedy} encoder.weights={path}")
    return Classifier(encoder, head).eval()


def load_with_head(
    path: str | PathLike[str], *, size: int | None = None, short_side: int | None = None
) -> tuple[Encoder, heads.ClassHead | None]:
    """Load an encoder, and the classifier that was trained with it where there is one.

    Args:
        path: as :func:`load_encoder`.
        size: as for :func:`load_encoder`, like the next.
        short_side: of the frames.

    Returns:
        Both in evaluation mode; None for a model that was trained without labels.

    Raises:
        UserError: as :func:`load_encoder`.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_model(file, build_encoder("r3d_small"), clip=ClipSpec(8, 4), size=64)
        >>> load_with_head(file)[1] is None
        True
    """
    path = local_path(path)
    if is_stored_model(path):
        return _with_size(_foreign_encoder(path), size, short_side), None
    tensors, facts = _read(path)
    encoder = _with_size(_encoder(tensors, facts), size, short_side)
    if facts.get("class_head") is None:
        return encoder, None
    head = heads.ClassHead(**facts["class_head"])
    head.load_state_dict(_under("class_head.", tensors))
    return encoder, head.eval()


def holds_classifier(path: str | PathLike[str]) -> bool:
    """Whether :func:`load_classifier` would find one.

    Args:
        path: as :func:`load_encoder`.

    Raises:
        UserError: as :func:`load_encoder`.
    """
    path = local_path(path)
    return not is_stored_model(path) and _read(path)[1].get("class_head") is not None


def facts_of(path: str | PathLike[str]) -> dict[str, Any]:
    """What a ``model.safetensors`` says of its model: the keywords that :func:`save_model` got.

    Args:
        path: a run folder or the file.

    Returns:
        ``encoder``, ``clip``, ``size``, ``normalise``, ``projector`` and ``class_head``, JSON-able.

    Raises:
        UserError: as :func:`load_encoder`.
    """
    return _read(path)[1]


def input_of(path: str | PathLike[str]) -> str:
    """What the network of a file of weights is fed, as ``clip.input`` names it.

    Args:
        path: a run folder, a ``model.safetensors``, or a checkpoint of another library.

    Returns:
        The input of a cvrl model; ``rgb`` for files of other libraries.
    """
    file = model_file(path)
    if file.suffix != ".safetensors":
        return "rgb"
    facts: dict[str, Any] = load_weights(file)[1].get("cvrl", {})
    return str(facts.get("encoder", {}).get("input", "rgb"))


def local_path(path: str | PathLike[str]) -> str | PathLike[str]:
    """A path as it is; of a model on the Hub or at a URL, where it is downloaded to.

    Of an encoder that comes with the package, its file.

    Raises:
        UserError: see :func:`cvrl.utils.hub.download`.
    """
    if is_shipped(path):
        return SHIPPED / f"{path}.safetensors"
    return hub.download(str(path)) if hub.is_hub_name(path) else fetch(path)


def model_file(path: str | PathLike[str]) -> Path:
    """The file of weights that a path stands for: a run folder's model, or the file itself.

    Args:
        path: a run folder, a file, or the name of a model on the Hub or of a shipped encoder.

    Raises:
        UserError: there is none.

    Example:
        >>> model_file(Path("runs/none"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: runs/none: holds no model.safetensors; give a run folder, ...
    """
    given = Path(local_path(path))
    file = given / MODEL_FILE if given.is_dir() else given
    if file.exists():
        return file
    if (given.parent / MODEL_FILE).exists() and any(given.glob("step_*.pt")):
        raise UserError(path, "is the folder of a run's checkpoints", f"give {given.parent}")
    if (given / "config.yaml").exists():
        reason = f"is a run that has saved no {MODEL_FILE} yet"
        raise UserError(path, reason, "repeat its training command to go on with it")
    raise UserError(path, f"holds no {MODEL_FILE}", "give a run folder, or train one first")


def _check_is_model(file: Path) -> None:
    """Refuse a file that is known to be something else, and say what was meant.

    Raises:
        UserError: a config, a list, a result, or a checkpoint to resume from.
    """
    suffix = file.suffix.lower()
    run = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    if suffix in KINDS:
        remedy = "give the run folder"
    elif suffix == ".pt" and (run / MODEL_FILE).exists():
        remedy = f"give {run}"
    else:
        return
    raise UserError(file, KINDS.get(suffix, "is a checkpoint to resume training from"), remedy)


def is_shipped(path: str | PathLike[str]) -> bool:
    """Whether a path is the name of an encoder that comes with the package, and no file.

    Example:
        >>> is_shipped("cvrl_small"), is_shipped("runs/cvrl_small")
        (True, False)
    """
    names = [file.stem for file in SHIPPED.glob("*.safetensors")]
    return str(path) in names and not Path(path).exists()


def _read(path: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a model that cvrl wrote."""
    file = model_file(path)
    _check_is_model(file)
    tensors, metadata = load_weights(file)
    if "cvrl" not in metadata:
        raise UserError(file, "is not a model that cvrl wrote", "give the run folder of a cvrl run")
    check_finite(tensors, file, DIVERGED)
    return tensors, metadata["cvrl"]


def _encoder(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Encoder:
    encoder = build_encoder(**facts["encoder"])
    encoder.load_state_dict(_under("encoder.", tensors))
    if facts["projector"] is not None:
        encoder.projector = heads.mlp(**facts["projector"])
        encoder.projector.load_state_dict(_under("projector.", tensors))
    encoder.clip = ClipSpec(**facts["clip"])
    encoder.size = facts["size"]
    encoder.preprocess = recipes.evaluation(facts["size"], normalise=facts["normalise"])
    return encoder.eval()


def _foreign_encoder(path: str | PathLike[str]) -> Encoder:
    """A model of ``transformers``, with clips as it was trained on."""
    encoder = build_encoder("hf", model=str(path))
    network = cast(TokenMap, encoder.stem)
    frames, encoder.size, _ = network.clip_shape
    encoder.clip = ClipSpec(frames, network.family.stride)
    encoder.preprocess = recipes.evaluation(encoder.size)
    return encoder.eval()


def _with_size(encoder: Encoder, size: int | None, short_side: int | None) -> Encoder:
    """Give a loaded encoder an evaluation transform of another size."""
    if size is None and short_side is None:
        return encoder
    taken, size = encoder.clip_shape, size or encoder.size or 0
    if taken is not None and size != taken[1]:
        reason = f"does not suit the encoder, which takes {taken[1]} pixels and no other number"
        raise UserError(f"size = {size}", reason, "leave it out")
    if short_side is not None and short_side < size:
        reason = f"is smaller than the crop of {size} pixels"
        raise UserError(f"short side = {short_side}", reason, f"give {size} or more")
    own = cast(recipes.Recipe, encoder.preprocess)
    encoder.size = size
    encoder.preprocess = recipes.evaluation(size, resize=short_side, normalise=own.normalised)
    return encoder


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
