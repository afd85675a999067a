"""Blocks are even, apart, ascending and inside the video; short videos go on as the clip says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.future_blocks import FutureBlocks
from cvrl.views.joint import Joint
from cvrl.views.temporal_pair import TemporalPair

SPECS = st.builds(
    ClipSpec,
    frames=st.integers(1, 9),
    stride=st.integers(1, 4),
    short_video=st.sampled_from(["loop", "repeat"]),
)
BLOCKS = st.integers(2, 6)
GAPS = st.integers(0, 5)
SEEDS = st.integers(0, 2**32)


def plan_of(views, length, seed=0):
    return views.plan(length, 25.0, np.random.default_rng(seed))


@given(spec=SPECS, blocks=BLOCKS, gap=GAPS, more=st.integers(0, 50), seed=SEEDS)
def test_blocks_of_a_video_that_is_long_enough(spec, blocks, gap, more, seed):
    views = FutureBlocks(spec, blocks=blocks, predict=1, gap=gap)
    length = views.span + more
    plan = plan_of(views, length, seed)
    assert plan.ticks_VT.shape == (blocks, spec.frames)
    assert (np.diff(plan.ticks_VT, axis=1) == spec.stride).all()  # exact stride
    between = plan.ticks_VT[1:, 0] - plan.ticks_VT[:-1, -1]  # apart, in order
    assert (between == gap + 1).all()
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    assert (plan.start_V == plan.ticks_VT[:, 0]).all()
    assert (plan.order_V == -1).all()


@given(spec=SPECS, blocks=BLOCKS, gap=GAPS)
def test_the_span_is_from_the_first_frame_to_the_last(spec, blocks, gap):
    views = FutureBlocks(spec, blocks=blocks, predict=1, gap=gap)
    ticks_VT = plan_of(views, views.span).ticks_VT
    assert ticks_VT[0, 0] == 0 and ticks_VT[-1, -1] == views.span - 1


def test_every_place_that_fits_is_drawn_alike():
    views = FutureBlocks(ClipSpec(frames=2, stride=1), blocks=2, predict=1)
    rng = np.random.default_rng(0)
    starts = [int(views.plan(8, 25.0, rng).start_V[0]) for _ in range(5000)]
    counts = np.bincount(starts)
    assert len(counts) == 5 and counts.min() > 0.9 * 1000


@given(spec=SPECS, blocks=BLOCKS, gap=GAPS, length=st.integers(1, 60), seed=SEEDS)
def test_a_short_video_goes_on_as_the_clip_says(spec, blocks, gap, length, seed):
    views = FutureBlocks(spec, blocks=blocks, predict=1, gap=gap)
    if length >= views.span:
        return
    plan = plan_of(views, length, seed)
    endless = np.arange(2 * length + views.span)
    held = spec.short_video == "repeat"
    shown = np.minimum(endless, length - 1) if held else endless % length
    first = plan.start_V[0]
    assert held <= (first == 0)
    for block, ticks_T in enumerate(plan.ticks_VT):
        start = first + block * (spec.span + gap)
        expected = [shown[start + spec.stride * frame] for frame in range(spec.frames)]
        assert ticks_T.tolist() == expected
    assert plan.start_V.max() < length


def test_a_looped_video_starts_anywhere():
    views = FutureBlocks(ClipSpec(frames=8, stride=2), blocks=4, predict=1)
    firsts = {int(plan_of(views, 10, seed).start_V[0]) for seed in range(200)}
    assert firsts == set(range(10))


def test_a_gap_of_the_stride_less_one_makes_all_frames_even():
    views = FutureBlocks(ClipSpec(frames=5, stride=3), blocks=8, predict=3, gap=2)  # DPC on UCF101
    ticks = plan_of(views, 200).ticks_VT.flatten()
    assert (np.diff(ticks) == 3).all() and len(ticks) == 40
    assert views.span == 118  # what 28 % of UCF101 is too short for


def test_what_the_method_and_the_augmentation_are_told():
    views = FutureBlocks(ClipSpec(frames=8, stride=2), blocks=5, predict=2)
    assert (views.clips, views.predict, views.augmented_alike) == (5, 2, (5,))
    assert not views.arranges and views.small is None


def test_beside_other_views_only_the_blocks_are_augmented_alike():
    spec = ClipSpec(frames=8, stride=2)
    blocks = FutureBlocks(spec, blocks=3, predict=1)
    pair = TemporalPair(spec)
    assert Joint(spec, parts={"a": pair, "b": blocks}).augmented_alike == (1, 1, 3)
    assert Joint(spec, parts={"a": blocks, "b": pair}).augmented_alike == (3, 1, 1)
    assert Joint(spec, parts={"a": pair, "b": pair}).augmented_alike == ()


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"blocks": 1}, "views.blocks = 1"),
        ({"blocks": 3, "predict": 3}, "views.predict = 3.*use 1 to 2"),
        ({"predict": 0}, "views.predict = 0"),
        ({"gap": -1}, "views.gap = -1.*overlap"),
    ],
)
def test_keywords_out_of_range_are_refused(keywords, says):
    with pytest.raises(UserError, match=says):
        FutureBlocks(ClipSpec(frames=8, stride=2), **keywords)
