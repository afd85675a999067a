"""The copy has the clip's frames in another order, and each role gives the views it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.shuffled_pair import CHUNKS, ShuffledPair

SPEC = ClipSpec(frames=8, stride=2)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shuffle", ["frames", "chunks"])
@given(seed=st.integers(0, 10_000))
def test_a_positive_has_the_same_frames_in_another_order(shuffle, seed):
    plan = ShuffledPair(SPEC, shuffle=shuffle).plan(100, 25.0, rng(seed))
    clip, copy = plan.ticks_VT
    assert (np.diff(clip) == SPEC.stride).all()
    assert sorted(copy) == sorted(clip) and (copy != clip).any()
    assert plan.start_V[0] == plan.start_V[1] == clip[0]


def test_chunks_swap_two_quarters():
    plan = ShuffledPair(SPEC, shuffle="chunks").plan(100, 25.0, rng())
    clip, copy = (row.reshape(CHUNKS, -1) for row in plan.ticks_VT)
    moved = [(one != two).any() for one, two in zip(clip, copy, strict=True)]
    assert sum(moved) == 2
    first, second = np.flatnonzero(moved)
    assert (clip[first] == copy[second]).all() and (clip[second] == copy[first]).all()


@given(seed=st.integers(0, 1000))
def test_a_negative_comes_last_after_two_clips_in_order(seed):
    views = ShuffledPair(SPEC, role="negative")
    plan = views.plan(100, 25.0, rng(seed))
    assert views.negatives == 1 and views.kinds == {"contrast"}
    assert plan.ticks_VT.shape == (3, 8)
    assert (np.diff(plan.ticks_VT[:2], axis=1) == SPEC.stride).all()
    assert sorted(plan.ticks_VT[2]) == sorted(plan.ticks_VT[0])


def test_predicting_shows_one_clip_and_says_whether_it_is_shuffled():
    views = ShuffledPair(SPEC, role="predict")
    plans = [views.plan(100, 25.0, rng(seed)) for seed in range(400)]
    for plan in plans:
        in_order = bool((np.diff(plan.ticks_VT[0]) == SPEC.stride).all())
        assert plan.order_V.tolist() == [0 if in_order else 1]
    assert 150 < sum(int(plan.order_V[0]) for plan in plans) < 250


def test_a_looped_clip_cannot_be_told_from_its_shuffle():
    plan = ShuffledPair(SPEC, role="predict").plan(5, 25.0, rng())
    assert plan.order_V.tolist() == [-1]


@pytest.mark.parametrize("role", ["positive", "negative", "predict"])
@pytest.mark.parametrize("length", [1, 3, 15, 16, 300])
def test_frames_lie_in_the_video(role, length):
    views = ShuffledPair(SPEC, role=role)
    plan = views.plan(length, 25.0, rng())
    assert plan.ticks_VT.shape == (views.clips, 8)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length


@pytest.mark.parametrize(
    ("spec", "keywords", "named"),
    [
        (SPEC, {"role": "anchor"}, "views.role"),
        (SPEC, {"shuffle": "rows"}, "views.shuffle"),
        (ClipSpec(frames=2, stride=1), {}, "clip.frames"),
    ],
)
def test_what_cannot_be_is_refused_by_name(spec, keywords, named):
    with pytest.raises(UserError) as caught:
        ShuffledPair(spec, **keywords)
    assert str(caught.value).startswith(named)
