"""The seam between pretext tasks and the data: what every file in ``cvrl/views`` is.

Shapes: V clips of one video, C channels, T frames, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cvrl.data.clips import ClipSpec, Ints, Plan

Box = tuple[slice, slice, slice]  # of a clip: time, height and width


@dataclass(frozen=True)
class SmallCrops:
    """Further clips of the same video, cut smaller than the others (multi-crop).

    Attributes:
        count: how many, >= 1.
        size: their height and width in pixels.
        area: share of the frame that a crop keeps, lowest and highest.
    """

    count: int
    size: int
    area: tuple[float, float]


@dataclass(frozen=True)
class Sound:
    """Windows of the video's sound beside the clips, each as a log-mel spectrogram.

    Attributes:
        seconds: length of a window.
        rate: samples a second that the sound is resampled to.
        bins: mel bins of the spectrogram.
        window: seconds of a window of its Fourier transform.
        hop: seconds from one to the next.
    """

    seconds: float = 1.0
    rate: int = 16_000
    bins: int = 64
    window: float = 0.025
    hop: float = 0.01


class Views:
    """A pretext task: which clips of a video belong together, and what their arrangement means.

    A file of ``cvrl/views`` holds one subclass, whose constructor takes the :class:`ClipSpec` and
    keywords of its own.

    Attributes:
        kinds: what it offers; a method takes it where it accepts one of them
            (``Task.accepts``).
        spec: the shape of a clip in time.
        clips: V, clips of a video.
        order_classes: K, the number of classes of the pretext label; 0 where there is none.
        negatives: how many of the last clips do not belong with the others, but show what to tell
            them from.
        predict: how many of the last clips are the future, to be predicted from those before.
        augmented_alike: lengths of the runs of clips that share their draws of the augmentation,
            V in sum; empty where every clip has its own.
        cameras: how many cameras' films of an event it draws from, which the ticks of a visit run
            through one after another; 0 where it looks at one video.
        small: crops of another size beside the V clips, or None. The plan then has
            ``clips + small.count`` rows.
        sound: windows of sound that go with the clips, whose places are ``Plan.sound_W``; or None.
        arranges: whether :meth:`arrange` does anything.
        trims: whether bars at the sides of the frames are cut off before the augmentation.
    """

    kinds: frozenset[str] = frozenset()
    spec: ClipSpec
    clips: int
    order_classes: int = 0
    negatives: int = 0
    predict: int = 0
    augmented_alike: tuple[int, ...] = ()
    cameras: int = 0
    small: SmallCrops | None = None
    sound: Sound | None = None
    arranges: bool = False
    trims: bool = False

    @property
    def cut_up(self) -> bool:
        """Whether augmented clips are cut up or come in several sizes, before they are a batch."""
        return self.arranges or self.small is not None

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose the frames of one visit.

        Args:
            length: ticks in the video, L >= 1.
            fps: ticks a second.
            rng: the visit's own generator.
        """
        raise NotImplementedError

    def arrange(
        self, clips_VCTHW: Tensor, plan: Plan, rng: np.random.Generator
    ) -> tuple[Tensor, Ints]:
        """Rearrange pixels after the augmentation, so that nothing blurs the seams.

        Args:
            clips_VCTHW: the augmented clips.
            plan: what :meth:`plan` chose.
            rng: a generator of its own.

        Returns:
            The clips, of one size but not necessarily of the one given, and the label of each.
        """
        return clips_VCTHW, plan.order_V

    def pieces(self, shape_THW: Sequence[int]) -> list[Box]:
        """Where the pieces of a labelled clip stand; none where it is whole.

        Args:
            shape_THW: of the clip.
        """
        return []
