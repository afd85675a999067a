"""The second patch lies where the label says, and colour does not tell it."""

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.relative_patch import RelativePatch

SPEC = ClipSpec(frames=8, stride=2)
PLACES = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_there_are_8_neighbours_in_space_and_26_in_space_and_time():
    assert RelativePatch(SPEC).order_classes == 8
    views = RelativePatch(SPEC, time=True)
    assert views.order_classes == 26 and len(set(views.neighbours)) == 26


@pytest.mark.parametrize("seed", range(20))
def test_the_patches_come_from_the_cells_of_the_label(seed):
    views = RelativePatch(SPEC, keep_channel=False, jitter=0.25)
    side = 96
    rows = torch.arange(side).view(side, 1).expand(side, side)
    columns = torch.arange(side).view(1, side).expand(side, side)
    crop = torch.stack([rows, columns, rows]).float().view(1, 3, 1, side, side)
    plan = views.plan(100, 25.0, rng(seed))
    patches, order_V = views.arrange(crop.expand(2, 3, 8, side, side), plan, rng(seed))
    assert patches.shape == (2, 3, 8, 24, 24)
    down, right = PLACES[int(order_V[0])]
    for patch, (row, column) in zip(patches, ((1, 1), (1 + down, 1 + right)), strict=True):
        assert 32 * row <= patch[0].min() and patch[0].max() < 32 * (row + 1)
        assert 32 * column <= patch[1].min() and patch[1].max() < 32 * (column + 1)


@pytest.mark.parametrize("seed", range(40))
def test_neighbours_in_time_come_from_clips_before_and_after(seed):
    views = RelativePatch(SPEC, time=True, gap=3)
    plan = views.plan(100, 25.0, rng(seed))
    plane = views.neighbours[int(plan.order_V[0])][0]
    assert plan.start_V[1] - plan.start_V[0] == plane * (SPEC.span + 3)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < 100
    assert (np.diff(plan.ticks_VT, axis=1) == SPEC.stride).all()


def test_without_time_both_patches_are_of_one_clip():
    plan = RelativePatch(SPEC).plan(100, 25.0, rng())
    assert (plan.ticks_VT[0] == plan.ticks_VT[1]).all()


def test_a_video_too_short_for_a_neighbour_in_time_has_no_label():
    views = RelativePatch(SPEC, time=True)
    labels = [int(views.plan(15, 25.0, rng(seed)).order_V[0]) for seed in range(200)]
    planes = {views.neighbours[label][0] for label in labels if label >= 0}
    assert -1 in labels and planes == {0}


def test_one_channel_is_kept_and_the_others_are_faint_noise():
    views = RelativePatch(SPEC)
    crops = torch.rand(2, 3, 8, 96, 96)
    plan = views.plan(100, 25.0, rng())
    patches, _ = views.arrange(crops, plan, rng())
    for patch in patches:
        spread = patch.std(dim=(1, 2, 3))
        assert (spread > 0.2).sum() == 1 and (spread < 0.01).sum() == 2
        torch.testing.assert_close(patch.mean((1, 2, 3)), patch.mean().expand(3), atol=0.01, rtol=0)


def test_any_channel_may_be_kept():
    views = RelativePatch(SPEC)
    crops = torch.rand(2, 3, 8, 48, 48)
    plan = views.plan(100, 25.0, rng())
    kept = {
        int(views.arrange(crops, plan, rng(seed))[0][0].std(dim=(1, 2, 3)).argmax())
        for seed in range(30)
    }
    assert kept == {0, 1, 2}


def test_both_patches_are_augmented_as_one():
    assert RelativePatch(SPEC).augmented_alike == (2,)


@pytest.mark.parametrize("keywords", [{"gap": -1}, {"jitter": 1.0}, {"jitter": -0.1}])
def test_what_cannot_be_is_refused(keywords):
    with pytest.raises(UserError, match="views"):
        RelativePatch(SPEC, **keywords)
