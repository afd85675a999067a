"""Two clips share a speed, the third has another, and none leaves its video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.relative_speed import RelativeSpeed


@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 200),
    frames=st.integers(2, 16),
    speeds=st.sets(st.integers(1, 8), min_size=2, max_size=4).map(sorted),
)
def test_the_labels_are_the_speeds_of_the_clips(seed, length, frames, speeds):
    views = RelativeSpeed(ClipSpec(frames, stride=3), speeds=speeds)
    plan = views.plan(length, 25.0, np.random.default_rng(seed))
    assert plan.ticks_VT.shape == (3, frames)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    if sum((frames - 1) * speed < length for speed in speeds) < 2:
        assert plan.order_V.tolist() == [-1, -1, -1]
        return
    i, j, k = plan.order_V.tolist()
    assert i == j != k
    for ticks_T, start, label in zip(plan.ticks_VT, plan.start_V, plan.order_V, strict=True):
        assert ticks_T[0] == start
        assert (np.diff(ticks_T) == speeds[label]).all()


def test_either_speed_is_that_of_the_pair_equally_often():
    views = RelativeSpeed(ClipSpec(8, 2), speeds=(1, 2))
    firsts = [views.plan(60, 25.0, np.random.default_rng(s)).order_V[0] for s in range(800)]
    assert abs(sum(firsts) - 400) < 5 * np.sqrt(200)


@pytest.mark.parametrize("speeds", [[1], [2, 1], [1, 1], [0, 2], []])
def test_speeds_that_cannot_be_are_refused(speeds):
    with pytest.raises(UserError, match=r"views\.speeds"):
        RelativeSpeed(ClipSpec(8, 2), speeds=speeds)
