"""A clip's frames are as far apart as its label says, and a clip never leaves its video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.pace import Pace

SPEC = ClipSpec(frames=8, stride=2)
PACES = (1, 2, 4, 8)


def rng(seed=0):
    return np.random.default_rng(seed)


@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 300),
    clips=st.integers(1, 4),
    frames=st.integers(2, 20),
    paces=st.sets(st.integers(1, 12), min_size=2, max_size=5).map(sorted),
)
def test_the_label_is_the_distance_of_the_frames(seed, length, clips, frames, paces):
    views = Pace(ClipSpec(frames, stride=3), clips=clips, paces=paces)
    plan = views.plan(length, 25.0, rng(seed))
    assert plan.ticks_VT.shape == (clips, frames)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    assert (plan.ticks_VT[:, 0] == plan.start_V).all()
    fitting = [pace for pace in paces if (frames - 1) * pace < length]
    if len(fitting) < 2:
        assert (plan.order_V == -1).all()
        return
    for ticks_T, label in zip(plan.ticks_VT, plan.order_V, strict=True):
        assert paces[label] in fitting
        assert (np.diff(ticks_T) == paces[label]).all()


def test_paces_are_equally_frequent_and_starts_reach_both_ends():
    views = Pace(SPEC, clips=4)
    plans = [views.plan(100, 25.0, rng(seed)) for seed in range(1000)]
    labels = np.concatenate([plan.order_V for plan in plans])
    assert (abs(np.bincount(labels, minlength=4) - 1000) < 5 * np.sqrt(1000)).all()
    starts = np.concatenate([plan.start_V for plan in plans])
    for label, pace in enumerate(PACES):
        here = starts[labels == label]
        assert here.min() < 5 and here.max() > 100 - 7 * pace - 1 - 5


@given(seed=st.integers(0, 100))
def test_a_short_video_has_the_paces_that_fit(seed):
    plan = Pace(SPEC, clips=8).plan(15, 25.0, rng(seed))  # spans are 8, 15, 29 and 57
    assert set(plan.order_V.tolist()) <= {0, 1}


@pytest.mark.parametrize("length", [1, 7, 8, 14])
def test_a_video_of_one_pace_has_no_label(length):
    plan = Pace(SPEC, clips=2).plan(length, 25.0, rng())
    assert plan.order_V.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"clips": 0}, "views.clips"),
        ({"paces": [4]}, "views.paces"),
        ({"paces": [2, 1]}, "views.paces"),
        ({"paces": [2, 2]}, "views.paces"),
        ({"paces": [0, 1]}, "views.paces"),
    ],
)
def test_what_cannot_be_is_refused_by_name(keywords, named):
    with pytest.raises(UserError) as caught:
        Pace(SPEC, **keywords)
    assert str(caught.value).startswith(named)
