"""Clips of a video with the sound under each, and sound of another moment of the same video.

Korbar, Tran and Torresani, "Cooperative Learning of Audio and Video Models from Self-Supervised
Synchronization" (AVTS, arXiv 1807.00230): pictures and sound of one moment are a positive pair,
sound of another moment of the same video, at least half a second away, is the hard negative. Sound
of other videos is an easy negative, which the method finds in the batch.

Deviations: windows of a clip's sound and of its hard negative do not overlap by default. The sound
is not augmented.

Shapes: V clips a video, T frames a clip, W = 2 V windows of sound, L ticks in the video.
"""

import numpy as np

from cvrl.data.clips import ClipSpec, Ints, Plan, clip_indices
from cvrl.data.view_base import Sound, Views
from cvrl.utils.checks import check_range


class AudioPair(Views):
    """Clips from uniform starts; a window of sound centred on each, then one misaligned with each.

    A video too short for a misaligned window has silence in its place and the label -1; the others
    have 0.

    Args:
        spec: the shape of a clip.
        clips: V, independent clips.
        seconds: length of a window of sound.
        min_gap: seconds from a clip's middle to that of its misaligned sound, at least; None for
            the length of a window.
        rate: samples a second that the sound is resampled to.
        bins: mel bins of the spectrogram.

    Raises:
        UserError: a number out of range.

    Example:
        >>> views = AudioPair(ClipSpec(frames=8, stride=2))
        >>> plan = views.plan(length=100, fps=25.0, rng=np.random.default_rng(0))
        >>> plan.ticks_VT.shape, plan.start_V.tolist(), plan.sound_W.tolist()
        ((1, 8), [73], [80, 40])
    """

    kinds = frozenset({"sound"})
    sound: Sound

    def __init__(
        self,
        spec: ClipSpec,
        *,
        clips: int = 1,
        seconds: float = 1.0,
        min_gap: float | None = None,
        rate: int = 16_000,
        bins: int = 64,
    ) -> None:
        check_range("views.clips", clips, "[1, inf)")
        check_range("views.seconds", seconds, "[0.1, 60]")
        check_range("views.min_gap", seconds if min_gap is None else min_gap, "(0, inf)")
        check_range("views.rate", rate, "[4000, 192000]")
        check_range("views.bins", bins, "[16, 256]")
        self.spec = spec
        self.clips = clips
        self.min_gap = seconds if min_gap is None else min_gap
        self.sound = Sound(seconds=seconds, rate=rate, bins=bins)

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Draw the starts of the clips, then the middle of each misaligned window.

        Args:
            length: ticks in the video, L >= 1.
            fps: ticks a second.
            rng: the visit's own generator.
        """
        start_V = rng.integers(self.spec.start_count(length), size=self.clips)
        middle_V = np.minimum(start_V + self.spec.span // 2, length - 1)
        away_V = np.array([self._away(int(tick), length, fps, rng) for tick in middle_V])
        return Plan(
            ticks_VT=np.stack([clip_indices(int(tick), self.spec, length) for tick in start_V]),
            start_V=start_V,
            order_V=np.where(away_V < 0, -1, 0),
            sound_W=np.concatenate([middle_V, away_V]),
        )

    def _away(self, middle: int, length: int, fps: float, rng: np.random.Generator) -> int:
        """A tick far from a clip's middle whose window lies inside the video; -1 for none."""
        half = int(np.ceil(self.sound.seconds / 2 * fps))
        tick_L: Ints = np.arange(half, length - half, dtype=np.int64)
        far = tick_L[np.abs(tick_L - middle) >= self.min_gap * fps]
        return int(rng.choice(far)) if len(far) else -1


VIEWS = AudioPair
