"""The configuration of a run: its schema, how it is read, checked and written.

A YAML file fills the dataclasses below; ``base: ../base/x.yaml`` (one level, relative to the file)
is read first, and ``section.key=value`` overrides come last. What the schema does not know is an
error that names the key and its nearest spelling, never a silent default.

The sections ``views``, ``augment``, ``encoder`` and ``method`` pick a class by ``name``; any other
key in them is a keyword of that class, checked against its constructor by :func:`check_keywords`.
A layer that changes ``name`` drops the keywords of the layers below, which were another class's.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cvrl.utils.checks import check_keywords as check_keywords
from cvrl.utils.checks import check_range, check_type, nearest
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.strict_yaml import dump_yaml, parse_yaml, read_yaml

T = TypeVar("T")


def _in(interval: str, default: T) -> T:
    """A field with a range, written as in mathematics: ``[0, 1)`` holds 0 and not 1."""
    return field(default=default, metadata={"interval": interval})


@dataclass
class DataConfig:
    """Which videos, how they are split, and who reads them."""

    train: str = MISSING  # folder, list, CSV or scanned manifest
    test: str | None = None  # the same for the test part; null: `test_split` of `train`
    root: str | None = None  # paths in a list are relative to it; null: to the list
    split_column: str = "split"  # column of a CSV that holds the split
    train_split: str = "train"  # value in that column
    test_split: str = "test"  # value in that column
    cameras: list[str] | None = None  # `train` lists folders of an event, with these files
    hold_out: float = _in("[0, 1)", 0.0)  # fraction of train kept for choosing, by group
    workers: int | None = _in("[0, inf)", None)  # loader processes; null: by the machine's cores
    cache_dir: str | None = None  # decoded frames are kept here; null: no cache
    cache_short_side: int = _in("[0, inf)", 0)  # pixels of what is kept; goes with `cache_dir`
    augment_on: Literal["worker", "device"] = "worker"
    max_bad_fraction: float = _in("[0, 1]", 0.1)  # of the videos; more bad ones stop the run


@dataclass
class ClipConfig:
    """What the encoder sees of a video at once."""

    frames: int = _in("[1, inf)", 16)
    stride: int = _in("[1, inf)", 2)  # frames of the video from one clip frame to the next
    size: int = _in("[1, inf)", 224)  # pixels, height and width
    short_video: Literal["loop", "repeat"] = "loop"
    fps: float | None = _in("(0, inf)", None)  # `stride` counts steps of 1/fps s; null: frames
    upscale: bool = False  # whether videos smaller than `size` may be enlarged


@dataclass
class ComponentConfig:
    """A class picked by name, with keywords for its constructor.

    In YAML the keywords stand beside the name: ``{name: temporal_pair, prior: uniform}``.
    """

    name: str
    keywords: dict[str, Any] = field(default_factory=dict)


@dataclass
class EncoderConfig(ComponentConfig):
    """The backbone, and where its weights start."""

    weights: str | None = None  # safetensors or a known checkpoint; null: random


@dataclass
class OptimConfig:
    """The optimiser and its learning rate: linear warm-up from 0, then a half cosine."""

    name: Literal["sgd", "lars", "adamw"] = "sgd"
    lr: float = _in("(0, inf)", 0.32)  # peak, at `reference_batch` videos a step
    reference_batch: int | None = _in("[1, inf)", None)  # videos; null: `lr` is used as given
    weight_decay: float = _in("[0, inf)", 1e-6)  # on weights only, not on biases or batch norm
    momentum: float = _in("[0, 1)", 0.9)
    warmup_epochs: float = _in("[0, inf)", 5.0)  # epochs
    clip_norm: float | None = _in("(0, inf)", None)  # gradient norm; null: not clipped
    final_lr: float = _in("[0, inf)", 0.0)  # where the cosine ends, on the scale of `lr`


@dataclass
class TrainConfig:
    """How long, how many at a time, and in what precision."""

    epochs: int = _in("[1, inf)", 200)
    steps: int | None = _in("[1, inf)", None)  # optimiser steps; null: as `epochs` says
    batch_size: int = _in("[1, inf)", 1024)  # videos a step, all devices and parts together
    accumulate: int = _in("[1, inf)", 1)  # parts a step's batch is cut into
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    sync_bn: bool = True  # batch statistics over all devices
    compile: bool = False
    channels_last: bool = False
    threads: int | None = _in("[1, inf)", None)  # CPU threads a process; null: torch's choice


@dataclass
class CheckpointConfig:
    """When the state of a run is written, and from where it goes on."""

    every_steps: int = _in("[1, inf)", 500)  # optimiser steps
    keep: int = _in("[1, inf)", 3)  # newest checkpoints on disk
    resume: str = "auto"  # auto, never, or the path of a checkpoint


@dataclass
class EvalConfig:
    """The nearest-neighbour score while training."""

    every_epochs: int = _in("[0, inf)", 10)  # epochs; 0: never
    clips_per_video: int = _in("[1, inf)", 2)
    k: int = _in("[1, inf)", 20)  # neighbours that vote
    temperature: float = _in("(0, inf)", 0.07)  # of a vote's weight exp(similarity / temperature)
    max_videos: int = _in("[1, inf)", 2000)  # videos of each part
    batch_videos: int = _in("[1, inf)", 8)  # videos encoded at a time


@dataclass
class LogConfig:
    """What is written down while training."""

    every_steps: int = _in("[1, inf)", 10)  # optimiser steps
    tensorboard: bool = True


@dataclass
class Config:
    """A whole run.

    Example:
        >>> config = Config(data=DataConfig(train="videos"))
        >>> config.views.name, config.optim.lr, config.run_folder.as_posix()
        ('temporal_pair', 0.32, 'runs/run')
    """

    name: str = "run"
    output: str | None = None  # run folder; null: runs/<name>
    seed: int = _in("[0, inf)", 0)
    data: DataConfig = field(default_factory=DataConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    views: ComponentConfig = field(default_factory=lambda: ComponentConfig("temporal_pair"))
    augment: ComponentConfig = field(default_factory=lambda: ComponentConfig("cvrl"))
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig("r3d50"))
    method: ComponentConfig = field(default_factory=lambda: ComponentConfig("simclr"))
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def run_folder(self) -> Path:
        """Where the run writes: ``output``, else ``runs/<name>``."""
        return Path(self.output or Path("runs") / self.name)


def load_config(path: str | PathLike[str], overrides: Iterable[str] = ()) -> Config:
    r"""Read a YAML file, its base and the overrides into a checked :class:`Config`.

    Args:
        path: the YAML file.
        overrides: ``section.key=value``, the value in YAML; text fields take it as it stands.

    Raises:
        UserError: a file cannot be read; a key is unknown, given twice, of the wrong type, out of
            its range, or has no value. The message names the key, the value and what to do.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "small.yaml"
        >>> _ = file.write_text("name: small\nclip: {frames: 8}\n")
        >>> config = load_config(file, ["data.train=videos", "optim.lr=1e-3"])
        >>> config.clip.frames, config.optim.lr, config.data.train
        (8, 0.001, 'videos')
        >>> load_config(file, ["optim.lrr=1"])
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: optim.lrr: unknown key; did you mean optim.lr?
    """
    config = OmegaConf.structured(Config)
    for source, layer in _layers(Path(path), overrides):
        with _explained(source):
            config = _merge(config, _shape(layer, Config, source))
    with _explained(f"{path}: "):
        for key in sorted(OmegaConf.missing_keys(config)):
            shown = key.replace(".keywords", "")
            example = f"{shown}={'path/to/videos-or-list' if shown == 'data.train' else 'value'}"
            remedy = f"set it there, or add {example} to the command"
            raise UserError(shown, f"has no value in {path}", remedy)
        loaded = cast(Config, OmegaConf.to_object(config))
    validate(loaded)
    return loaded


def save_config(config: Config, path: str | PathLike[str]) -> None:
    """Write a config so that :func:`load_config` reads an equal one back."""
    with atomic_path(path) as temporary:
        temporary.write_text(describe(config), encoding="utf-8")


def describe(config: Config) -> str:
    """The config as YAML, every key spelled out.

    Example:
        >>> describe(Config(data=DataConfig(train="videos"))).splitlines()[:3]
        ['name: run', 'output: null', 'seed: 0']
    """
    plain = dataclasses.asdict(config)
    for section in plain.values():
        if isinstance(section, dict) and "keywords" in section:
            section.update(section.pop("keywords"))
    return dump_yaml(_escape(plain))


def validate(config: Config) -> None:
    """Refuse what cannot work, before anything is read or built.

    Raises:
        UserError: the first value out of its range, or two values that contradict each other.

    Example:
        >>> validate(Config(data=DataConfig(train="videos", hold_out=1.5)))
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: data.hold_out = 1.5: not in range; give at least 0 and below 1
    """
    _check_fields(config)
    if Path(config.name).name != config.name or config.name == "..":
        remedy = "give a plain name, and the folder as output=..."
        raise UserError(f"name = {config.name}", "is a path", remedy)
    _check_cameras(config)
    train, optim = config.train, config.optim
    if train.batch_size % train.accumulate:
        whole = max(train.batch_size // train.accumulate, 1) * train.accumulate
        raise UserError(
            f"train.batch_size = {train.batch_size}",
            f"cannot be cut into train.accumulate = {train.accumulate} equal parts",
            f"use train.batch_size={whole}",
        )
    if train.steps is None and optim.warmup_epochs > train.epochs:
        raise UserError(
            f"optim.warmup_epochs = {optim.warmup_epochs:g}",
            f"is longer than the run, train.epochs = {train.epochs}",
            f"use optim.warmup_epochs={train.epochs / 10:g}, or more epochs",
        )
    if optim.final_lr > optim.lr:
        raise UserError(
            f"optim.final_lr = {optim.final_lr:g}",
            f"is above the peak, optim.lr = {optim.lr:g}",
            "use optim.final_lr=0",
        )


def _check_cameras(config: Config) -> None:
    cameras = config.data.cameras
    if cameras is None:
        return
    if len(set(cameras)) != len(cameras) or len(cameras) < 2:
        remedy = "name two or more, as in data.cameras=[cam0.mp4, cam1.mp4]"
        raise UserError(f"data.cameras = {cameras}", "is no choice of cameras", remedy)
    if config.clip.fps is not None:
        reason = "cannot go with data.cameras, whose films are kept in step by their frames"
        raise UserError(f"clip.fps = {config.clip.fps:g}", reason, "use clip.fps=null")


def _layers(path: Path, overrides: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What to merge, lowest first, each with the words that say where it stands."""
    layer = read_yaml(path)
    base = layer.pop("base", None)
    if base is not None:
        base_path = path.parent / str(base)
        lower = read_yaml(base_path)
        if "base" in lower:
            raise UserError(base_path, "is a base and names a base itself", "keep to one level")
        yield f"{base_path}: ", lower
    yield f"{path}: ", layer
    yield "", _parse_overrides(overrides)


def _parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    leaves = _leaves()
    layer: dict[str, Any] = {}
    for text in overrides:
        key, equals, raw = text.partition("=")
        *sections, last = key.split(".")
        if not (equals and last and all(sections)):
            raise UserError(text, "is no override", "write section.key=value, as in optim.lr=0.1")
        node: Any = layer
        for section in sections:
            node = node.setdefault(section, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last in node:
            raise UserError(text, f"{key} is given twice", "keep one of the two")
        # Text is taken as the shell hands it over: a path may hold what YAML gives a meaning to.
        hint = leaves.get(key)
        as_it_stands = raw not in ("", "null") and (hint is str or str in get_args(hint))
        node[last] = raw if as_it_stands else parse_yaml(raw, text)
    return layer


def _shape(layer: Mapping[str, Any], schema: type, source: str, prefix: str = "") -> dict[str, Any]:
    """A layer in the schema's shape: every key known and of its type, free keywords set apart."""
    known = {name: hint for name, hint in get_type_hints(schema).items() if name != "keywords"}
    shaped: dict[str, Any] = {}
    keywords: dict[str, Any] = {}
    for key, value in layer.items():
        place = f"{source}{prefix}{key}"
        if key not in known:
            if not issubclass(schema, ComponentConfig):
                raise UserError(place, "unknown key", nearest(f"{prefix}{key}", _leaves()))
            keywords[str(key)] = value
        elif dataclasses.is_dataclass(known[key]):
            if not isinstance(value, Mapping | None):
                first = next(iter(get_type_hints(known[key])))
                remedy = f"set a key of it, such as {key}.{first}"
                raise UserError(f"{place} = {value!r}", "is a section, not a value", remedy)
            shaped[key] = _shape(value or {}, known[key], source, f"{prefix}{key}.")
        else:
            if "${" not in str(value):  # what it refers to is judged by OmegaConf, once it is there
                check_type(place, value, known[key])
            shaped[key] = value
    return shaped | ({"keywords": keywords} if keywords else {})


def _merge(config: DictConfig, layer: dict[str, Any]) -> DictConfig:
    for values, present in ((values, config[section]) for section, values in layer.items()):
        is_component = isinstance(present, DictConfig) and "keywords" in present
        if is_component and values.get("name", present.name) != present.name:
            present.keywords = {}  # they were another class's
    return cast(DictConfig, OmegaConf.merge(config, layer))


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """What OmegaConf itself refuses, in the user's words: a ``${...}`` that leads nowhere."""
    try:
        yield
    except OmegaConfBaseException as error:
        key = str(error.full_key or "").replace(".keywords", "")
        problem = str(error).splitlines()[0]
        raise UserError(f"{source}{key}", problem, "mend the ${...} in it") from error


def _leaves(schema: type = Config, prefix: str = "") -> dict[str, Any]:
    """Every key of the schema, dotted, and the type of its value."""
    leaves: dict[str, Any] = {}
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            leaves |= _leaves(cast(type, hint), f"{prefix}{name}.")
        elif name != "keywords":
            leaves[f"{prefix}{name}"] = hint
    return leaves


def _check_fields(section: Any, prefix: str = "") -> None:
    for spec in dataclasses.fields(section):
        key, value = f"{prefix}{spec.name}", getattr(section, spec.name)
        if dataclasses.is_dataclass(value):
            _check_fields(value, f"{key}.")
        elif "interval" in spec.metadata and value is not None:
            check_range(key, value, spec.metadata["interval"])
        elif value == "":
            raise UserError(key, "is empty", f"give it a value, as in {key}=value")


def _escape(value: Any) -> Any:
    """Text that holds ``${``, written so that it is read back as text and not looked up."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    if isinstance(value, Mapping):
        return {key: _escape(inner) for key, inner in value.items()}
    return [_escape(inner) for inner in value] if isinstance(value, list | tuple) else value
