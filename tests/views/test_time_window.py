"""A window's clips stand one step after another, inside the video, and anywhere in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.time_window import TimeWindow

SPEC = ClipSpec(frames=4, stride=1)


def plan_of(length, seed=0, spec=SPEC, **keywords):
    return TimeWindow(spec, **keywords).plan(length, 25.0, np.random.default_rng(seed))


@given(
    length=st.integers(1, 300),
    clips=st.integers(3, 40),
    step=st.integers(1, 5),
    frames=st.integers(1, 9),
    stride=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_clips_lie_in_the_video_in_order(length, clips, step, frames, stride, seed):
    spec = ClipSpec(frames=frames, stride=stride)
    plan = plan_of(length, seed, spec, clips=clips, step=step)
    assert plan.ticks_VT.shape == (clips, frames) and plan.ticks_VT.dtype == np.int64
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    assert (plan.ticks_VT[:, 0] == plan.start_V).all() and (plan.order_V == -1).all()
    steps = np.diff(plan.start_V)
    assert (steps >= 0).all() and (steps <= step).all()
    places = length - spec.span + 1 if length >= spec.span else length
    if places > (clips - 1) * step:
        assert (steps == step).all()
    else:
        assert (plan.start_V[0], plan.start_V[-1]) == (0, places - 1), "as much as there is"
        assert steps.max() - steps.min() <= 1, "evenly"


def test_clips_of_a_long_video_are_whole():
    plan = plan_of(100, spec=ClipSpec(frames=5, stride=3), clips=10, step=2)
    assert (np.diff(plan.ticks_VT, axis=1) == 3).all()


def test_every_place_of_the_window_is_as_likely():
    views, rng = TimeWindow(SPEC, clips=5, step=2), np.random.default_rng(0)
    first = [int(views.plan(20, 25.0, rng).start_V[0]) for _ in range(4000)]
    counts = np.bincount(first)
    assert len(counts) == 20 - 3 - 8  # clips of 4 frames, a window of 9 starts
    assert stats.chisquare(counts).pvalue > 1e-4


def test_a_plan_is_a_function_of_its_generator():
    one, two, other = (plan_of(200, seed).start_V for seed in (3, 3, 5))
    assert (one == two).all() and (one != other).any()


def test_the_rate_makes_no_difference():
    views = TimeWindow(SPEC)
    slow, fast = (views.plan(200, fps, np.random.default_rng(0)).start_V for fps in (5.0, 60.0))
    assert (slow == fast).all()


def test_what_it_offers():
    views = TimeWindow(SPEC, clips=7)
    assert views.kinds == {"window"} and views.clips == 7 and views.cameras == 0


@pytest.mark.parametrize("keywords", [{"clips": 2}, {"step": 0}])
def test_keywords_that_cannot_be_used(keywords):
    with pytest.raises(UserError, match="clips >= 3 and step >= 1"):
        TimeWindow(SPEC, **keywords)
