"""Clips of one video at a sampled temporal interval (CVRL, Qian et al., arXiv 2008.03800, 3.2).

Let M be the number of places a clip can start at. The interval delta between the starts of two
clips is drawn from a distribution on [0, M), then the first start uniformly from what is left.
CVRL's distributions have the density f(k) = (p+1)/(p M) (1 - (k/M)^p): far clips are rarer, since
what they show differs more. Also here: the uniform, increasing and fixed choices of its ablation,
and the bounded gap of Feichtenhofer et al. (arXiv 2104.14558), which also has more than two clips.

Deviations from CVRL's code, which inverts the CDF by bisection on floored midpoints: the inversion
here is exact, P(delta = j) = F(j+1) - F(j). Clips of one frame get intervals too (the code takes
every video for too short then).

Shapes: V clips a video, T frames a clip, L ticks in the video.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from cvrl.data.clips import ClipSpec, Ints, Plan, clip_indices
from cvrl.data.view_base import Views
from cvrl.utils.errors import UserError

Prior = Literal["decreasing", "uniform", "increasing", "fixed", "gap"]
PRIORS = ("decreasing", "uniform", "increasing", "fixed", "gap")


def power_cdf(k: float, max_interval: int, power: float = 1.0) -> float:
    """F(k) = ((p+1)/p)(k/M) - (1/p)(k/M)^(p+1), the CDF of CVRL's decreasing family.

    Args:
        k: an interval in [0, M].
        max_interval: M.
        power: p > 0; p = 1 falls linearly, large p tends to uniform.

    Returns:
        The probability of an interval below ``k``.

    Example:
        >>> power_cdf(50, max_interval=100)
        0.75
    """
    x = k / max_interval
    return float((power + 1) / power * x - x ** (power + 1) / power)


def sample_interval(
    max_interval: int, rng: np.random.Generator, prior: str = "decreasing", power: float = 1.0
) -> int:
    """Draw the interval between the starts of two clips.

    Args:
        max_interval: M, the number of possible intervals, >= 1.
        rng: the source of one uniform number.
        prior: ``decreasing`` (CVRL), ``uniform``, or ``increasing`` (the decreasing one mirrored).
        power: p of the decreasing and increasing families, > 0.

    Returns:
        An integer in ``[0, max_interval)``; j has probability F(j+1) - F(j) exactly.

    Raises:
        UserError: an unknown prior, or a power or maximum out of range.

    Example:
        >>> 0 <= sample_interval(220, np.random.default_rng(0)) < 220
        True
    """
    if max_interval < 1 or not power > 0:
        raise UserError(
            "views", f"needs max_interval >= 1 and power > 0, not {max_interval}, {power}"
        )
    u = rng.random()
    if prior == "uniform":
        return int(u * max_interval)
    if prior == "decreasing":
        return _invert(lambda k: power_cdf(k, max_interval, power), u, max_interval)
    if prior == "increasing":
        return (
            max_interval - 1 - _invert(lambda k: power_cdf(k, max_interval, power), u, max_interval)
        )
    raise UserError(
        "views.prior", f"'{prior}' draws no interval", "use decreasing, uniform or increasing"
    )


def _invert(cdf: Callable[[float], float], u: float, max_interval: int) -> int:
    """The j in [0, M) with F(j) <= u < F(j+1), by bisection."""
    low, high = 0, max_interval
    while high - low > 1:
        middle = (low + high) // 2
        if cdf(middle) <= u:
            low = middle
        else:
            high = middle
    return low


class TemporalPair(Views):
    """Clips of the same video, a sampled interval apart, in random order.

    With more than two clips, each further clip stands at an interval of its own from the first,
    before or after it. A video too short for one clip gives clips from independent uniform starts,
    looped or held as the spec says (CVRL's code does the same).

    Args:
        spec: the shape of a clip.
        clips: V >= 1.
        prior: ``decreasing``, ``uniform``, ``increasing``, ``fixed`` or ``gap``.
        power: p of the decreasing and increasing priors.
        interval: distance of the starts under ``fixed``; the largest possible where it is too long.
        max_interval: upper bound of a drawn interval (exclusive); None leaves it to the video.
        min_gap: under ``gap``, least distance from the end of one clip to the start of the next;
            negative lets them overlap; None is no bound.
        max_gap: under ``gap``, the greatest such distance.
        unit: what interval, max_interval and gaps count: ``frames`` or ``seconds``.

    Raises:
        UserError: keywords that cannot be used, naming the key.

    Example:
        >>> views = TemporalPair(ClipSpec(frames=16, stride=2))
        >>> views.plan(length=250, fps=25.0, rng=np.random.default_rng(0)).ticks_VT.shape
        (2, 16)
    """

    kinds = frozenset({"clips"})

    def __init__(
        self,
        spec: ClipSpec,
        *,
        clips: int = 2,
        prior: Prior = "decreasing",
        power: float = 1.0,
        interval: float = 0.0,
        max_interval: float | None = None,
        min_gap: float | None = None,
        max_gap: float | None = None,
        unit: Literal["frames", "seconds"] = "frames",
    ) -> None:
        if prior not in PRIORS:
            raise UserError("views.prior", f"unknown value '{prior}'", f"use {', '.join(PRIORS)}")
        if unit not in ("frames", "seconds"):
            raise UserError("views.unit", f"unknown value '{unit}'", "use frames or seconds")
        if clips < 1 or not power > 0 or interval < 0:
            raise UserError("views", "needs clips >= 1, power > 0 and interval >= 0")
        if min_gap is not None and max_gap is not None and min_gap > max_gap:
            raise UserError("views.min_gap", f"{min_gap} lies above views.max_gap {max_gap}")
        self.spec = spec
        self.clips = clips
        self.prior = prior
        self.power = power
        self.interval = interval
        self.max_interval = max_interval
        self.min_gap = -np.inf if min_gap is None else min_gap
        self.max_gap = np.inf if max_gap is None else max_gap
        self.unit = unit

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose the clips of one visit.

        Args:
            length: ticks in the video, L >= 1.
            fps: ticks a second, which turns seconds into ticks.
            rng: the visit's own generator.

        Returns:
            A plan with V clips, none of which comes first for being earlier.
        """
        ticks = 1.0 if self.unit == "frames" else fps
        if length < self.spec.span:
            start_V = rng.integers(length, size=self.clips)
        elif self.prior == "gap":
            start_V = self._gap_starts(length, ticks, rng)
        else:
            start_V = self._interval_starts(length, ticks, rng)
        start_V = rng.permutation(start_V).astype(np.int64)
        ticks_VT = np.stack([clip_indices(int(start), self.spec, length) for start in start_V])
        return Plan(ticks_VT=ticks_VT, start_V=start_V)

    def _interval_starts(self, length: int, ticks: float, rng: np.random.Generator) -> Ints:
        places = self.spec.start_count(length)
        offset_V = np.zeros(self.clips, dtype=np.int64)
        for v in range(1, self.clips):
            offset_V[v] = self._interval(places, ticks, rng)
        if self.clips > 2:  # before or after the first clip, where both sides have room
            signed_V = offset_V * rng.choice((-1, 1), size=self.clips)
            if signed_V.max() - signed_V.min() < places:
                offset_V = signed_V
        offset_V -= offset_V.min()
        first = int(rng.integers(places - offset_V.max()))
        return first + offset_V

    def _interval(self, places: int, ticks: float, rng: np.random.Generator) -> int:
        if self.prior == "fixed":
            return min(round(self.interval * ticks), places - 1)
        limit = places
        if self.max_interval is not None:
            limit = min(places, max(1, round(self.max_interval * ticks)))
        return sample_interval(limit, rng, self.prior, self.power)

    def _gap_starts(self, length: int, ticks: float, rng: np.random.Generator) -> Ints:
        """Uniform starts whose gaps keep the bounds; the least bad of 100 draws where none does."""
        draws = rng.integers(self.spec.start_count(length), size=(100, self.clips))
        gaps = (np.diff(np.sort(draws, axis=1), axis=1) - self.spec.span).astype(np.float64)
        short, long = self.min_gap * ticks - gaps, gaps - self.max_gap * ticks
        excess = np.maximum(short, 0.0) + np.maximum(long, 0.0)
        chosen: Ints = draws[int(np.argmin(excess.sum(axis=1)))]
        return chosen


VIEWS = TemporalPair
