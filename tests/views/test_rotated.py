"""Turns are exact, form a group, and are what the label says."""

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.rotated import Rotated

SPEC = ClipSpec(frames=8, stride=2)


def rng(seed=0):
    return np.random.default_rng(seed)


def turned(clip_CTHW):
    """The clip turned by 0, 1, 2 and 3 quarters."""
    views = Rotated(SPEC)
    plan = views.plan(100, 25.0, rng())
    clips, order_V = views.arrange(clip_CTHW.expand(4, *clip_CTHW.shape), plan, rng())
    assert order_V.tolist() == [0, 1, 2, 3]
    return clips


def test_a_turn_moves_every_pixel_to_its_place():
    side = 5
    clip = torch.rand(3, 8, side, side)
    clips = turned(clip)
    for row in range(side):
        for column in range(side):
            pixel = clip[:, :, row, column]
            assert torch.equal(clips[0][:, :, row, column], pixel)
            assert torch.equal(clips[1][:, :, side - 1 - column, row], pixel)
            assert torch.equal(clips[2][:, :, side - 1 - row, side - 1 - column], pixel)
            assert torch.equal(clips[3][:, :, column, side - 1 - row], pixel)


def test_turns_add_up():
    clip = torch.rand(3, 8, 6, 6)
    once = turned(clip)
    for first in range(4):
        twice = turned(once[first])
        for second in range(4):
            assert torch.equal(twice[second], once[(first + second) % 4])


def test_a_mirror_image_exchanges_the_quarter_turns():
    # why nothing may be mirrored after the turn: 90 degrees would become 270
    clip = torch.rand(3, 8, 6, 6)
    mirrored_then_turned = turned(clip.flip(-1))
    turned_then_mirrored = turned(clip).flip(-1)
    assert torch.equal(turned_then_mirrored[1], mirrored_then_turned[3])
    assert torch.equal(turned_then_mirrored[0], mirrored_then_turned[0])


def test_four_copies_show_one_clip_in_all_turns():
    plan = Rotated(SPEC, copies=4).plan(100, 25.0, rng())
    assert (plan.ticks_VT == plan.ticks_VT[0]).all() and plan.order_V.tolist() == [0, 1, 2, 3]


def test_one_copy_draws_turns_evenly():
    views = Rotated(SPEC, copies=1)
    turns = [int(views.plan(100, 25.0, rng(seed)).order_V[0]) for seed in range(800)]
    assert (abs(np.bincount(turns, minlength=4) - 200) < 60).all()


def test_other_numbers_of_copies_are_refused():
    with pytest.raises(UserError, match=r"views\.copies = 3"):
        Rotated(SPEC, copies=3)
