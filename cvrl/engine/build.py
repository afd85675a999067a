"""From a config to the objects of a run. Nothing below this room sees the config.

``views: {name: x}`` is the class named ``VIEWS`` in ``cvrl/views/x.py``; ``method: {name: x}`` the
one named ``METHOD`` in ``cvrl/methods/x.py``.
"""

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import cvrl
from cvrl.config import Config, check_keywords
from cvrl.data.cache import FrameCache
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset, VideoReader, Views
from cvrl.data.manifest import Manifest
from cvrl.engine.optim import build_optimizer
from cvrl.engine.schedule import cosine_with_warmup
from cvrl.evaluation.parts import Parts, read_parts
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.weights import load_pretrained
from cvrl.task import Task
from cvrl.transforms import recipes
from cvrl.transforms.recipes import Recipe
from cvrl.utils.checks import nearest
from cvrl.utils.errors import UserError
from cvrl.utils.seed import integer_seed

_ROOMS = {"views": "views", "method": "methods"}
FOR_WEIGHTS = 3  # last part of the key of the initial weights' seed


@dataclass(frozen=True)
class Data:
    """The videos of a run.

    Attributes:
        train: what it trains on.
        watch: what it is watched with while it trains; None where there is nothing.
        parts: the same two for an evaluation, with their names.
    """

    train: Manifest
    watch: Manifest | None
    parts: Parts


@dataclass(frozen=True)
class Schedule:
    """How long a run is and how fast it learns.

    Attributes:
        steps_per_epoch: whole batches an epoch.
        total_steps: optimiser steps of the run.
        lr: peak learning rate, scaled to the batch.
        lr_at: (total_steps,) learning rate of every step.
    """

    steps_per_epoch: int
    total_steps: int
    lr: float
    lr_at: Any


def build_data(config: Config) -> Data:
    """Read the clip lists and split them.

    The videos a run is watched with are, in this order: those held out of the training part by
    ``data.hold_out``; ``data.test``; the ``test_split`` of ``data.train``.

    Raises:
        UserError: a source that cannot be used, or too few videos for a batch.
    """
    data = config.data
    parts = read_parts(
        data.train,
        data.test,
        root=data.root,
        split_column=data.split_column,
        train_split=data.train_split,
        test_split=data.test_split,
        hold_out=data.hold_out or None,
        seed=config.seed,
    )
    train, watch = (parts.test, None) if parts.train is None else (parts.train, parts.test)
    if len(train) < config.train.batch_size:
        raise UserError(
            data.train,
            f"has {len(train)} training videos, too few for a batch of {config.train.batch_size}",
            f"set train.batch_size={max(2, len(train) // 2)} or add videos",
        )
    return Data(train, watch, parts)


def clip_spec(config: Config) -> ClipSpec:
    """The shape of the run's clips in time."""
    clip = config.clip
    return ClipSpec(clip.frames, clip.stride, clip.short_video, clip.fps)


def build_views(config: Config) -> Views:
    """The pretext task's choice of frames."""
    factory = _pick("views", config.views.name, "VIEWS")
    check_keywords("views", factory, config.views.keywords, provided={"spec"})
    views: Views = factory(clip_spec(config), **config.views.keywords)
    return views


def build_recipe(config: Config) -> Recipe:
    """The augmentation of the run."""
    return recipes.build(config.augment.name, config.clip.size, **config.augment.keywords)


def build_reader(config: Config) -> VideoReader:
    """How the run opens its files, with a cache of decoded frames where one is asked for."""
    data = config.data
    if data.cache_dir is None:
        return VideoReader()
    if data.cache_short_side < 1:
        raise UserError(
            "data.cache_short_side",
            "a frame cache needs the size to keep",
            f"set it to {config.clip.size * 8 // 7} or so",
        )
    return VideoReader(cache=FrameCache(data.cache_dir, data.cache_short_side))


def build_task(config: Config, data: Data, schedule: Schedule, views: Views) -> Task:
    """The encoder with its method, started from the run's seed or from given weights.

    Raises:
        UserError: the method cannot compare these views, or lacks labels it needs.
    """
    factory = _pick("method", config.method.name, "METHOD")
    _check_pairing(config, factory, views)
    if factory.needs_labels and bool((data.train.label_ids < 0).any()):
        raise UserError(
            config.data.train,
            f"has videos without a label, which method {config.method.name} needs",
            "give one folder a class or a list with labels, or pick another method",
        )
    facts = {
        "classes": len(data.train.class_names),
        "videos": len(data.train),
        "total_steps": schedule.total_steps,
    }
    taken = {key: facts[key] for key in inspect.signature(factory).parameters if key in facts}
    check_keywords("method", factory, config.method.keywords, provided={"encoder", *taken})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(config.seed, FOR_WEIGHTS))
        task: Task = factory(_build_encoder(config), **taken, **config.method.keywords)
    return task


def build_schedule(config: Config, videos: int) -> Schedule:
    """Steps and learning rates: functions of the global batch, not of the number of devices.

    ``optim.lr`` belongs to ``optim.reference_batch`` videos a step where that is given, and is
    scaled linearly to the batch of the run (Goyal et al., arXiv 1706.02677).
    """
    train, optim = config.train, config.optim
    steps_per_epoch = videos // train.batch_size
    total_steps = train.steps or train.epochs * steps_per_epoch
    scale = train.batch_size / optim.reference_batch if optim.reference_batch else 1.0
    warmup_steps = min(round(optim.warmup_epochs * steps_per_epoch), total_steps)
    lr_at = cosine_with_warmup(
        optim.lr * scale, total_steps, warmup_steps, final=optim.final_lr * scale
    )
    return Schedule(steps_per_epoch, total_steps, optim.lr * scale, lr_at)


def build_run_optimizer(config: Config, task: Task, schedule: Schedule) -> torch.optim.Optimizer:
    """The optimiser over the task's parameter groups."""
    optim = config.optim
    groups = task.param_groups(optim.weight_decay)
    groups = [group for group in groups if group["params"]]
    return build_optimizer(groups, optim.name, lr=schedule.lr, momentum=optim.momentum)


def build_dataset(config: Config, data: Data, views: Views) -> TrainDataset:
    """The training samples."""
    return TrainDataset(
        data.train,
        views,
        build_recipe(config),
        seed=config.seed,
        reader=build_reader(config),
        on_device=config.data.augment_on == "device",
        least_side=1 if config.clip.upscale else config.clip.size,
    )


def _build_encoder(config: Config) -> Encoder:
    encoder = build_encoder(config.encoder.name, **config.encoder.keywords)
    if config.encoder.weights is not None:
        load_pretrained(encoder, config.encoder.weights)
    return encoder


def _check_pairing(config: Config, method: type[Task], views: Views) -> None:
    name = config.method.name
    if views.kind not in method.accepts:
        fitting = [other for other in _names("views") if _kind(other) in method.accepts]
        raise UserError(
            f"views.name = {config.views.name}",
            f"method {name} cannot compare {views.kind}",
            f"use views {', '.join(fitting)}",
        )
    if views.clips < method.least_clips:
        raise UserError(
            f"views.clips = {views.clips}",
            f"method {name} compares at least {method.least_clips} clips of a video",
            f"set views.clips={method.least_clips}",
        )


def _kind(views_name: str) -> str:
    kind: str = importlib.import_module(f"cvrl.views.{views_name}").VIEWS.kind
    return kind


def _names(section: str) -> list[str]:
    folder = Path(inspect.getfile(cvrl)).parent / _ROOMS[section]
    return sorted(file.stem for file in folder.glob("[a-z]*.py"))


def _pick(section: str, name: str, constant: str) -> Any:
    names = _names(section)
    room = _ROOMS[section]
    if name not in names:
        raise UserError(
            f"{section}.name = {name}", f"no such file in cvrl/{room}", nearest(name, names)
        )
    return getattr(importlib.import_module(f"cvrl.{room}.{name}"), constant)
