"""Every class is what its name says, told from the frame numbers alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.temporal_transform import TemporalTransform, periodic, random_order, warped

SPEC = ClipSpec(frames=8, stride=2)


def rng(seed=0):
    return np.random.default_rng(seed)


def class_of(ticks_T, speeds):
    """The class of a clip, read from its ticks."""
    step = np.diff(ticks_T)
    turns = np.count_nonzero(np.diff(np.sign(step[step != 0])))  # a frame may be held at the turn
    if turns == 0 and len(set(step.tolist())) == 1:
        return int(np.log2(step[0]))
    return {0: speeds + 2, 1: speeds + 1}.get(turns, speeds)


@given(
    seed=st.integers(0, 100_000),
    length=st.integers(1, 300),
    frames=st.integers(5, 20),
    clips=st.integers(1, 5),
    speeds=st.integers(2, 5),
)
def test_the_label_is_the_class_of_the_ticks(seed, length, frames, clips, speeds):
    views = TemporalTransform(ClipSpec(frames, stride=3), clips=clips, speeds=speeds)
    plan = views.plan(length, 25.0, rng(seed))
    assert plan.ticks_VT.shape == (clips, frames)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    if (frames - 1) * 2 >= length:  # speed 2 does not fit
        assert (plan.order_V == -1).all()
        return
    assert len(set(plan.order_V.tolist())) == clips
    for ticks_T, start, label in zip(plan.ticks_VT, plan.start_V, plan.order_V, strict=True):
        assert ticks_T.min() == start
        assert class_of(ticks_T, speeds) == label


def test_classes_are_equally_frequent():
    views = TemporalTransform(SPEC)
    labels = np.concatenate([views.plan(200, 25.0, rng(seed)).order_V for seed in range(1750)])
    counts = np.bincount(labels, minlength=7)
    assert (abs(counts - 1000) < 5 * np.sqrt(1000)).all()


@given(seed=st.integers(0, 1000), frames=st.integers(5, 30))
def test_a_random_order_has_every_frame_and_turns_twice(seed, frames):
    order = random_order(frames, rng(seed)).tolist()
    assert sorted(order) == list(range(frames))
    peaks = [
        i for i in range(1, frames - 1) if (order[i - 1] < order[i]) == (order[i] > order[i + 1])
    ]
    assert len(peaks) >= 2


@given(seed=st.integers(0, 1000), frames=st.integers(5, 30), skip=st.integers(1, 16))
def test_periodic_turns_once_inside_the_clip(seed, frames, skip):
    ticks = periodic(frames, skip, rng(seed))
    assert ticks.min() == 0 and ticks.max() <= (frames - 1) * skip
    step = np.diff(ticks)
    turn = int((step > 0).sum())
    assert 2 <= turn <= frames - 3
    assert (step[:turn] == skip).all() and (step[turn + 1 :] == -skip).all()
    assert -skip <= step[turn] <= 0
    if skip > 1:
        assert len(set(ticks.tolist())) == frames  # no frame is shown twice


@given(seed=st.integers(0, 1000), frames=st.integers(5, 30), fastest=st.integers(2, 16))
def test_warp_goes_forwards_at_an_uneven_pace(seed, frames, fastest):
    step = np.diff(warped(frames, fastest, rng(seed)))
    assert step.min() >= 1 and step.max() <= fastest and len(set(step.tolist())) > 1


@pytest.mark.parametrize(
    ("spec", "keywords", "named"),
    [
        (SPEC, {"clips": 0}, "views.clips"),
        (SPEC, {"clips": 6}, "views.clips"),
        (SPEC, {"speeds": 1}, "views.speeds"),
        (SPEC, {"speeds": 6}, "views.speeds"),
        (ClipSpec(4, 1), {}, "clip.frames"),
    ],
)
def test_what_cannot_be_is_refused_by_name(spec, keywords, named):
    with pytest.raises(UserError) as caught:
        TemporalTransform(spec, **keywords)
    assert str(caught.value).startswith(named)
