"""The parts' clips stand one after another, each as its part alone would have them."""

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.joint import Joint
from cvrl.views.ordered_clips import OrderedClips
from cvrl.views.relative_patch import RelativePatch
from cvrl.views.rotated import Rotated
from cvrl.views.temporal_pair import TemporalPair

SPEC = ClipSpec(frames=8, stride=2)


def joint(**parts):
    return Joint(SPEC, parts=parts)


def test_clips_and_labels_are_the_parts_in_turn():
    views = joint(order=OrderedClips(SPEC), pair=TemporalPair(SPEC), turn=Rotated(SPEC))
    plan = views.plan(200, 25.0, np.random.default_rng(0))
    assert views.clips == 3 + 2 + 4 and plan.ticks_VT.shape == (9, 8)
    assert (plan.order_V[:3] >= 0).all()
    assert plan.order_V[3:].tolist() == [-1, -1, 0, 1, 2, 3]


def test_a_part_is_arranged_as_it_would_be_alone():
    views = joint(pair=TemporalPair(SPEC), turn=Rotated(SPEC))
    plan = views.plan(200, 25.0, np.random.default_rng(0))
    clips = torch.rand(6, 3, 8, 16, 16)
    arranged, order_V = views.arrange(clips, plan, np.random.default_rng(1))
    assert torch.equal(arranged[:2], clips[:2])
    for turn in range(4):
        assert torch.equal(arranged[2 + turn], torch.rot90(clips[2 + turn], turn, dims=(-2, -1)))
    assert order_V.tolist() == [-1, -1, 0, 1, 2, 3]


def test_another_setting_of_a_part_leaves_the_others_as_they_were():
    one = joint(order=OrderedClips(SPEC), pair=TemporalPair(SPEC))
    two = joint(order=OrderedClips(SPEC, clips=4), pair=TemporalPair(SPEC))
    plans = [views.plan(200, 25.0, np.random.default_rng(5)) for views in (one, two)]
    assert (plans[0].ticks_VT[3:] == plans[1].ticks_VT[4:]).all()


def test_parts_of_two_sizes_are_refused():
    views = joint(pair=TemporalPair(SPEC), patch=RelativePatch(SPEC))
    plan = views.plan(200, 25.0, np.random.default_rng(0))
    with pytest.raises(UserError, match=r"views\.parts"):
        views.arrange(torch.rand(4, 3, 8, 48, 48), plan, np.random.default_rng(0))


def test_no_parts_are_refused():
    with pytest.raises(UserError, match=r"views\.parts"):
        joint()


def test_bars_are_cut_off_where_a_part_asks_for_it():
    assert joint(pair=TemporalPair(SPEC), turn=Rotated(SPEC)).trims
    assert not joint(pair=TemporalPair(SPEC)).trims
