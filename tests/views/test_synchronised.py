"""Every moment is one moment, seen by two cameras, apart from the others, inside every film."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.synchronised import Synchronised, draw_apart


def plan_of(film=100, cameras=2, fps=25.0, seed=0, spec=None, **keywords):
    """A plan, with the camera and the frame of each clip's start."""
    views = Synchronised(spec or ClipSpec(frames=4, stride=1), cameras=cameras, **keywords)
    plan = views.plan(cameras * film, fps, np.random.default_rng(seed))
    return views, plan, *np.divmod(plan.start_V, film)


def test_what_it_offers():
    views, plan, _, _ = plan_of(moments=5)
    assert views.kinds == {"synchronised"}
    assert (views.clips, views.cameras, views.order_classes) == (10, 2, 2)
    assert plan.ticks_VT.shape == (10, 4) and plan.ticks_VT.dtype == np.int64
    assert plan.start_V.dtype == plan.order_V.dtype == np.int64


@given(
    film=st.integers(1, 200),
    cameras=st.integers(2, 4),
    moments=st.integers(2, 12),
    min_gap=st.integers(0, 30),
    frames=st.integers(1, 9),
    stride=st.integers(1, 3),
    jitter=st.integers(0, 2),
    seed=st.integers(0, 5),
)
def test_every_moment_is_seen_by_two_cameras(
    film, cameras, moments, min_gap, frames, stride, jitter, seed
):
    spec = ClipSpec(frames=frames, stride=stride)
    keywords = {"moments": moments, "min_gap": min_gap, "unit": "frames", "jitter": jitter}
    _, plan, camera_V, frame_V = plan_of(film, cameras, seed=seed, spec=spec, **keywords)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < cameras * film
    assert (plan.order_V == camera_V).all()
    assert (camera_V[0::2] != camera_V[1::2]).all()
    assert (np.abs(frame_V[0::2] - frame_V[1::2]) <= jitter).all()
    places = film if film < spec.span else film - spec.span + 1
    assert frame_V.max() < places
    gaps = np.diff(frame_V[0::2])
    assert gaps.min() >= min(min_gap, (places - 1) // (moments - 1))
    if places >= moments:
        assert gaps.min() >= 1, "no frame is two moments"


@given(film=st.integers(1, 60), frames=st.integers(1, 20), stride=st.integers(1, 3))
def test_a_clip_never_leaves_its_film(film, frames, stride):
    spec = ClipSpec(frames=frames, stride=stride)
    _, plan, camera_V, frame_V = plan_of(film, cameras=3, spec=spec, moments=4)
    shown_VT = plan.ticks_VT - camera_V[:, None] * film
    expected = (frame_V[:, None] + stride * np.arange(frames)) % film
    assert (shown_VT == expected).all()
    if film >= spec.span:
        assert (np.diff(shown_VT, axis=1) == stride).all(), "nothing is looped in a long film"


def test_without_jitter_both_cameras_show_the_same_frame():
    _, _, _, frame_V = plan_of(moments=8)
    assert (frame_V[0::2] == frame_V[1::2]).all()


def test_jitter_shifts_evenly_and_only_the_second():
    _, _, _, frame_V = plan_of(film=5000, moments=2000, min_gap=2, unit="frames", jitter=2)
    shift = frame_V[1::2] - frame_V[0::2]
    counts = np.bincount(shift + 2, minlength=5)
    assert len(counts) == 5 and stats.chisquare(counts).pvalue > 1e-4
    assert (np.diff(frame_V[0::2]) >= 2).all()


def test_seconds_are_turned_into_frames():
    for fps in (10.0, 30.0):
        _, _, _, frame_V = plan_of(film=400, fps=fps, moments=6, min_gap=0.5)
        assert np.diff(frame_V[0::2]).min() >= 0.5 * fps
    assert np.diff(plan_of(film=400, fps=30.0, moments=60, min_gap=0.0)[3][0::2]).min() == 1


def test_either_camera_comes_first_as_often():
    _, _, camera_V, _ = plan_of(film=5000, moments=2000, min_gap=0)
    assert stats.binomtest(int(camera_V[0::2].sum()), 2000).pvalue > 1e-4


def test_every_pair_of_cameras_is_drawn_as_often():
    _, _, camera_V, _ = plan_of(film=5000, cameras=4, moments=3000, min_gap=0)
    pairs = list(zip(camera_V[0::2], camera_V[1::2], strict=True))
    counts = [pairs.count((a, b)) for a in range(4) for b in range(4) if a != b]
    assert sum(counts) == 3000 and stats.chisquare(counts).pvalue > 1e-4


def test_a_plan_is_a_function_of_its_generator():
    one, two, other = (plan_of(seed=seed)[1] for seed in (3, 3, 4))
    assert (one.ticks_VT == two.ticks_VT).all() and (one.order_V == two.order_V).all()
    assert (one.ticks_VT != other.ticks_VT).any()


@pytest.mark.parametrize(("places", "count", "gap"), [(8, 3, 2), (7, 3, 3), (6, 2, 1), (9, 4, 2)])
def test_every_choice_that_keeps_its_distance_is_as_likely(places, count, gap):
    allowed = [
        choice
        for choice in combinations(range(places), count)
        if min(np.diff(choice), default=gap) >= gap
    ]
    assert len(allowed) == comb(places - (count - 1) * (gap - 1), count)
    rng = np.random.default_rng(0)
    drawn = [tuple(draw_apart(places, count, gap, rng).tolist()) for _ in range(4000)]
    assert set(drawn) == set(allowed)
    if len(allowed) > 1:
        assert stats.chisquare([drawn.count(choice) for choice in allowed]).pvalue > 1e-4


@given(places=st.integers(1, 50), count=st.integers(2, 12), gap=st.integers(0, 40))
def test_draws_lie_in_bounds_and_in_order(places, count, gap):
    drawn = draw_apart(places, count, gap, np.random.default_rng(0))
    assert drawn.shape == (count,) and drawn.dtype == np.int64
    assert drawn.min() >= 0 and drawn.max() < places
    assert (np.diff(drawn) >= min(gap, (places - 1) // (count - 1))).all()


@pytest.mark.parametrize("length", [0, 1, 101])
def test_frames_that_are_not_films_of_one_length_are_refused(length):
    with pytest.raises(ValueError, match="not 2 films of one length"):
        Synchronised(ClipSpec(4, 1)).plan(length, 25.0, np.random.default_rng(0))


@pytest.mark.parametrize(
    "keywords",
    [{"moments": 1}, {"cameras": 1}, {"min_gap": -1}, {"jitter": -1}, {"unit": "minutes"}],
)
def test_keywords_that_cannot_be_used(keywords):
    with pytest.raises(UserError, match="views"):
        Synchronised(ClipSpec(4, 1), **keywords)
