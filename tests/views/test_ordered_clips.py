"""Orders have the right class, clips lie apart in time, and what cannot be told has no label."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.ordered_clips import OrderedClips, motion, order_classes

SPEC = ClipSpec(frames=8, stride=2)
MODES = [("vcop", 3), ("vcop", 4), ("opn", 3), ("opn", 4), ("shuffle_and_learn", 3)]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("clips", [2, 3, 4])
def test_vcop_gives_every_order_a_class_of_its_own(clips):
    classes = order_classes(clips, "vcop")
    assert sorted(classes.values()) == list(range(factorial(clips)))
    assert set(classes) == set(permutations(range(clips)))


@pytest.mark.parametrize("clips", [3, 4])
def test_opn_gives_an_order_and_its_reverse_one_class(clips):
    classes = order_classes(clips, "opn")
    assert set(classes.values()) == set(range(factorial(clips) // 2))
    for order, number in classes.items():
        assert classes[order[::-1]] == number
        assert sum(other == number for other in classes.values()) == 2


def test_shuffle_and_learn_holds_an_order_valid_in_both_directions():
    classes = order_classes(3, "shuffle_and_learn")
    for order, valid in classes.items():
        is_monotonic = order in {tuple(sorted(order)), tuple(sorted(order, reverse=True))}
        assert bool(valid) == is_monotonic
        assert classes[order[::-1]] == valid
    assert sorted(classes.values()) == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(("mode", "clips"), MODES)
@given(seed=st.integers(0, 10_000), length=st.integers(15, 400))
def test_the_label_is_the_order_of_the_clips_in_time(mode, clips, seed, length):
    views = OrderedClips(SPEC, clips=clips, mode=mode)
    plan = views.plan(length, 25.0, rng(seed))
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    assert len(set(plan.order_V.tolist())) == 1
    label = int(plan.order_V[0])
    if label < 0:  # places of jittered gaps fall together where there are few starts
        assert SPEC.start_count(length) < 2 * views.places
        return
    shown = tuple(int(place) for place in np.argsort(np.argsort(plan.start_V)))
    ranks = {
        tuple(int(place) for place in np.argsort(np.argsort(order))): number
        for order, number in views.class_of.items()
    }
    if mode != "shuffle_and_learn":
        assert ranks[shown] == label
    else:
        is_monotonic = shown in {(0, 1, 2), (2, 1, 0)}
        assert is_monotonic == bool(label)


@pytest.mark.parametrize(("mode", "clips"), MODES)
def test_permuting_the_slots_permutes_the_label(mode, clips):
    classes = order_classes(clips, mode)
    if mode == "shuffle_and_learn":
        pytest.skip("its orders are not closed under permutation")
    for order in classes:
        for slots in permutations(range(clips)):
            assert tuple(order[slot] for slot in slots) in classes


@given(seed=st.integers(0, 1000), gap=st.integers(0, 20), jitter=st.integers(0, 9))
def test_clips_of_a_long_video_are_a_gap_apart(seed, gap, jitter):
    views = OrderedClips(SPEC, clips=3, gap=gap, gap_jitter=jitter)
    starts = np.sort(views.plan(400, 25.0, rng(seed)).start_V)
    between = np.diff(starts) - SPEC.span
    assert (between >= gap).all() and (between <= gap + jitter).all()


def test_the_gap_is_not_constant():
    views = OrderedClips(SPEC, clips=3, gap=8, gap_jitter=4)
    gaps = {int(np.diff(np.sort(views.plan(400, 25.0, rng(s)).start_V))[0]) for s in range(50)}
    assert len(gaps) == 5


@pytest.mark.parametrize(("mode", "clips"), MODES)
def test_classes_are_equally_frequent(mode, clips):
    views = OrderedClips(SPEC, clips=clips, mode=mode)
    labels = [int(views.plan(400, 25.0, rng(seed)).order_V[0]) for seed in range(2400)]
    counts = np.bincount(labels, minlength=views.order_classes)
    expected = len(labels) / views.order_classes
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("length", [1, 5, 14, 15, 16])
def test_a_video_too_short_to_order_has_no_label(length):
    plan = OrderedClips(SPEC, clips=3).plan(length, 25.0, rng())
    assert plan.order_V.tolist() == [-1, -1, -1]


def test_a_tuple_in_which_nothing_moves_has_no_label():
    views = OrderedClips(SPEC, clips=3)
    plan = views.plan(200, 25.0, rng())
    still = torch.rand(3, 3, 1, 16, 16).expand(3, 3, 8, 16, 16)
    moving = still.clone()
    moving[1] += 0.2 * torch.rand(3, 8, 16, 16)
    assert views.arrange(still, plan, rng())[1].tolist() == [-1, -1, -1]
    clips, order_V = views.arrange(moving, plan, rng())
    assert torch.equal(clips, moving) and order_V.tolist() == plan.order_V.tolist()


def test_motion_has_no_scale():
    clips = torch.rand(2, 3, 8, 16, 16)
    torch.testing.assert_close(motion(clips), motion(5 * clips - 3))
    assert (motion(clips) > 1).all()
    assert motion(torch.zeros(1, 3, 8, 4, 4)).item() == 0


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"clips": 1}, "views.clips"),
        ({"clips": 6}, "views.clips"),
        ({"mode": "lstm"}, "views.mode"),
        ({"mode": "shuffle_and_learn", "clips": 4}, "views.clips"),
        ({"gap": -1}, "views"),
        ({"still_below": -0.1}, "views"),
    ],
)
def test_what_cannot_be_is_refused_by_name(keywords, named):
    with pytest.raises(UserError) as caught:
        OrderedClips(SPEC, **keywords)
    assert str(caught.value).startswith(named)


@given(seed=st.integers(0, 1000), length=st.integers(20, 400))
def test_frame_0_is_not_shown(seed, length):
    plan = OrderedClips(SPEC, clips=3).plan(length, 25.0, rng(seed))
    assert plan.ticks_VT.min() >= 1


@pytest.mark.parametrize("length", [56, 70, 120])
def test_clips_lie_evenly_between_key_frames_that_are_12_apart(length):
    views = OrderedClips(SPEC, clips=3)
    starts = [np.sort(views.plan(length, 25.0, rng(seed)).start_V) for seed in range(3000)]
    counts = np.bincount(np.diff(starts, axis=1)[:, 0] % 12, minlength=12)
    assert (abs(counts - 250) < 5 * np.sqrt(250)).all()
