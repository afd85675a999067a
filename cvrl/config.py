"""The configuration of a run: how it is read, checked and written.

A YAML file fills the dataclasses of :mod:`cvrl.schema`; ``base: ../base/x.yaml`` (one level,
relative to the file) is read first, and ``section.key=value`` overrides come last. What the schema
does not know is an error that names the key and its nearest spelling, never a silent default.

The sections ``views``, ``augment``, ``encoder`` and ``method`` pick a class by ``name``; any other
key in them is a keyword of that class, checked against its constructor by :func:`check_keywords`.
A layer that changes ``name`` drops the keywords of the layers below, which were another class's.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cvrl.config_files import find_config
from cvrl.schema import CheckpointConfig as CheckpointConfig
from cvrl.schema import ClipConfig as ClipConfig
from cvrl.schema import ComponentConfig as ComponentConfig
from cvrl.schema import Config as Config
from cvrl.schema import DataConfig as DataConfig
from cvrl.schema import EncoderConfig as EncoderConfig
from cvrl.schema import EvalConfig as EvalConfig
from cvrl.schema import LimitsConfig as LimitsConfig
from cvrl.schema import LogConfig as LogConfig
from cvrl.schema import OptimConfig as OptimConfig
from cvrl.schema import TestConfig as TestConfig
from cvrl.schema import TrainConfig as TrainConfig
from cvrl.utils.checks import check_keywords as check_keywords
from cvrl.utils.checks import check_range, check_type, nearest
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.strict_yaml import dump_yaml, parse_yaml, read_yaml


def load_config(path: str | PathLike[str], overrides: Iterable[str] = ()) -> Config:
    r"""Read a YAML file, its base and the overrides into a checked :class:`Config`.

    Args:
        path: the YAML file, or the name of a config of the package, such as ``cvrl_small``.
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
    path = find_config(path)
    return _load(_layers(path, overrides), path)


def parse_config(text: str, source: object) -> Config:
    """Read what :func:`describe` wrote.

    Args:
        text: YAML.
        source: where it comes from, for messages.

    Raises:
        UserError: see :func:`load_config`.

    Example:
        >>> config = Config(data=DataConfig(train="videos"))
        >>> parse_config(describe(config), "here") == config
        True
    """
    return _load([(f"{source}: ", parse_yaml(text, str(source)))], source)


def _load(layers: Iterable[tuple[str, dict[str, Any]]], path: object) -> Config:
    config = OmegaConf.structured(Config)
    for source, layer in layers:
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
    _check_labels(config.data)
    _check_select(config)
    _check_memory(config.train)
    _check_views(config)
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


def _check_labels(data: DataConfig) -> None:
    if data.labels_per_class is not None and data.label_fraction is not None:
        key = f"data.labels_per_class = {data.labels_per_class}"
        reason = f"says something else than data.label_fraction = {data.label_fraction:g}"
        raise UserError(key, reason, "give one of the two")


def _check_select(config: Config) -> None:
    """A model must never be chosen by the videos it is then tested on."""
    if config.checkpoint.select == "last":
        return
    place = "checkpoint.select = best"
    if config.data.hold_out == 0:
        reason = "would choose by the test part"
        raise UserError(place, reason, "set data.hold_out=0.2, or checkpoint.select=last")
    if config.eval.every_epochs == 0:
        raise UserError(place, "needs scores to choose by", "set eval.every_epochs=1 or so")


def _check_views(config: Config) -> None:
    if config.test.crops not in (1, 3):
        reason = "is no choice of crops"
        raise UserError(f"test.crops = {config.test.crops}", reason, "give 1 (centre) or 3")
    for name, views in (("eval", config.eval), ("test", config.test)):
        size = views.size or config.clip.size
        if views.short_side is not None and views.short_side < size:
            key = f"{name}.short_side = {views.short_side}"
            reason = f"is smaller than the crop of {size} pixels"
            raise UserError(key, reason, f"set {name}.short_side={size} or more")


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


def _check_memory(train: TrainConfig) -> None:
    for key in ("clips_at_once", "recompute"):
        if train.compile and getattr(train, key):
            reason = "does not go with train.compile, which decides itself what is kept"
            raise UserError(f"train.{key}", reason, "set train.compile=false")


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
