"""What holds a run back, and the setting to change: words for measured times, and no measuring."""

from dataclasses import dataclass

from cvrl.config import Config
from cvrl.data.loader import enough_workers

WAITS = 0.05  # of the loop's time for batches: more of it, and data is what holds a run back
SLOWED = 1.15  # times its time alone that a step takes where the workers hold it up
SLOW_COPY = 0.1  # of a step for copying its batch to the device
SLOW_AUGMENT = 0.5  # of a step for the device's part of the augmentation
LARGER = 8 / 7  # kept frames against clips: what crops of recipes want to choose from


@dataclass(frozen=True)
class Parts:
    """What a run's time goes into. Times are in seconds; a sample is one visit to one video.

    Attributes:
        on_gpu: whether the model is on one.
        videos: samples a step.
        decode_s: a sample's opening and reading; from the frame cache where the run has one.
        first_decode_s: the same on the first visit, which fills the cache; None without a cache.
        augment_s: all else that a worker does for a sample.
        short_side: pixels of the videos as they are read, the median of those looked at.
        transfer_s: copying a step's clips to the device.
        device_augment_s: the device's part of the augmentation, a step.
        model_s: forward, backward and optimiser, a step.
        loop_step_s: a step in the loop, beside the workers, its waiting left out.
        waiting: share of the loop's time that waits for batches.
        workers: processes of the loop.
        threads: of the model on a CPU.
        divides: whether the device can take over a part of the augmentation.
    """

    on_gpu: bool
    videos: int
    decode_s: float
    first_decode_s: float | None
    augment_s: float
    short_side: int
    transfer_s: float
    device_augment_s: float
    model_s: float
    loop_step_s: float
    waiting: float
    workers: int
    threads: int
    divides: bool

    @property
    def sample_s(self) -> float:
        """What a sample costs one worker."""
        return self.decode_s + self.augment_s

    @property
    def step_s(self) -> float:
        """What a step takes with its batch at hand and the machine to itself."""
        return self.transfer_s + self.device_augment_s + self.model_s

    @property
    def enough(self) -> int:
        """Workers with which data would keep up, however many cores there are."""
        return enough_workers(self.videos * self.sample_s, self.step_s)


def advise(parts: Parts, config: Config, cores: int) -> list[str]:
    """One line a finding: what holds the run back, and the setting that changes it.

    Where the loop waits, only data matters; where it does not, only the step. Where the settings
    are all as they should be, the one line says so.

    Args:
        parts: as measured.
        config: of the run.
        cores: that the run may use.

    Example:
        >>> from cvrl.config import DataConfig
        >>> times = dict(decode_s=0.1, first_decode_s=None, augment_s=0.02, short_side=128)
        >>> step = dict(transfer_s=0.0, device_augment_s=0.0, model_s=0.2, loop_step_s=0.2)
        >>> run = dict(on_gpu=True, videos=8, waiting=0.6, workers=2, threads=1, divides=True)
        >>> advise(Parts(**times, **step, **run), Config(data=DataConfig(train="videos")), cores=8)
        ['data.workers=5: 60% of the time waits for data with 2 workers']
    """
    if parts.waiting > WAITS:
        return _feed(parts, config, cores)
    lines = []
    if not parts.on_gpu and parts.workers and parts.loop_step_s > SLOWED * parts.step_s:
        lines.append(_make_room(parts, config))
    elif not parts.on_gpu:
        lines += _more_threads(parts, cores)
    lines += _gpu_step(parts, config, cores) if parts.on_gpu else _cpu_step(config)
    return lines or [
        "nothing: the model is the limit, which is what one wants; only a smaller encoder or clip "
        "(clip.size, clip.frames) takes less time"
    ]


def _feed(parts: Parts, config: Config, cores: int) -> list[str]:
    """Data is the limit: more workers as far as there are cores, and cheaper samples beyond."""
    waits = f"{parts.waiting:.0%} of the time waits for data"
    lines = []
    workers = min(parts.enough, cores)
    if parts.workers < workers:
        lines.append(f"data.workers={workers}: {waits} with {parts.workers} workers")
        waits = f"{parts.enough} workers would be needed and there are {cores} cores"
    if not lines or parts.enough > cores:
        lines.append(_cheaper_samples(parts, config, waits))
    return lines


def _make_room(parts: Parts, config: Config) -> str:
    """The workers and the model are in each other's way on the cores of a CPU."""
    slowed = f"beside {parts.workers} workers a step takes {parts.loop_step_s / parts.step_s:.1f}"
    slowed += " times its time alone"
    if parts.workers > parts.enough:
        return f"data.workers={parts.enough}: so many are enough, and {slowed}"
    return _cheaper_samples(parts, config, slowed)


def _cheaper_samples(parts: Parts, config: Config, reason: str) -> str:
    """The setting that takes most off the larger part of a sample."""
    decodes = parts.decode_s >= parts.augment_s
    name = "decoding" if decodes else "augmentation"
    share = max(parts.decode_s, parts.augment_s) / max(parts.sample_s, 1e-9)
    remedy = _cheaper_decoding(parts, config) if decodes else _cheaper_augmentation(parts, config)
    return f"{remedy}: {name} is {share:.0%} of a sample, and {reason}"


def _cheaper_decoding(parts: Parts, config: Config) -> str:
    kept = round(config.clip.size * LARGER)
    if config.data.cache_dir is None:
        cache = f"data.cache_dir=runs/cache data.cache_short_side={kept}"
        prepare = f"datasets/prepare_*.py --short-side {kept} --gop 12"
        return f"{cache}, or prepare the videos with {prepare}"
    if config.data.cache_short_side > kept:
        return f"data.cache_short_side={kept}"
    return "data.cache_dir on a faster disk"


def _cheaper_augmentation(parts: Parts, config: Config) -> str:
    if parts.on_gpu and parts.divides and config.data.augment_on == "worker":
        return "data.augment_on=device"
    if parts.short_side > 2 * config.clip.size and config.data.cache_dir is None:
        kept = round(config.clip.size * LARGER)
        return f"data.cache_dir=runs/cache data.cache_short_side={kept}"
    if config.augment.name != "light":
        return "augment.name=light (which changes what is learned)"
    return "nothing but more cores"


def _more_threads(parts: Parts, cores: int) -> list[str]:
    spare = cores - min(parts.enough, parts.workers)
    if parts.threads >= spare:
        return []
    return [f"train.threads={spare}: the model computes on {parts.threads} of {cores} cores"]


def _cpu_step(config: Config) -> list[str]:
    """What makes a step on a CPU shorter."""
    if config.train.precision != "fp32":
        return ["train.precision=fp32: a CPU without AMX is faster in it, with train.fast_conv"]
    if not config.train.fast_conv:
        return ["train.fast_conv=true: the same numbers, in the forms a CPU computes fastest"]
    return []


def _gpu_step(parts: Parts, config: Config, cores: int) -> list[str]:
    """What makes a step on a GPU shorter."""
    train, lines = config.train, []
    if (
        parts.transfer_s > SLOW_COPY * parts.step_s
        and parts.divides
        and config.data.augment_on == "worker"
    ):
        share = f"copying clips to the GPU is {parts.transfer_s / parts.step_s:.0%} of a step"
        lines.append(f"data.augment_on=device: {share}, and bytes are a quarter of floats")
    if parts.device_augment_s > SLOW_AUGMENT * parts.step_s and parts.workers < cores:
        share = f"augmentation is {parts.device_augment_s / parts.step_s:.0%} of a step"
        lines.append(f"data.augment_on=worker: {share}, and cores are left for it")
    model = f"the model is {parts.model_s / parts.step_s:.0%} of a step"
    if train.precision == "fp32":
        lines.append(f"train.precision=bf16: {model}, in full precision")
        if not train.tf32:
            lines.append("train.tf32=true: for products that stay in fp32")
    if not train.compile:
        lines.append(f"train.compile=true: {model}, each operation by itself")
    return lines
