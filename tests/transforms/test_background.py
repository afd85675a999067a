"""Erasing the background adds one frame to all, and leaves differences of frames in place."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvrl.transforms import EraseBackground, Recipe, recipes
from cvrl.transforms.background import StillPicture
from cvrl.utils.errors import UserError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(
    seed=st.integers(0, 1000),
    frames=st.integers(1, 9),
    position=st.floats(0, 1, exclude_max=True),
    weight=st.floats(0, 1),
)
def test_every_frame_is_a_mixture_with_the_same_frame(seed, frames, position, weight):
    clip = torch.rand(3, frames, 5, 6, generator=generator(seed))
    out = EraseBackground().apply(clip, StillPicture(position, weight))
    k = int(position * frames)
    assert out.min() >= clip.min() - 1e-6 and out.max() <= clip.max() + 1e-6
    torch.testing.assert_close(out[:, k], clip[:, k])
    for t in range(frames):
        torch.testing.assert_close(out[:, t], (1 - weight) * clip[:, t] + weight * clip[:, k])
    torch.testing.assert_close(out.diff(dim=1), (1 - weight) * clip.diff(dim=1), atol=1e-6, rtol=0)


def test_weights_and_frames_are_drawn_evenly():
    op, source = EraseBackground(weight=(0.1, 0.3)), generator()
    drawn = [op.draw(source, (3, 4, 8, 8)) for _ in range(2000)]
    weights = torch.tensor([one.weight for one in drawn])
    assert weights.min() >= 0.1 and weights.max() < 0.3
    assert abs(weights.mean().item() - 0.2) < 0.01
    counts = torch.tensor([int(4 * one.position) for one in drawn]).bincount()
    assert (abs(counts - 500) < 5 * 500**0.5).all()


def test_clips_augmented_alike_take_the_same_place_of_each():
    recipe = Recipe([[EraseBackground(weight=(0.5, 0.5))]])
    clips = torch.rand(3, 3, 4, 5, 5, generator=generator())
    one, two, three = recipe.draw(clips.shape, generator(1), alike=(3,))
    assert one == two == three
    assert recipe(clips, generator(1), alike=(3,)).shape == clips.shape


@pytest.mark.parametrize("name", ["cvrl", "rho", "light"])
def test_a_recipe_erases_where_asked_and_draws_the_rest_as_before(name):
    plain = recipes.build(name, 16)
    erased = recipes.build(name, 16, erase_p=1.0, erase_weight=(0.3, 0.3))
    shape = (2, 3, 4, 24, 24)
    before, after = (recipe.draw(shape, generator(3)) for recipe in (plain, erased))
    for view, ops in enumerate(erased.views):
        place = [isinstance(op, EraseBackground) for op in ops].index(True)
        assert after[view][place][0].weight == pytest.approx(0.3)
        assert after[view][:place] + after[view][place + 1 :] == before[view]
    assert not any(isinstance(op, EraseBackground) for ops in plain.views for op in ops)


@pytest.mark.parametrize("weight", [(-0.1, 0.3), (0.0, 1.5), (0.4, 0.2), 0.3])
def test_weights_that_cannot_be_are_refused(weight):
    with pytest.raises(UserError, match="weight"):
        EraseBackground(weight=weight)
