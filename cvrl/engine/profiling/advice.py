"""What holds a run back, and the setting to change: words for measured times, and no measuring."""

from dataclasses import dataclass

from cvrl.config import Config
from cvrl.data.loader import enough_workers
from cvrl.engine.build import kept_side
from cvrl.utils.checks import counted

WAITS = 0.05  # of the loop's time for batches: more of it, and data is what holds a run back
SLOWED = 1.15  # times its time alone that a step takes where the workers hold it up
SLOW_COPY = 0.1  # of a step for copying its batch to the device
SLOW_AUGMENT = 0.5  # of a step for the device's part of the augmentation
WORTH = 0.25  # of a sample for decoding, where augmentation costs more and nobody can take it
FASTER = 0.9  # of the time the model takes that another form of it should need at most


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
        fast_model_s: the same with ``train.fast_conv``; None where it is on or cannot be.
        loop_step_s: a step in the loop, beside the workers, its waiting left out.
        waiting: share of the loop's time that waits for batches.
        workers: processes of the loop.
        threads: of the model on a CPU.
        divides: whether the device could take over a part of the workers' augmentation.
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
    fast_model_s: float | None
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
        """Workers with which data would keep up, however many cores there are.

        By what samples cost; and if the loop waits with as many, by how much it does.
        """
        by_cost = enough_workers(self.videos * self.sample_s, self.step_s)
        if self.waiting <= WAITS:
            return by_cost
        return max(by_cost, enough_workers(self.workers, max(1 - self.waiting, 1e-3)))

    @property
    def crowded(self) -> bool:
        """Whether workers take cores that the model computes on."""
        work = self.videos * self.sample_s / self.step_s
        slowed = self.loop_step_s > SLOWED * self.step_s
        return not self.on_gpu and self.workers > 0 and slowed and work > SLOWED - 1


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
        >>> step = dict(transfer_s=0.0, device_augment_s=0.0, model_s=0.2)
        >>> loop = dict(loop_step_s=0.2, waiting=0.6, workers=2, threads=1, fast_model_s=None)
        >>> parts = Parts(on_gpu=True, videos=8, divides=True, **times, **step, **loop)
        >>> advise(parts, Config(data=DataConfig(train="videos")), cores=8)
        ['data.workers=5: 60% of the time waits for data with 2 workers']
    """
    if parts.waiting > WAITS:
        return _feed(parts, config, cores)
    if parts.on_gpu:
        lines = _gpu_step(parts, config, cores)
    else:
        lines = _room_on_cpu(parts, config, cores) + _cpu_step(parts, config)
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
        lines.append(f"data.workers={workers}: {waits} with {counted(parts.workers, 'worker')}")
        needed = counted(parts.enough, "worker")
        waits = f"{needed} would be needed where there are {counted(cores, 'core')}"
    if not lines or parts.enough > cores:
        lines.append(_cheaper_samples(parts, config, waits))
    return lines


def _cheaper_samples(parts: Parts, config: Config, reason: str) -> str:
    """The setting that takes most off a sample; one that changes what is learned comes last."""
    decoding, augmenting = (part / parts.sample_s for part in (parts.decode_s, parts.augment_s))
    augments = f"augmentation is {augmenting:.0%} of a sample, and {reason}"
    if augmenting > decoding and parts.on_gpu and parts.divides:
        return f"data.augment_on=device: {augments}"
    if cheaper := _cheaper_decoding(parts, config, reason):
        return cheaper
    if augmenting > decoding and config.augment.name != "light":
        return f"augment.name=light, which changes what is learned: {augments}"
    return f"nothing but more cores: {reason}"


def _cheaper_decoding(parts: Parts, config: Config, reason: str) -> str | None:
    """What makes reading cheaper; None where that is not worth it, or all has been done."""
    kept, share = kept_side(config), parts.decode_s / parts.sample_s
    reason = f"decoding is {share:.0%} of a sample, and {reason}"
    if share < WORTH:
        return None
    if config.data.cache_dir is None:
        prepare = f"; or prepare the videos with datasets/prepare_*.py --short-side {kept} --gop 12"
        further = prepare if parts.short_side > kept else ""
        return f"data.cache_dir=runs/cache data.cache_short_side={kept}: {reason}{further}"
    if config.data.cache_short_side > 2 * kept:
        return f"data.cache_short_side={kept}: {reason}"
    return None


def _room_on_cpu(parts: Parts, config: Config, cores: int) -> list[str]:
    """What gives the model more of the cores that it shares with the workers.

    Fewer workers would not: they have the same samples to make.
    """
    if parts.crowded:
        times = f"{parts.loop_step_s / parts.step_s:.1f} times its time alone"
        slowed = f"beside {counted(parts.workers, 'worker')} a step takes {times}"
        cheaper = _cheaper_decoding(parts, config, slowed)
        return [cheaper] if cheaper else []
    spare = cores - min(parts.enough, parts.workers)
    if parts.threads < spare:
        computes = f"the model computes on {parts.threads} of {counted(cores, 'core')}"
        return [f"train.threads={spare}: {computes}"]
    return []


def _cpu_step(parts: Parts, config: Config) -> list[str]:
    """What makes a step on a CPU shorter."""
    if config.train.precision != "fp32":
        return ["train.precision=fp32: a CPU without AMX is faster in it, with train.fast_conv"]
    if parts.fast_model_s is not None and parts.fast_model_s < FASTER * parts.model_s:
        faster = f"the model takes {parts.fast_model_s / parts.model_s:.2f} of its time with it"
        return [f"train.fast_conv=true: {faster}, with the same numbers to 1e-4"]
    return []


def _gpu_step(parts: Parts, config: Config, cores: int) -> list[str]:
    """What makes a step on a GPU shorter."""
    train, lines = config.train, []
    if parts.transfer_s > SLOW_COPY * parts.step_s and parts.divides:
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
