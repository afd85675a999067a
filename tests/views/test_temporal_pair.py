"""The clips lie where the paper's distribution puts them, inside the video, for every prior."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.temporal_pair import TemporalPair, power_cdf, sample_interval

DRAWS = 20_000


def intervals(max_interval, prior="decreasing", power=1.0, draws=DRAWS, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([sample_interval(max_interval, rng, prior, power) for _ in range(draws)])


def chi_square_p(values, probability_K):
    """p-value of the counts of 0..K-1 against probabilities, rare values pooled."""
    counts = np.bincount(values, minlength=len(probability_K))
    expected = probability_K * len(values)
    keep = expected >= 5
    counts = np.append(counts[keep], counts[~keep].sum())
    expected = np.append(expected[keep], expected[~keep].sum())
    if expected[-1] < 5:
        counts, expected = counts[:-1], expected[:-1] * counts[:-1].sum() / expected[:-1].sum()
    return stats.chisquare(counts, expected).pvalue


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("max_interval", [10, 220])
def test_decreasing_intervals_follow_the_closed_form(power, max_interval):
    cdf = np.array([power_cdf(k, max_interval, power) for k in range(max_interval + 1)])
    assert chi_square_p(intervals(max_interval, power=power), np.diff(cdf)) > 1e-4


def test_the_cdf_is_the_papers_formula():
    M, p = 100.0, 2.0
    k = np.linspace(0, M, 11)
    by_integral = [
        np.trapezoid((p + 1) / (p * M) * (1 - (x / M) ** p), x)
        for x in (np.linspace(0, end, 20_001) for end in k)
    ]
    np.testing.assert_allclose([power_cdf(x, 100, p) for x in k], by_integral, atol=1e-6)


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_increasing_is_the_mirror_of_decreasing(power):
    cdf = np.array([power_cdf(k, 50, power) for k in range(51)])
    assert chi_square_p(intervals(50, "increasing", power), np.diff(cdf)[::-1]) > 1e-4


def test_uniform_intervals_are_uniform():
    assert chi_square_p(intervals(40, "uniform"), np.full(40, 1 / 40)) > 1e-4


def test_the_test_can_fail():
    cdf = np.array([power_cdf(k, 40, 1.0) for k in range(41)])
    assert chi_square_p(intervals(40, "uniform"), np.diff(cdf)) < 1e-10


def test_mean_of_the_linear_prior_is_a_third():
    assert intervals(220).mean() + 0.5 == pytest.approx(220 / 3, rel=0.02)


@given(
    st.integers(1, 10_000),
    st.sampled_from(["decreasing", "uniform", "increasing"]),
    st.floats(0.05, 50),
)
def test_intervals_stay_in_range(max_interval, prior, power):
    rng = np.random.default_rng(0)
    assert 0 <= sample_interval(max_interval, rng, prior, power) < max_interval


@given(
    length=st.integers(1, 400),
    frames=st.integers(1, 20),
    stride=st.integers(1, 6),
    clips=st.integers(1, 5),
    prior=st.sampled_from(["decreasing", "uniform", "increasing", "fixed", "gap"]),
    seed=st.integers(0, 2**20),
)
def test_every_clip_has_exact_stride_inside_the_video(length, frames, stride, clips, prior, seed):
    spec = ClipSpec(frames, stride)
    views = TemporalPair(spec, clips=clips, prior=prior, interval=17)
    plan = views.plan(length, 25.0, np.random.default_rng(seed))
    assert plan.ticks_VT.shape == (clips, frames)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    assert (plan.ticks_VT[:, 0] == plan.start_V).all()
    if length >= spec.span:
        assert (np.diff(plan.ticks_VT, axis=1) == stride).all()


def plans(views, length, draws=4000, fps=25.0):
    rng = np.random.default_rng(1)
    return np.array([views.plan(length, fps, rng).start_V for _ in range(draws)])


def test_pairs_of_a_video_follow_the_prior_and_have_no_order():
    spec = ClipSpec(16, 2)
    start = plans(TemporalPair(spec), 250)
    distance = np.abs(start[:, 0] - start[:, 1])
    M = spec.start_count(250)
    cdf = np.array([power_cdf(k, M) for k in range(M + 1)])
    assert chi_square_p(distance, np.diff(cdf)) > 1e-4
    earlier = (start[:, 0] < start[:, 1])[distance > 0]
    assert abs(earlier.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(earlier))


def test_first_start_is_uniform_given_the_interval():
    start = plans(TemporalPair(ClipSpec(4, 1), prior="fixed", interval=10), 33)
    assert chi_square_p(start.min(axis=1), np.full(20, 1 / 20)) > 1e-4


def test_fixed_interval_in_seconds_uses_the_rate():
    views = TemporalPair(ClipSpec(4, 1), prior="fixed", interval=0.5, unit="seconds")
    start = plans(views, 200, draws=50, fps=30.0)
    assert (np.abs(np.diff(start, axis=1)) == 15).all()


def test_max_interval_bounds_what_is_drawn():
    start = plans(TemporalPair(ClipSpec(4, 1), prior="uniform", max_interval=5), 200, draws=500)
    assert np.abs(np.diff(start, axis=1)).max() == 4


def test_bounded_gap_keeps_its_bounds_for_three_clips():
    spec = ClipSpec(8, 2)
    views = TemporalPair(spec, clips=3, prior="gap", min_gap=2, max_gap=20)
    gaps = np.diff(np.sort(plans(views, 300, draws=500), axis=1), axis=1) - spec.span
    inside = ((gaps >= 2) & (gaps <= 20)).all(axis=1)
    assert inside.mean() > 0.5  # a few videos' hundred draws hold none, and the least bad is taken
    wide = TemporalPair(spec, clips=2, prior="gap", min_gap=0)
    gaps = np.diff(np.sort(plans(wide, 300, draws=500), axis=1), axis=1) - spec.span
    assert (gaps >= 0).all()


def test_a_gap_that_cannot_be_kept_gives_the_nearest():
    views = TemporalPair(ClipSpec(8, 2), prior="gap", min_gap=1000)
    start = plans(views, 100, draws=50)
    assert np.abs(np.diff(start, axis=1)).mean() > 50


def test_short_video_draws_from_every_frame():
    start = plans(TemporalPair(ClipSpec(16, 2)), 10, draws=2000)
    assert set(np.unique(start)) == set(range(10))


@pytest.mark.parametrize(
    "keywords",
    [
        {"prior": "sideways"},
        {"unit": "minutes"},
        {"clips": 0},
        {"power": 0.0},
        {"interval": -1},
        {"min_gap": 5, "max_gap": 1},
    ],
)
def test_bad_keywords_are_refused(keywords):
    with pytest.raises(UserError, match="views"):
        TemporalPair(ClipSpec(8, 2), **keywords)


def test_bad_draws_are_refused():
    rng = np.random.default_rng(0)
    for arguments in [(0, rng), (5, rng, "decreasing", 0.0), (5, rng, "gap")]:
        with pytest.raises(UserError):
            sample_interval(*arguments)
