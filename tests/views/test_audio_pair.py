"""Sound lies under the middle of its clip, misaligned sound far from it and inside the video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.audio_pair import AudioPair
from cvrl.views.joint import Joint


@given(
    length=st.integers(1, 400),
    frames=st.integers(1, 20),
    stride=st.integers(1, 6),
    clips=st.integers(1, 3),
    fps=st.floats(5.0, 60.0),
    seconds=st.floats(0.1, 3.0),
    gap=st.floats(0.1, 3.0),
    seed=st.integers(0, 2**20),
)
def test_windows_are_where_they_should_be(length, frames, stride, clips, fps, seconds, gap, seed):
    spec = ClipSpec(frames, stride)
    views = AudioPair(spec, clips=clips, seconds=seconds, min_gap=gap)
    plan = views.plan(length, fps, np.random.default_rng(seed))
    assert plan.ticks_VT.shape == (clips, frames) and plan.sound_W.shape == (2 * clips,)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    middle, away = plan.sound_W[:clips], plan.sound_W[clips:]
    assert (middle >= 0).all() and (middle < length).all()
    if length >= spec.span:
        assert (np.diff(plan.ticks_VT, axis=1) == stride).all()
        assert (middle == plan.ticks_VT[:, 0] + spec.span // 2).all()
    for at, other, label in zip(middle, away, plan.order_V, strict=True):
        assert (label == -1) == (other == -1)
        if other >= 0:
            assert abs(at - other) >= gap * fps
            assert other - seconds / 2 * fps >= 0 and other + seconds / 2 * fps <= length
        else:
            half = int(np.ceil(seconds / 2 * fps))
            assert all(abs(at - tick) < gap * fps for tick in range(half, length - half))


def test_without_a_gap_the_windows_do_not_overlap():
    views = AudioPair(ClipSpec(8, 2), seconds=0.8)
    for seed in range(50):
        middle, away = views.plan(100, 25.0, np.random.default_rng(seed)).sound_W
        assert abs(middle - away) >= 20


def test_every_far_tick_is_drawn():
    views = AudioPair(ClipSpec(10, 1), seconds=0.4)
    drawn = {
        int(views.plan(40, 10.0, np.random.default_rng(seed)).sound_W[1]) for seed in range(600)
    }
    assert drawn == set(range(2, 38))


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"clips": 0}, "views.clips"),
        ({"seconds": 0.0}, "views.seconds"),
        ({"min_gap": 0.0}, "views.min_gap"),
        ({"rate": 100}, "views.rate"),
        ({"bins": 1}, "views.bins"),
    ],
)
def test_bad_keywords_are_refused_by_name(keywords, name):
    with pytest.raises(UserError, match=name):
        AudioPair(ClipSpec(8, 2), **keywords)


def test_a_joint_run_refuses_it():
    with pytest.raises(UserError, match=r"views.parts.a: listens to the sound"):
        Joint(ClipSpec(8, 2), parts={"a": AudioPair(ClipSpec(8, 2))})
