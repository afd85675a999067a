"""The schema of a run's configuration: what its keys are, their types, ranges and defaults.

It is read and checked by :mod:`cvrl.config`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from omegaconf import MISSING

from cvrl.utils.remote_folder import local_copy
from cvrl.video.limits import Limits

T = TypeVar("T")


def _in(interval: str, default: T) -> T:
    """A field with a range, written as in mathematics: ``[0, 1)`` holds 0 and not 1."""
    return field(default=default, metadata={"interval": interval})


@dataclass
class LimitsConfig:
    """What one video may cost before it is given up, see :class:`cvrl.video.limits.Limits`."""

    max_pixels: int = _in("[1, inf)", Limits.max_pixels)  # height times width of a frame
    max_frames: int = _in("[1, inf)", Limits.max_frames)  # in a video
    max_packets: int = _in("[1, inf)", Limits.max_packets)  # in a file, of sound too
    max_bytes: int = _in("[1, inf)", Limits.max_bytes)  # of a file
    max_seconds: float = _in("(0, inf)", Limits.max_seconds)  # of the processor without progress
    max_read_ratio: float = _in("(0, inf)", Limits.max_read_ratio)  # bytes read / bytes of file
    max_pixel_ratio: float = _in("(0, inf)", Limits.max_pixel_ratio)  # pixels decoded / bytes


@dataclass
class DataConfig:
    """Which videos, how they are split, and who reads them."""

    train: str = MISSING  # folder, list, CSV or scanned manifest
    test: str | None = None  # the same for the test part; null: `test_split` of `train`
    root: str | None = None  # paths in a list are relative to it; null: to the list
    split_column: str = "split"  # column of a CSV that holds the split
    train_split: str = "train"  # value in that column; *: all others than `test_split`
    test_split: str = "test"  # value in that column
    cameras: list[str] | None = None  # `train` lists folders of an event, with these files
    labels: Literal["auto", "none", "folder", "parent"] = "auto"  # the folder that is the class
    hold_out: float = _in("[0, 1)", 0.0)  # fraction of train kept for choosing, by group
    labels_per_class: int | None = _in("[1, inf)", None)  # labels drawn of each; null: all
    label_fraction: float | None = _in("(0, 1]", None)  # share of each class's; null: all
    label_seed: int | None = _in("[0, inf)", None)  # of that draw; null: the run's
    unlabelled: Literal["drop", "keep"] = "drop"  # the rest of train, after that draw
    workers: int | None = _in("[0, inf)", None)  # loader processes; null: by the machine's cores
    stall_seconds: float = _in("(0, inf)", 120.0)  # a file that stands still so long ends the run
    decoder: Literal["pyav", "decord", "lossy"] = "pyav"  # decord2 only where frames are the same;
    # lossy: PyAV without the codec's smoothing of block edges, faster, frames a little off
    cache_dir: str | None = None  # decoded frames are kept here; null: no cache
    cache_short_side: int = _in("[0, inf)", 0)  # pixels of what is kept; goes with `cache_dir`
    augment_on: Literal["auto", "worker", "device"] = "auto"  # all but crops; auto: on a GPU
    max_bad_fraction: float = _in("[0, 1]", 0.1)  # of the videos; more bad ones stop the run
    limits: LimitsConfig = field(default_factory=LimitsConfig)


@dataclass
class ClipConfig:
    """What the encoder sees of a video at once."""

    frames: int = _in("[1, inf)", 16)
    stride: int = _in("[1, inf)", 2)  # frames of the video from one clip frame to the next
    size: int = _in("[1, inf)", 224)  # pixels, height and width
    short_video: Literal["loop", "repeat"] = "loop"
    fps: float | None = _in("(0, inf)", None)  # `stride` counts steps of 1/fps s; null: frames
    crop_bars: bool = False  # cut off black bars at the sides of a video
    upscale: bool = False  # whether videos smaller than `size` may be enlarged
    # what the network is fed: frames, differences of frames, or time derivatives 0, 1, 2 (stacked,
    # or alternating over the clips of a batch); auto: as `encoder.weights` was trained, else rgb
    input: Literal["auto", "rgb", "residual", "derivatives", "alternating"] = "auto"


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
    cosine_under_warmup: bool = False  # the cosine begins at step 0, as in CVRL's code
    clip_norm: float | None = _in("(0, inf)", None)  # gradient norm; null: not clipped
    final_lr: float = _in("[0, inf)", 0.0)  # where the cosine ends, on the scale of `lr`


@dataclass
class TrainConfig:
    """How long, how many at a time, and in what precision."""

    epochs: int = _in("[1, inf)", 200)
    steps: int | None = _in("[1, inf)", None)  # optimiser steps; null: as `epochs` says
    batch_size: int = _in("[1, inf)", 1024)  # videos a step, all devices and parts together
    accumulate: int = _in("[1, inf)", 1)  # parts a step's batch is cut into, compared apart
    clips_at_once: int | None = _in("[2, inf)", None)  # encoded so, compared together; null: all
    recompute: bool = False  # activations in the backward pass: a third slower, less memory
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where there is one
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    sync_bn: bool = True  # batch statistics over all devices
    compile: bool = False
    fast_conv: bool = True  # the same convolutions in the forms that a CPU computes fastest
    channels_last: bool = False  # memory layout, which `fast_conv` brings along on a CPU
    tf32: bool = False  # on a GPU: matrix products of fp32 with 10 bits of mantissa, much faster
    deterministic: bool = False  # on a GPU: the same bits from the same seed, a little slower
    threads: int | None = _in("[1, inf)", None)  # CPU threads a process; null: torch's choice


@dataclass
class CheckpointConfig:
    """When the state of a run is written, and from where it goes on."""

    every_steps: int = _in("[1, inf)", 500)  # optimiser steps
    keep: int = _in("[1, inf)", 3)  # newest checkpoints on disk
    resume: str = "auto"  # auto, never, or the path of a checkpoint
    select: Literal["last", "best"] = "last"  # the model kept; best: on `data.hold_out`


@dataclass
class EvalConfig:
    """The nearest-neighbour score while training; tools/evaluate.py begins with these too."""

    every_epochs: int = _in("[0, inf)", 10)  # epochs; 0: never
    clips_per_video: int = _in("[1, inf)", 2)
    k: int = _in("[1, inf)", 20)  # neighbours that vote
    temperature: float = _in("(0, inf)", 0.07)  # of a vote's weight exp(similarity / temperature)
    max_videos: int = _in("[1, inf)", 2000)  # videos of each part
    batch_videos: int = _in("[1, inf)", 8)  # videos encoded at a time
    size: int | None = _in("[1, inf)", None)  # pixels of the crop; null: `clip.size`
    short_side: int | None = _in("[1, inf)", None)  # of the frame it is cut from; null: the crop's


@dataclass
class TestConfig:
    """The views of each video that a finished classifier is tested on, and predicts from."""

    __test__ = False  # it is no test, whatever pytest makes of its name

    clips: int = _in("[1, inf)", 10)
    crops: int = _in("[1, inf)", 3)  # 1: the centre; 3: along the longer side
    size: int | None = _in("[1, inf)", None)  # pixels of the crop; null: `clip.size`
    short_side: int | None = _in("[1, inf)", None)  # of the frame it is cut from; null: the crop's


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
    test: TestConfig = field(default_factory=TestConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def run_folder(self) -> Path:
        """Where the run writes: ``output``, or its local copy if remote; else ``runs/<name>``."""
        return local_copy(self.output or Path("runs") / self.name)
