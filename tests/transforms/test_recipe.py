"""Recipes: whose draws are whose, batches, splitting, and the frame-by-frame mode."""

import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cvrl.transforms import (
    CenterCrop,
    ColorJitter,
    Cutout,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    HorizontalFlip,
    Normalize,
    Op,
    RandomCrop,
    RandomResizedCrop,
    Recipe,
    Resize,
    Rotate,
    recipes,
)
from cvrl.transforms.op import Shape, uniform
from cvrl.utils.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_clips(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


def full(brightness: float = 0.8) -> list[Op[Any]]:
    """A view with every kind of draw in it."""
    return [
        RandomResizedCrop(size=24, area=(0.3, 1.0), law="height"),
        HorizontalFlip(p=0.5),
        ColorJitter(p=0.8, brightness=brightness, contrast=0.8, saturation=0.8, hue=0.2),
        Grayscale(p=0.2),
        Rotate(p=0.5),
        GaussianBlur(p=0.5, kernel_size=5),
        GaussianNoise(p=0.5),
        Cutout(p=0.5),
    ]


PAIR = noise_clips(2, 3, 5, 40, 50)


def test_the_result_is_float32_of_one_size() -> None:
    out = Recipe([full()])(PAIR, generator())
    assert out.shape == (2, 3, 5, 24, 24)
    assert out.dtype == torch.float32
    assert out.is_contiguous()
    assert Recipe([[HorizontalFlip()]])(PAIR).dtype == torch.float32


def test_the_same_generator_gives_the_same_clips() -> None:
    recipe = Recipe([full()])
    assert torch.equal(recipe(PAIR, generator(5)), recipe(PAIR, generator(5)))
    assert not torch.equal(recipe(PAIR, generator(5)), recipe(PAIR, generator(6)))


def test_a_generator_moves_on_from_call_to_call() -> None:
    recipe, source = Recipe([full()]), generator()
    assert not torch.equal(recipe(PAIR, source), recipe(PAIR, source))


def test_nothing_is_drawn_from_the_global_generator() -> None:
    state = torch.get_rng_state()
    Recipe([full()])(PAIR, generator())
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(0, 2**40))
@settings(max_examples=25, deadline=None)
def test_another_view_leaves_the_others_as_they_were(seed: int) -> None:
    recipe = Recipe([full(), full(0.2)])
    two = recipe.draw((2, 3, 5, 40, 50), generator(seed))
    three = recipe.draw((3, 3, 5, 40, 50), generator(seed))
    assert three[:2] == two
    assert recipe.draw((1, 3, 5, 40, 50), generator(seed)) == two[:1]


def test_views_of_one_kind_draw_differently() -> None:
    a, b = Recipe([full()]).draw((2, 3, 5, 40, 50), generator())
    assert a != b


def test_views_take_turns() -> None:
    recipe = Recipe([[HorizontalFlip()], []])
    clips = noise_clips(4, 3, 2, 6, 6)
    out = recipe(clips)
    assert torch.equal(out[1::2], clips[1::2] / 255)
    assert torch.equal(out[::2], clips[::2].flip(-1) / 255)


@given(st.integers(0, 2**40))
@settings(max_examples=25, deadline=None)
def test_another_strength_leaves_the_other_draws_as_they_were(seed: int) -> None:
    strong = Recipe([full()]).draw((3, 5, 40, 50), generator(seed))[0]
    weak = Recipe([full(0.1)]).draw((3, 5, 40, 50), generator(seed))[0]
    off = Recipe([full()[:4]]).draw((3, 5, 40, 50), generator(seed))[0]
    assert weak[:2] == strong[:2]
    assert weak[3:] == strong[3:]
    assert off == strong[:4]


def test_draws_of_many_seeds_are_unrelated() -> None:
    recipe = Recipe([[GaussianBlur(sigma=(0.5, 1.5)), GaussianBlur(sigma=(0.5, 1.5))]])
    draws = torch.tensor(
        [recipe.draw((2, 3, 1, 8, 8), generator(seed)) for seed in range(500)]
    ).flatten(1)  # 500 seeds, 2 views of 2 sigmas
    correlations = torch.corrcoef(draws.T) - torch.eye(4)
    assert correlations.abs().max() < 4 / 500**0.5


def test_parameters_pickle_and_are_plain() -> None:
    recipe = Recipe([full()], consistent=False)
    params = recipe.draw(PAIR.shape, generator())
    again = pickle.loads(pickle.dumps(params))
    assert again == params
    assert "tensor" not in repr(params)
    assert torch.equal(recipe.apply(PAIR, again), recipe.apply(PAIR, params))


@pytest.mark.parametrize("consistent", [True, False])
def test_draw_and_apply_are_the_call(consistent: bool) -> None:
    recipe = Recipe([full(), full(0.2)], consistent=consistent)
    params = recipe.draw(PAIR.shape, generator(3))
    assert torch.equal(recipe.apply(PAIR, params), recipe(PAIR, generator(3)))


@pytest.mark.parametrize("consistent", [True, False])
def test_a_batch_is_its_samples(consistent: bool) -> None:
    recipe = Recipe([full(), full(0.2)], consistent=consistent)
    clips_BVCTHW = noise_clips(3, 3, 3, 4, 30, 36)  # an odd number of views, so that turns matter
    params_B = [recipe.draw(clips_BVCTHW.shape[1:], generator(seed)) for seed in range(3)]
    out = recipe.apply_batch(clips_BVCTHW, params_B)
    for sample in range(3):
        assert torch.equal(out[sample], recipe(clips_BVCTHW[sample], generator(sample)))
    with pytest.raises(ValueError, match="2 samples for a batch of 3"):
        recipe.apply_batch(clips_BVCTHW, params_B[:2])


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_crop_and_rest_are_the_whole_bit_for_bit(consistent: bool, seed: int) -> None:
    recipe = Recipe([full(), full(0.2)], consistent=consistent)
    crop, rest = recipe.split()
    cropped = crop(PAIR, generator(seed))
    assert cropped.dtype == torch.uint8
    assert cropped.shape == (2, 3, 5, 24, 24)
    assert torch.equal(rest(cropped, generator(seed)), recipe(PAIR, generator(seed)))


def test_halves_draw_what_the_whole_draws() -> None:
    recipe = Recipe([full()])
    crop, rest = recipe.split()
    whole = recipe.draw(PAIR.shape, generator(1))
    first = crop.draw(PAIR.shape, generator(1))
    last = rest.draw((2, 3, 5, 24, 24), generator(1))
    assert tuple(a + b for a, b in zip(first, last, strict=True)) == whole


def test_a_batch_of_videos_of_unlike_sizes_goes_through_crop_then_rest() -> None:
    recipe = Recipe([full()])
    crop, rest = recipe.split()
    videos = [noise_clips(2, 3, 4, 40, 50), noise_clips(2, 3, 4, 33, 60)]
    cropped = torch.stack([crop(video, generator(i)) for i, video in enumerate(videos)])
    params_B = [rest.draw(clips.shape, generator(i)) for i, clips in enumerate(cropped)]
    out = rest.apply_batch(cropped, params_B)
    for i, video in enumerate(videos):
        assert torch.equal(out[i], recipe(video, generator(i)))


def test_splitting_twice_and_splitting_unlike_views() -> None:
    recipe = Recipe([full(), [Resize(size=30), CenterCrop(size=24), Cutout(), GaussianNoise()]])
    crop, rest = recipe.split()
    assert [len(ops) for ops in crop.views] == [1, 2]
    nothing, same = rest.split()
    assert [len(ops) for ops in nothing.views] == [0, 0]
    cropped = crop(PAIR, generator(2))
    assert torch.equal(same(nothing(cropped), generator(2)), recipe(PAIR, generator(2)))


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_clips_alike_draw_as_one_long_clip(consistent: bool, seed: int) -> None:
    recipe = Recipe([full()], consistent=consistent)
    clips = noise_clips(3, 3, 4, 40, 50)
    apart = recipe.draw(clips.shape, generator(seed), alike=[3])
    (long,) = recipe.draw((3, 12, 40, 50), generator(seed))
    assert len(apart) == 3
    for op, sets in enumerate(long):
        frames = [drawn for view in apart for drawn in view[op]]
        assert frames == list(sets) * (3 if consistent else 1)


def test_clips_alike_are_cut_and_flipped_alike() -> None:
    ops = [RandomResizedCrop(size=24), HorizontalFlip(p=0.5), Grayscale(p=0.5), Cutout(p=0.5)]
    clips = noise_clips(1, 3, 5, 40, 50).expand(4, -1, -1, -1, -1)
    for seed in range(10):
        same = Recipe([ops])(clips, generator(seed), alike=[4])
        assert all(torch.equal(same[0], clip) for clip in same[1:])
    assert not torch.equal(*Recipe([ops])(clips[:2], generator()))


def test_nothing_of_one_clip_reaches_another_that_is_treated_alike() -> None:
    # Contrast is about the clip's own mean; of one long clip it would tell of the others.
    recipe = Recipe([[ColorJitter(p=1.0, contrast=0.8)]])
    clips = noise_clips(3, 3, 5, 8, 8)
    other = clips.clone()
    other[2] = 255
    one, two = (recipe(given, generator(1), alike=[3]) for given in (clips, other))
    assert torch.equal(one[:2], two[:2])
    joined = [recipe(given.transpose(0, 1).flatten(1, 2), generator(1)) for given in (clips, other)]
    assert not torch.equal(joined[0][:, :10], joined[1][:, :10])


def test_runs_draw_one_after_another() -> None:
    recipe, clips = Recipe([full()]), noise_clips(4, 3, 5, 40, 50)
    drawn = recipe.draw(clips.shape, generator(2), alike=[1, 2, 1])
    source = generator(2)
    for first, last in ((0, 1), (1, 3), (3, 4)):
        shape = clips[first:last].shape
        assert drawn[first:last] == recipe.draw(shape, source, alike=[last - first])
    assert drawn[1] == drawn[2] and len({repr(params) for params in drawn}) == 3


def test_runs_of_one_are_no_runs() -> None:
    pair = Recipe([full(), [CenterCrop(size=24)]])
    for recipe in (pair, Recipe([full()])):
        assert recipe.draw(PAIR.shape, generator(), alike=[1, 1]) == recipe.draw(
            PAIR.shape, generator()
        )


@pytest.mark.parametrize("consistent", [True, False])
def test_halves_of_a_recipe_treat_clips_alike_as_the_whole_does(consistent: bool) -> None:
    recipe = Recipe([full()], consistent=consistent)
    crop, rest = recipe.split()
    clips = noise_clips(3, 3, 4, 40, 50)
    whole = recipe(clips, generator(3), alike=[2, 1])
    cropped = crop(clips, generator(3), alike=[2, 1])
    assert torch.equal(rest(cropped, generator(3), alike=[2, 1]), whole)


def test_runs_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="do not make 2 clips"):
        Recipe([full()])(PAIR, generator(), alike=[3])
    with pytest.raises(UserError, match="unlike"):
        Recipe([full(), full()])(PAIR, generator(), alike=[2])


def test_a_still_clip_stays_still_under_a_whole_recipe() -> None:
    still = noise_clips(4, 3, 1, 41, 53).repeat(1, 1, 6, 1, 1)
    for seed in range(5):
        out = Recipe([full()])(still, generator(seed))
        assert torch.equal(out, out[:, :, :1].expand_as(out))


def test_inconsistent_draws_anew_for_every_frame_and_every_transform() -> None:
    still = noise_clips(1, 3, 1, 41, 53).repeat(1, 1, 6, 1, 1)
    for op in (
        RandomResizedCrop(size=16),
        RandomCrop(size=16),
        HorizontalFlip(p=0.5),
        ColorJitter(brightness=0.8),
        GaussianBlur(kernel_size=9),
        GaussianNoise(),
        Cutout(),
    ):
        ops: list[Op[Any]] = [op]
        params = Recipe([ops], consistent=False).draw(still.shape, generator(4))
        assert len(params[0][0]) == 6
        assert len(set(params[0][0])) > 1
        out = Recipe([ops], consistent=False)(still, generator(4))
        assert not torch.equal(out, out[:, :, :1].expand_as(out))
        calm = Recipe([ops])(still, generator(4))
        assert torch.equal(calm, calm[:, :, :1].expand_as(calm))


def test_frames_of_the_inconsistent_mode_are_clips_of_one_frame() -> None:
    recipe = Recipe([full()], consistent=False)
    clip = noise_clips(1, 3, 4, 30, 36)
    params = recipe.draw(clip.shape, generator())
    out = recipe.apply(clip, params)
    for t in range(4):
        one = tuple((sets[t],) for sets in params[0])
        assert torch.equal(
            Recipe([full()]).apply(clip[:, :, t : t + 1], (one,))[:, :, 0], out[:, :, t]
        )


def test_coins_of_the_inconsistent_mode_fall_frame_by_frame() -> None:
    recipe = Recipe([[Grayscale(p=0.3)]], consistent=False)
    drawn = recipe.draw((50, 3, 40, 4, 4), generator())
    hits = [sum(params is not None for params in view[0]) for view in drawn]
    assert abs(sum(hits) / 2000 - 0.3) < 4 * (0.21 / 2000) ** 0.5
    assert min(hits) > 0
    assert max(hits) < 40


@pytest.mark.parametrize("leading", [(), (1,), (4,), (2, 3)])
def test_dimensions_before_the_clip_are_kept(leading: tuple[int, ...]) -> None:
    recipe = Recipe([[Resize(size=12), CenterCrop(size=12)]])
    clips = noise_clips(*leading, 3, 2, 14, 20)
    out = recipe(clips)
    assert out.shape == (*leading, 3, 2, 12, 12)
    flat = clips.reshape(-1, 3, 2, 14, 20)
    for one, expected in zip(flat, out.reshape(-1, 3, 2, 12, 12), strict=True):
        assert torch.equal(recipe(one), expected)


def test_normalised_tells_whether_the_range_is_left() -> None:
    assert Recipe([[Normalize()]]).normalised
    assert not Recipe([full()]).normalised


@pytest.mark.parametrize(
    ("clips", "says"),
    [
        (torch.zeros(3, 8, 8), r"\(\.\.\., C, T, H, W\), none of them 0, not \(3, 8, 8\)"),
        (torch.zeros(2, 3, 2, 8, 8, dtype=torch.int32), "int32"),
        (torch.zeros(0, 3, 2, 8, 8), r"none of them 0, not \(0, 3, 2, 8, 8\)"),
        (torch.zeros(2, 3, 2, 0, 8), r"none of them 0, not \(2, 3, 2, 0, 8\)"),
    ],
)
def test_what_are_no_clips_is_refused(clips: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Recipe([[HorizontalFlip()]])(clips)


def test_chance_without_a_generator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"torch\.Generator"):
        Recipe([full()])(PAIR)


def test_parameters_for_other_clips_are_refused() -> None:
    recipe = Recipe([[HorizontalFlip()]])
    with pytest.raises(ValueError, match="parameters of 3 views for 2 clips"):
        recipe.apply(PAIR, recipe.draw((3, 3, 5, 40, 50)))
    per_frame = Recipe([[HorizontalFlip()]], consistent=False)
    with pytest.raises(ValueError, match="parameters of 4 frames for a clip of 5"):
        per_frame.apply(PAIR, per_frame.draw((2, 3, 4, 40, 50)))


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="views end in different sizes"):
        Recipe([[CenterCrop(size=8)], [CenterCrop(size=9)]])(PAIR)
    with pytest.raises(ValueError, match="frames of one clip end in different sizes"):
        Recipe([[Rotate()]], consistent=False)(PAIR, generator(1))
    assert Recipe([[Rotate(degrees=(90,))]])(PAIR).shape == (2, 3, 5, 50, 40)


def test_a_recipe_without_views_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one view"):
        Recipe([])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("consistent", [True, False])
def test_the_device_gives_what_the_worker_gives(consistent: bool) -> None:
    crop, rest = recipes.cvrl(size=64, consistent=consistent).split()
    cropped = crop(noise_clips(2, 3, 4, 80, 90), generator())
    params = rest.draw(cropped.shape, generator())
    there = rest.apply_batch(cropped[None].cuda(), [params])[0].cpu()
    assert (rest.apply(cropped, params) - there).abs().max() < 1e-4


@dataclass(frozen=True)
class Fade(Op[float]):
    """A transform of one's own: what the class asks for is a draw and its arithmetic."""

    in_float: ClassVar[bool] = True

    def _draw(self, generator: torch.Generator | None, shape: Shape) -> float:
        return uniform(generator, 0.0, 1.0)

    def _apply(self, clip_CTHW: Tensor, params: float) -> Tensor:
        return clip_CTHW * params


@pytest.mark.parametrize("consistent", [True, False])
def test_a_transform_of_ones_own_fits_in(consistent: bool) -> None:
    recipe = Recipe([[CenterCrop(size=8), Fade(p=0.5)]], consistent=consistent)
    for seed in range(5):
        params = recipe.draw((3, 6, 9, 9), generator(seed))
        out = recipe(torch.ones(3, 6, 9, 9), generator(seed))
        drawn = params[0][1] * (6 if consistent else 1)
        expected = torch.tensor([1.0 if factor is None else factor for factor in drawn])
        assert torch.equal(out, expected[:, None, None].expand(3, 6, 8, 8))
        crop, rest = recipe.split()
        cropped = crop(torch.ones(3, 6, 9, 9), generator(seed))
        assert torch.equal(rest(cropped, generator(seed)), out)


def test_a_recipe_compares_pickles_and_shows_its_settings() -> None:
    recipe = Recipe([full()])
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe
    assert again != Recipe([full(0.3)])
    assert again != Recipe([full()], consistent=False)
    assert "HorizontalFlip(p=0.5)" in repr(recipe)
    assert torch.equal(again(PAIR, generator(2)), recipe(PAIR, generator(2)))
