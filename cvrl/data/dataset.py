"""Samples for training and for evaluation: each video opened and decoded once for all its clips.

Shapes: B videos, V views, C channels, T frames, H W pixels, N clips of one video, M clips of all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cvrl.data.clips import (
    ClipSpec,
    Ints,
    Plan,
    clip_indices,
    spread_starts,
    timed_starts,
    timed_ticks,
    timeline,
)
from cvrl.data.manifest import Manifest
from cvrl.data.perturbations import Perturbation, rearrange, repaint
from cvrl.data.sampler import Visit
from cvrl.data.sound import spectrograms
from cvrl.data.video_reader import VideoReader as VideoReader
from cvrl.data.video_reader import read_clips as read_clips
from cvrl.data.view_base import Views
from cvrl.transforms.black_bars import crop_black_bars
from cvrl.transforms.recipe import Params, Recipe
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.seed import numpy_rng, torch_generator
from cvrl.video.frame_cache import FrameSource

# What a generator is for is the last part of its key, so that no two uses share draws.
FOR_PLAN, FOR_AUGMENT, FOR_SUBSTITUTE, FOR_ARRANGEMENT = 0, 1, 2, 4
MAX_SUBSTITUTES = 20
_PLAIN_READER = VideoReader()
BadVideo = tuple[str, str]  # path, reason


@dataclass(frozen=True)
class Sample:
    """One visit to one video."""

    clips_VCTHW: Tensor
    label: int
    video_id: int
    group_id: int
    time_V: Tensor
    order_V: Tensor
    small_VCTHW: Tensor | None = None
    sound_WMF: Tensor | None = None
    params: Params | None = None
    bad: tuple[BadVideo, ...] = ()


@dataclass(frozen=True)
class Batch:
    """What every task receives.

    Attributes:
        clips_BVCTHW: float32, augmented; uint8 where ``params_B`` are still to be applied.
        labels_B: class numbers, -1 where unknown.
        video_id_B: row in the manifest.
        group_id_B: source group; rows of equal groups are no negatives of each other.
        time_BV: start of each clip in seconds of its video.
        order_BV: pretext label each clip carries, -1 where it has none.
        small_BVCTHW: further clips of the same videos, cut smaller (multi-crop); or None.
        sound_BWMF: log-mel spectrograms of windows of the videos' sound; or None.
        params_B: what is drawn for the part of the augmentation that the device does; or empty.
        bad: videos that could not be used and were replaced while this batch was made.
    """

    clips_BVCTHW: Tensor
    labels_B: Tensor
    video_id_B: Tensor
    group_id_B: Tensor
    time_BV: Tensor
    order_BV: Tensor
    small_BVCTHW: Tensor | None = None
    sound_BWMF: Tensor | None = None
    params_B: tuple[Params, ...] = ()
    bad: tuple[BadVideo, ...] = ()

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Batch":
        """The batch on ``device``."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory; DataLoader calls this where a GPU will read it."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {k: move(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def augmented(self, recipe: Recipe) -> "Batch":
        """The batch after the part of the augmentation that was left to the device."""
        if not self.params_B:
            return self
        clips_BVCTHW = recipe.apply_batch(self.clips_BVCTHW, self.params_B)
        return replace(self, clips_BVCTHW=clips_BVCTHW, params_B=())


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples whose clips have one shape."""
    small = [sample.small_VCTHW for sample in samples if sample.small_VCTHW is not None]
    sound = [sample.sound_WMF for sample in samples if sample.sound_WMF is not None]
    return Batch(
        clips_BVCTHW=torch.stack([sample.clips_VCTHW for sample in samples]),
        labels_B=torch.tensor([sample.label for sample in samples]),
        video_id_B=torch.tensor([sample.video_id for sample in samples]),
        group_id_B=torch.tensor([sample.group_id for sample in samples]),
        time_BV=torch.stack([sample.time_V for sample in samples]),
        order_BV=torch.stack([sample.order_V for sample in samples]),
        small_BVCTHW=torch.stack(small) if small else None,
        sound_BWMF=torch.stack(sound) if sound else None,
        params_B=tuple(sample.params for sample in samples if sample.params is not None),
        bad=tuple(bad for sample in samples for bad in sample.bad),
    )


class TrainDataset(Dataset[Sample]):
    """Augmented views of videos, each sample a function of (seed, epoch, index).

    A video that cannot be decoded is replaced by another one, chosen by a generator of its own, and
    named in ``Sample.bad``: the run goes on, and the loss of the file is known.

    Args:
        manifest: the videos.
        views: which frames of a video make its views.
        recipe: the augmentation. Its clips are of one size.
        seed: of the run.
        reader: how files are opened.
        on_device: only crop here, and draw the rest of the recipe for :meth:`Batch.augmented`. The
            clips are the same in the end.
        least_side: videos whose height or width is below so many pixels are refused: enlarging
            them to a crop should be asked for, not happen.

    Raises:
        CorruptVideoError: so many files are bad that no substitute was found.
        UserError: a video is smaller than ``least_side``.
    """

    def __init__(
        self,
        manifest: Manifest,
        views: Views,
        recipe: Recipe,
        *,
        seed: int,
        reader: VideoReader = _PLAIN_READER,
        on_device: bool = False,
        least_side: int = 1,
    ) -> None:
        self.manifest = manifest
        self.views = views
        self.rest: Recipe | None = None
        self.crop = recipe
        self.small_crop: Recipe | None = None
        if views.small is not None:
            self.small_crop = recipe.recropped(views.small.size, views.small.area)
        if on_device:
            self.crop, self.rest = recipe.split()
        self.least_side = least_side
        self.seed = seed
        self.reader = reader

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, visit: Visit | tuple[int, int]) -> Sample:
        epoch, index = visit
        choose = numpy_rng(self.seed, epoch, index, FOR_SUBSTITUTE)
        bad: list[BadVideo] = []
        while True:
            try:
                return replace(self._sample(epoch, index), bad=tuple(bad))
            except CorruptVideoError as error:
                bad.append((error.path, error.reason))
                if len(bad) > MAX_SUBSTITUTES:
                    raise
                index = int(choose.integers(len(self.manifest)))

    def _sample(self, epoch: int, index: int) -> Sample:
        path = self.manifest.path(index)
        with self.reader.open(path, self.views.spec) as video:
            plan, shown_L = self.plan(video, (epoch, index))
            clips_VCTHW = read_clips(video, shown_L[plan.ticks_VT])
            times_L = video.times[shown_L]
            time_V = torch.from_numpy(times_L[plan.start_V[: self.views.clips]])
            sound_WMF = spectrograms(path, self.views.sound, plan, times_L, self.reader.limits)
        self._check_size(path, *clips_VCTHW.shape[-2:])
        if self.views.trims:
            clips_VCTHW = crop_black_bars(clips_VCTHW)
        key = (self.seed, epoch, index, FOR_AUGMENT)
        V, generator = self.views.clips, torch_generator(*key)
        decoded_VCTHW, small_VCTHW = clips_VCTHW, None
        alike = self.views.augmented_alike
        clips_VCTHW = self.crop(decoded_VCTHW[:V], generator, alike)
        if self.small_crop is not None:
            small_VCTHW = self.small_crop(decoded_VCTHW[V:], generator)
        params = None
        if self.rest is not None:  # the same generator again: the halves share the recipe's draws
            params = self.rest.draw(clips_VCTHW.shape, torch_generator(*key), alike)
        rng = numpy_rng(self.seed, epoch, index, FOR_ARRANGEMENT)
        clips_VCTHW, order_V = self.views.arrange(clips_VCTHW, plan, rng)
        return Sample(
            clips_VCTHW=clips_VCTHW,
            label=int(self.manifest.label_ids[index]),
            video_id=index,
            group_id=int(self.manifest.group_ids[index]),
            time_V=time_V,
            order_V=torch.from_numpy(order_V),
            small_VCTHW=small_VCTHW,
            sound_WMF=sound_WMF,
            params=params,
        )

    def plan(self, video: FrameSource, visit: Visit | tuple[int, int]) -> tuple[Plan, Ints]:
        """What a visit shows of its open video: the plan, and the stored frame of every tick."""
        shown_L = timeline(video.times, self.views.spec.fps)
        rate = self.views.spec.fps or video.fps
        rng = numpy_rng(self.seed, *visit, FOR_PLAN)
        return self.views.plan(len(shown_L), rate, rng), shown_L

    def _check_size(self, path: str, height: int, width: int) -> None:
        if min(height, width) < self.least_side:
            raise UserError(
                path,
                f"is {width}x{height} pixels, smaller than the crop of {self.least_side}",
                f"set clip.size={min(height, width)} or less, or clip.upscale=true",
            )


@dataclass(frozen=True)
class EvalItem:
    """The test clips of one video; start and end in seconds of the video."""

    clips_NCTHW: Tensor
    start_N: Tensor
    end_N: Tensor
    index: int
    bad: tuple[BadVideo, ...] = ()


@dataclass(frozen=True)
class EvalBatch:
    """The test clips of some videos, joined; ``index_M`` says whose each clip is."""

    clips_MCTHW: Tensor
    index_M: Tensor
    start_M: Tensor
    end_M: Tensor
    bad: tuple[BadVideo, ...] = ()


def collate_eval(items: Sequence[EvalItem]) -> EvalBatch:
    """Join the clips of several videos."""
    return EvalBatch(
        clips_MCTHW=torch.cat([item.clips_NCTHW for item in items]),
        index_M=torch.cat([torch.full((len(item.start_N),), item.index) for item in items]),
        start_M=torch.cat([item.start_N for item in items]),
        end_M=torch.cat([item.end_N for item in items]),
        bad=tuple(bad for item in items for bad in item.bad),
    )


class EvalDataset(Dataset[EvalItem]):
    """Deterministic clips spread evenly over each video. Never drops or replaces a video.

    Args:
        manifest: the videos.
        spec: the shape of a clip.
        clips_per_video: N, clips of each video.
        transform: ``transform(clips_NCTHW_uint8)``, float clips of one size.
        every_seconds: dense clips this far apart instead of N clips a video.
        half_overlap: clips that overlap the next one by half, instead of N clips a video.
        reader: how files are opened.
        perturbations: of the clips, see :mod:`cvrl.data.perturbations`; each has its N
            clips, one perturbation after the other.
        seed: of the shuffles; with the row of the video it decides them.
        name_bad: a file that cannot be decoded gives no clips and is named in ``bad``, for a caller
            that reports it, instead of an error.

    Raises:
        CorruptVideoError: on reading an item whose file cannot be decoded.
    """

    def __init__(
        self,
        manifest: Manifest,
        spec: ClipSpec,
        clips_per_video: int,
        transform: Callable[[Tensor], Tensor],
        *,
        every_seconds: float | None = None,
        half_overlap: bool = False,
        reader: VideoReader = _PLAIN_READER,
        perturbations: Sequence[Perturbation] = ("plain",),
        seed: int = 0,
        name_bad: bool = False,
    ) -> None:
        self.manifest = manifest
        self.perturbations = perturbations
        self.seed = seed
        self.spec = spec
        self.clips_per_video = clips_per_video
        self.transform = transform
        self.every_seconds = every_seconds
        self.half_overlap = half_overlap
        self.reader = reader
        self.name_bad = name_bad

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> EvalItem:
        try:
            return self._item(index)
        except CorruptVideoError as error:
            if not self.name_bad:
                raise
            nothing = torch.empty(0)
            return EvalItem(nothing, nothing, nothing, index, bad=((error.path, error.reason),))

    def _item(self, index: int) -> EvalItem:
        with self.reader.open(self.manifest.path(index), self.spec) as video:
            shown_L, seconds_L = timed_ticks(video.times, self.spec.fps, self.every_seconds)
            start_N = self._starts(seconds_L)
            ticks_NT = np.stack(
                [clip_indices(int(start), self.spec, len(shown_L)) for start in start_N]
            )
            ticks_MT = rearrange(ticks_NT, self.perturbations, self.seed, index)
            clips_MCTHW = repaint(read_clips(video, shown_L[ticks_MT]), self.perturbations)
            start_N = np.tile(start_N, len(self.perturbations))
            end_N = np.minimum(start_N + self.spec.span, len(shown_L)) - 1
            frame_seconds = 1.0 / video.fps
            times = video.times
        return EvalItem(
            clips_NCTHW=self.transform(clips_MCTHW),
            start_N=torch.from_numpy(times[shown_L[start_N]]),
            end_N=torch.from_numpy(times[shown_L[end_N]] + frame_seconds),
            index=index,
        )

    def _starts(self, seconds_L: NDArray[np.float64]) -> Ints:
        if self.half_overlap:
            step = max(1, self.spec.span // 2)
            return np.arange(0, self.spec.start_count(len(seconds_L)), step, dtype=np.int64)
        if self.every_seconds is None:
            return spread_starts(len(seconds_L), self.spec, self.clips_per_video)
        return timed_starts(seconds_L, self.spec, self.every_seconds)
