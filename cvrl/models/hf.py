"""Video transformers of Hugging Face ``transformers`` as encoders: ``build_encoder("hf", ...)``.

* VideoMAE (Tong et al., arXiv 2203.12602),
* V-JEPA 2 (Assran et al., arXiv 2506.09985),
* TimeSformer (Bertasius et al., arXiv 2102.05095),
* ViViT (Arnab et al., arXiv 2103.15691).

The feature is the mean of the last layer's tokens, without a CLS token, for all of them, so that
encoders differ in what they learned and not in how they are read. Their papers do so for VideoMAE;
TimeSformer and ViViT classify the CLS token, V-JEPA 2 trains an attentive pooler.

Clips stay RGB in [0, 1], as for every encoder; the network shifts and scales them itself, by the
values of the model's own processor. Deviation: clips are cut as for every encoder (short side to
the size of the clip, then the centre), where some processors leave a margin around the crop.

Shapes: B clips, C channels, T frames, H rows, W columns, N tokens, D dimensions.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")

# Of a config, what does not shape the network.
_ASIDE = ("architectures", "dtype", "id2label", "label2id", "transformers_version", "_name_or_path")
_AS_IT_IS = {"do_resize": False, "do_center_crop": False}


@dataclass(frozen=True)
class Family:
    """What differs between the families of models.

    Attributes:
        model: class of ``transformers`` that ends with the last layer's tokens.
        processor: class that prepares its clips.
        frames: name of the config's field with the number of frames.
        size: the same for height and width in pixels.
        stride: frames of a 25 or 30 fps video from one clip frame to the next, as in its paper.
        any_clip: whether positions are relative, so that clips may be longer or smaller.
        cls: tokens in front of those of the patches.
        time_last: whether a patch's tokens of all times follow one another.
        blocks: name of its list of transformer blocks.
        keywords: of the model's constructor.
        inputs: of its forward pass.
    """

    model: str
    processor: str
    frames: str = "num_frames"
    size: str = "image_size"
    stride: int = 4
    any_clip: bool = False
    cls: int = 0
    time_last: bool = False
    blocks: str = "encoder.layer"
    keywords: dict[str, Any] | None = None
    inputs: dict[str, Any] | None = None


FAMILIES = {
    "videomae": Family("VideoMAEModel", "VideoMAEVideoProcessor"),
    "vjepa2": Family(
        "VJEPA2Model",
        "VJEPA2VideoProcessor",
        frames="frames_per_clip",
        size="crop_size",
        any_clip=True,
        inputs={"skip_predictor": True},
    ),
    "timesformer": Family(
        "TimesformerModel", "TimesformerVideoProcessor", stride=32, cls=1, time_last=True
    ),
    "vivit": Family(
        "VivitModel",
        "VivitVideoProcessor",
        stride=2,
        cls=1,
        blocks="layers",
        keywords={"add_pooling_layer": False},
    ),
}


class TokenMap(nn.Module):
    """A video transformer whose output is the map of its last tokens.

    Args:
        model: of ``transformers``.
        mean: of each channel in [0, 1], subtracted from clips.
        std: of each channel, which clips are then divided by.

    Attributes:
        dim: D.
        clip_shape: T, H and W of its clips.
        strides: frames, rows and columns of a token.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        config = model.config
        self.family = FAMILIES[config.model_type]
        self.model = model
        side = _one_number(getattr(config, self.family.size))
        self.dim: int = config.hidden_size
        self.clip_shape: tuple[int, int, int] = (getattr(config, self.family.frames), side, side)
        self.strides = _token_size(config)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1, 1), persistent=False)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """From clips in [0, 1] to a map (B, D, T', H', W'), one cell a token."""
        x_BTCHW = ((clips_BCTHW - self.mean) / self.std).transpose(1, 2)
        last: Tensor = self.model(x_BTCHW, **(self.family.inputs or {})).last_hidden_state
        tokens_BND = last[:, self.family.cls :]
        B, _, D = tokens_BND.shape
        t, h, w = (n // s for n, s in zip(clips_BCTHW.shape[2:], self.strides, strict=True))
        if self.family.time_last:
            return tokens_BND.reshape(B, h, w, t, D).permute(0, 4, 3, 1, 2)
        return tokens_BND.reshape(B, t, h, w, D).permute(0, 4, 1, 2, 3)

    @property
    def layers(self) -> list[list[nn.Parameter]]:
        """The parameters of the embedding, then of each block; the last norm is the last block's.

        They make the groups of layer-wise learning rates.
        """
        blocks = list(self.model.get_submodule(self.family.blocks))
        inner = [list(block.parameters()) for block in blocks]
        taken = {id(p) for parameters in inner for p in parameters}
        rest = [(n, p) for n, p in self.model.named_parameters() if id(p) not in taken]
        inner[-1] += [p for name, p in rest if "embeddings" not in name]
        return [[p for name, p in rest if "embeddings" in name], *inner]

    def recompute(self, wanted: bool) -> None:
        """Keep the activations of one block at a time while training, see ``train.recompute``."""
        if wanted:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        else:
            self.model.activation_checkpointing_disable()


def build_token_map(
    model: str | None = None,
    *,
    pretrained: bool = True,
    frames: int | None = None,
    size: int | None = None,
    config: dict[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[TokenMap, dict[str, Any]]:
    """Make a video transformer, from a stored model or with random weights.

    Args:
        model: folder with ``config.json`` and weights as ``save_pretrained`` writes them, or the
            name of a model on the Hugging Face hub, which is downloaded.
        pretrained: whether to load its weights; otherwise they are random.
        frames: of a clip; None for as many as it was trained on. V-JEPA 2 alone takes others.
        size: height and width of a clip in pixels; the same holds.
        config: the model's config in place of ``model``; weights are then random.
        mean: of the channels, and
        std: of the channels, in [0, 1], with ``config``.

    Returns:
        The network, and the keywords that make the same with random weights.

    Raises:
        UserError: ``transformers`` is not installed, no such model, one of another kind, weights
            that are not all there, or clips that it cannot take.
    """
    if (model is None) == (config is None):
        raise UserError("encoder.model", "is missing", "give a folder or a name on the hub")
    hf = _transformers()
    if config is None:
        assert model is not None
        chosen = _read_config(hf, model)
        family = FAMILIES[chosen.model_type]
        mean, std = _read_processor(hf, model, family)
        _set_clip(chosen, frames, size, family)
    else:
        chosen = hf.AutoConfig.for_model(**config)
        family = FAMILIES[chosen.model_type]
    kind, keywords = getattr(hf, family.model), family.keywords or {}
    with _quiet(hf):
        if model is not None and pretrained:
            network = _load(kind, model, config=chosen, **keywords)
        else:
            network = kind(chosen, **keywords)
    if hasattr(network, "predictor"):  # of V-JEPA 2, used in its pre-training alone
        del network.predictor
    mean, std = [float(x) for x in mean or ()], [float(x) for x in std or ()]
    spec = {"config": _plain(chosen), "mean": mean, "std": std}
    return TokenMap(network.float(), mean=mean, std=std), spec


def is_stored_model(path: str | PathLike[str]) -> bool:
    """Whether a path is a folder as ``save_pretrained`` of ``transformers`` writes it.

    Example:
        >>> is_stored_model("runs/none")
        False
    """
    config = Path(path) / "config.json"
    return config.is_file() and not _is_of_cvrl(config)


def _is_of_cvrl(config: Path) -> bool:
    """Whether a ``config.json`` is of a Hub folder that cvrl wrote."""
    try:
        content = json.loads(config.read_text("utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("library_name") == "cvrl"


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        remedy = "pip install transformers, or install cvrl[hf]"
        raise UserError("encoder.name = hf", "needs transformers", remedy) from error
    return transformers


def _read_config(hf: Any, model: str) -> Any:
    """The config of a stored model, if it is of a known family."""
    known = f"use a model of {', '.join(FAMILIES)}"
    try:
        config = hf.AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = f"is no folder with config.json and no model on the hub ({_first_line(error)})"
        raise UserError(f"encoder.model = {model}", reason, known) from error
    if config.model_type not in FAMILIES:
        reason = f"is a {config.model_type}, not a known video model"
        raise UserError(f"encoder.model = {model}", reason, known)
    if getattr(config, "attention_type", "") == "space_only":
        reason = "encodes frames apart (attention_type space_only)"
        raise UserError(f"encoder.model = {model}", reason, "use divided_space_time")
    return config


def _read_processor(hf: Any, model: str, family: Family) -> tuple[list[float], list[float]]:
    """Mean and std of a model's channels in [0, 1], as its processor makes of black and white."""
    kind = getattr(hf, family.processor)
    with _quiet(hf):
        try:
            processor = kind.from_pretrained(model)
        except OSError:
            processor = kind()
            logger.warning("%s has no preprocessor_config.json: that of its family is used", model)
        black_white_TCHW = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        black_white_TCHW = black_white_TCHW.expand(2, 3, 16, 16).contiguous()
        made = processor([black_white_TCHW], return_tensors="pt", **_AS_IT_IS)
    black_C, white_C = next(iter(made.values()))[0, :, :, 0, 0].double()
    std_C = 1 / (white_C - black_C)
    return _rounded(-black_C * std_C), _rounded(std_C)


def _set_clip(config: Any, frames: int | None, size: int | None, family: Family) -> None:
    """Set the length and size of clips, where a model takes others than it was trained on."""
    for key, field, value in (("frames", family.frames, frames), ("size", family.size, size)):
        own = _one_number(getattr(config, field))
        if value is None or value == own:
            continue
        step = _token_size(config)[0 if key == "frames" else 1]
        if not family.any_clip or value < step or value % step:
            takes = f"multiples of {step}" if family.any_clip else f"{own} alone"
            reason = f"does not suit a {config.model_type}, which takes {takes}"
            raise UserError(f"encoder.{key} = {value}", reason, f"use encoder.{key}={own}")
        setattr(config, field, value)


def _load(kind: Any, model: str, **keywords: Any) -> Any:
    """A model with its stored weights, all of them."""
    try:
        network, report = kind.from_pretrained(
            model, dtype=torch.float32, output_loading_info=True, **keywords
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = f"its weights cannot be loaded ({_first_line(error)})"
        raise UserError(f"encoder.model = {model}", reason, "copy or download it again") from error
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])
        reason = f"lacks {len(names)} tensors ({', '.join(names[:3])}, ...)"
        remedy = "copy or download it again, or set encoder.pretrained=false for random weights"
        raise UserError(f"encoder.model = {model}", reason, remedy)
    return network


def _plain(config: Any) -> dict[str, Any]:
    """A model's config as JSON-able keywords, without what does not shape the network."""
    kept = {key: value for key, value in config.to_diff_dict().items() if key not in _ASIDE}
    plain: dict[str, Any] = json.loads(json.dumps(kept))
    return plain


@contextlib.contextmanager
def _quiet(hf: Any) -> Iterator[None]:
    """No progress bars and no lists of unused heads for a while; errors are raised as ever."""
    log = hf.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def _token_size(config: Any) -> tuple[int, int, int]:
    """Frames, rows and columns of a token."""
    tubelet = getattr(config, "tubelet_size", 1)
    if isinstance(tubelet, Sequence):
        t, h, w = tubelet
        return t, h, w
    side = _one_number(config.patch_size)
    return tubelet, side, side


def _one_number(size: int | Sequence[int]) -> int:
    """The side of a square that is given as a number or as height and width."""
    return size if isinstance(size, int) else size[0]


def _rounded(values_C: Tensor) -> list[float]:
    return [round(float(value), 6) for value in values_C]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
