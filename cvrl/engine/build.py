"""From a config to the objects of a run. Nothing below this room sees the config."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from cvrl.config import Config, TrainConfig, load_config
from cvrl.data.cameras import events_of
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset, VideoReader
from cvrl.data.loader import default_workers
from cvrl.data.manifest import Manifest
from cvrl.data.sound import with_sound
from cvrl.data.splits import Parts, read_splits
from cvrl.data.view_base import Views
from cvrl.engine import components, few_labels
from cvrl.engine.degenerate import check_batch, check_task
from cvrl.engine.machine import pick_device
from cvrl.engine.optim import build_optimizer
from cvrl.engine.schedule import cosine_with_warmup
from cvrl.engine.teacher import Teach
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.hf import TokenMap
from cvrl.models.training_speed.fast_conv import accelerate
from cvrl.models.training_speed.gpu_conv import accelerate_on_gpu
from cvrl.models.weights import load_pretrained
from cvrl.pretrained import input_of, model_file
from cvrl.task import Task
from cvrl.transforms import recipes
from cvrl.transforms.recipes import Recipe
from cvrl.utils.errors import UserError
from cvrl.utils.seed import integer_seed
from cvrl.video.frame_cache import FrameCache
from cvrl.video.limits import Limits
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.packet_index import PacketIndexStore, user_store

logger = logging.getLogger("cvrl")

FOR_WEIGHTS = 3  # last part of the key of the initial weights' seed


@dataclass(frozen=True)
class Data:
    """The videos of a run.

    Attributes:
        train: what it trains on; a row an event where the views draw from several cameras.
        watch: what it is watched with while it trains; None where there is nothing.
        parts: the same two for an evaluation, with their names; always a row a video.
        labelled: the training videos whose labels were drawn; None where all labels count.
    """

    train: Manifest
    watch: Manifest | None
    parts: Parts
    labelled: Manifest | None = None


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
    parts = read_splits(
        data.train,
        data.test,
        root=data.root,
        split_column=data.split_column,
        train_split=data.train_split,
        test_split=data.test_split,
        hold_out=data.hold_out or None,
        cameras=data.cameras,
        labels=data.labels,
        seed=config.seed,
    )
    train, watch = (parts.test, None) if parts.train is None else (parts.train, parts.test)
    train, labelled = few_labels.choose(train, data, seed=config.seed, folder=config.run_folder)
    if parts.train is not None and labelled is not None:
        parts = replace(parts, train=labelled)
    if components.needs_labels(config.method.name, config.method.keywords):
        train = _labelled(train, data.train)
    views = build_views(config)
    if views.cameras:
        train, watch = events_of(train), watch and events_of(watch)
    if views.sound is not None:
        train, watch = with_sound(train), watch and with_sound(watch)
    check_batch(config, train)
    return Data(train, watch, parts, labelled)


def _labelled(train: Manifest, source: str) -> Manifest:
    """The videos with a label, where a method learns from nothing else."""
    kept = train.labelled()
    if len(kept) < len(train):
        lost = len(train) - len(kept)
        logger.info("%s: %d of %d videos have no label, not trained on", source, lost, len(train))
    return kept


def clip_spec(config: Config) -> ClipSpec:
    """The shape of the run's clips in time."""
    clip = config.clip
    return ClipSpec(clip.frames, clip.stride, clip.short_video, clip.fps, clip.crop_bars)


def build_views(config: Config) -> Views:
    """The pretext task's choice of frames.

    Raises:
        UserError: keywords it does not have, or another number of cameras than the data.
    """
    name, cameras = config.views.name, config.data.cameras or []
    views = components.build_views(name, config.views.keywords, clip_spec(config))
    if views.cameras not in (0, len(cameras)):
        reason = f"{name} draws from {views.cameras} cameras, and data.cameras names {len(cameras)}"
        raise UserError("views.cameras", reason, "name each camera's file in data.cameras")
    return views


def build_recipe(config: Config) -> Recipe:
    """The augmentation of the run."""
    return recipes.build(config.augment.name, config.clip.size, **config.augment.keywords)


def build_reader(config: Config) -> VideoReader:
    """How the run opens its files, with a cache of decoded frames where one is asked for."""
    data = config.data
    limits = Limits(**asdict(data.limits))
    if data.cache_dir is None:
        packet_cache = PacketIndexCache(store=user_store())
        return VideoReader(limits, decoder=data.decoder, packet_cache=packet_cache)
    if data.cache_short_side < 1:
        raise UserError(
            "data.cache_short_side",
            "a frame cache needs the size to keep",
            f"set it to {kept_side(config)} or so",
        )
    cache = FrameCache(data.cache_dir, data.cache_short_side)
    packet_cache = PacketIndexCache(store=PacketIndexStore(Path(data.cache_dir) / "packet_index"))
    return VideoReader(limits, cache, data.decoder, packet_cache=packet_cache)


def kept_side(config: Config) -> int:
    """Pixels of the shorter side of kept frames: a little more than the clips that crops make.

    Example:
        >>> from cvrl.config import ClipConfig, DataConfig
        >>> kept_side(Config(data=DataConfig(train="videos"), clip=ClipConfig(size=112)))
        128
    """
    return config.clip.size * 8 // 7


def build_task(
    config: Config, data: Data, schedule: Schedule, views: Views, *, dry: bool = False
) -> Task:
    """The encoder with its method, started from the run's seed or from given weights.

    Args:
        config: the run.
        data: its videos.
        schedule: its length.
        views: what the method compares.
        dry: whether a teacher, if the method has one, only shows that it works.

    Raises:
        UserError: the method cannot compare these views, lacks labels it needs, or could learn
            nothing.
    """
    facts = {
        "class_names": data.train.class_names,
        "videos": len(data.train),
        "steps_per_epoch": schedule.steps_per_epoch,
        "total_steps": schedule.total_steps,
        "teach": _build_teach(config, data, dry=dry),
    }
    method = config.method
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(config.seed, FOR_WEIGHTS))
        task = components.build_method(
            method.name, method.keywords, _build_encoder(config), facts, views
        )
    if task.needs_labels and bool((data.train.label_ids < 0).any()):
        raise UserError(
            config.data.train,
            f"has videos without a label, which method {method.name} needs",
            "give one folder a class or a list with labels, or pick another method",
        )
    check_task(config, data.train, task)
    return task


def set_up_encoders(train: TrainConfig, task: Task, device: torch.device) -> None:
    """Give the encoders of a task the form, the layout and the thrift that the config asks for."""
    for module in list(task.modules()):
        if not isinstance(module, Encoder):  # a method may have a second one, as MoCo does
            continue
        module.clips_at_once = train.clips_at_once
        module.recompute_blocks = train.recompute
        if isinstance(module.stem, TokenMap):
            module.stem.recompute(train.recompute)
        elif train.fast_conv and device.type == "cpu" and train.precision == "fp32":
            accelerate(module)
        elif train.deterministic and device.type == "cuda":
            accelerate_on_gpu(module)  # pools over frames with a deterministic gradient
        elif train.channels_last:
            module.to(memory_format=torch.channels_last_3d)
    if train.compile:
        task.encoder.compile()


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
        optim.lr * scale,
        total_steps,
        warmup_steps,
        final=optim.final_lr * scale,
        under_warmup=optim.cosine_under_warmup,
    )
    return Schedule(steps_per_epoch, total_steps, optim.lr * scale, lr_at)


def build_run_optimizer(
    config: Config, task: Task, schedule: Schedule, device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser over the task's parameter groups, one kernel a step on a GPU."""
    optim = config.optim
    groups = task.param_groups(optim.weight_decay)
    groups = [group for group in groups if group["params"]]
    how: dict[str, Any] = {"momentum": optim.momentum, "fused": device.type == "cuda"}
    return build_optimizer(groups, optim.name, lr=schedule.lr, **how)


def build_dataset(config: Config, data: Data, views: Views) -> TrainDataset:
    """The training samples.

    Raises:
        UserError: the views rearrange pixels after the augmentation, which the device is to do.
    """
    cameras = tuple(config.data.cameras or ())
    return TrainDataset(
        data.train,
        views,
        build_recipe(config),
        seed=config.seed,
        reader=replace(build_reader(config), cameras=cameras if views.cameras else ()),
        on_device=augments_on_device(config, views),
        least_side=1 if config.clip.upscale else config.clip.size,
    )


def preview_of(
    path: str | PathLike[str], source: str, overrides: Sequence[str] = ()
) -> Callable[[Manifest], TrainDataset]:
    """Read a config and return what makes its training samples from any list, to look at.

    Args:
        path: the config.
        source: in place of ``data.train``.
        overrides: of the config.

    Raises:
        UserError: as :func:`cvrl.config.load_config` raises.
    """
    config = load_config(path, [f"data.train={source}", "data.augment_on=worker", *overrides])
    views = build_views(config)
    return lambda videos: build_dataset(config, Data(videos, None, Parts(videos)), views)


def augments_on_device(config: Config, views: Views) -> bool:
    """Whether whole batches are augmented where the model is, but for their crops.

    Left open, they are where that is a GPU and the views allow it.

    Raises:
        UserError: see :func:`build_dataset`.
    """
    where = config.data.augment_on
    if where == "device" and views.cut_up:
        reason = f"cannot be, since views {config.views.name} cut up augmented clips"
        raise UserError("data.augment_on = device", reason, "use data.augment_on=worker")
    return where == "device" or (
        where == "auto" and not views.cut_up and device_of(config) == "cuda"
    )


def device_of(config: Config) -> str:
    """What the run computes on, ``cpu`` or ``cuda``.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    return pick_device(config.train.device, "train.device =")


def _build_teach(config: Config, data: Data, *, dry: bool) -> Teach:
    workers = config.data.workers
    return Teach(
        data.train,
        build_reader(config),
        config.run_folder,
        clip_spec(config),
        workers=default_workers() if workers is None else workers,
        device=device_of(config),
        dry=dry,
    )


def _build_encoder(config: Config) -> Encoder:
    weights, given = config.encoder.weights, config.clip.input
    trained = input_of(weights) if weights is not None else "rgb"
    if weights is not None and given not in ("auto", trained):
        logger.warning("%s was trained with clip.input=%s, not %s", weights, trained, given)
    keywords = {"input": trained if given == "auto" else given} | config.encoder.keywords
    encoder = build_encoder(config.encoder.name, **keywords)
    _check_clips(config, encoder)
    if weights is not None:
        load_pretrained(encoder, model_file(weights))
    return encoder


def _check_clips(config: Config, encoder: Encoder) -> None:
    """Refuse clips that the encoder does not take, before any is read."""
    if encoder.clip_shape is None:
        return
    T, S, _ = encoder.clip_shape
    for key, given, taken in (("frames", config.clip.frames, T), ("size", config.clip.size, S)):
        if given != taken:
            reason = f"does not suit encoder {config.encoder.name}, which takes {taken}"
            raise UserError(f"clip.{key} = {given}", reason, f"set clip.{key}={taken}")
    if "mean" in encoder.spec and build_recipe(config).normalised:
        reason = f"would be done twice: encoder {config.encoder.name} shifts and scales its clips"
        raise UserError("augment.normalise = true", reason, "set augment.normalise=false")
