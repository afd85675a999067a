"""The published recipes: their settings, their statistics, and how they are asked for."""

import colorsys
import inspect
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cvrl.transforms import (
    CenterCrop,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Normalize,
    RandomResizedCrop,
    Recipe,
    Resize,
    Solarize,
    recipes,
)
from cvrl.transforms.colour import Jitter
from cvrl.utils.errors import UserError

TEN = get_args(recipes.Transform)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_clips(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


def test_cvrl_is_the_published_recipe() -> None:
    crop = RandomResizedCrop(size=224, area=(0.3, 1.0), aspect=(0.5, 2.0), law="height")
    jitter = ColorJitter(p=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
    assert jitter.model == "tensorflow"
    shared = (crop, HorizontalFlip(p=0.5), jitter, Grayscale(p=0.2))
    blur = {"sigma": (0.1, 2.0), "kernel_size": None, "padding": "zeros"}
    assert recipes.cvrl().views == (
        (*shared, GaussianBlur(p=1.0, **blur), Solarize(p=0.0, threshold=0.5)),  # type: ignore[arg-type]
        (*shared, GaussianBlur(p=0.1, **blur), Solarize(p=0.2, threshold=0.5)),  # type: ignore[arg-type]
    )
    assert recipes.cvrl().consistent


def test_rho_is_the_published_recipe() -> None:
    assert recipes.rho().views == (
        (
            RandomResizedCrop(size=224, area=(0.2, 0.766), aspect=(3 / 4, 4 / 3), law="area"),
            HorizontalFlip(p=0.5),
            ColorJitter(
                p=0.8, brightness=0.6, contrast=0.6, saturation=0.6, hue=0.15, model="torchvision"
            ),
            Grayscale(p=0.2),
            GaussianBlur(p=0.5, sigma=(0.1, 2.0), padding="replicate"),
            Normalize(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)),
        ),
    )


def test_the_settings_of_the_other_recipes() -> None:
    assert recipes.supervised().views == (
        (
            RandomResizedCrop(size=224, area=(0.3, 1.0), aspect=(0.5, 2.0), law="height"),
            HorizontalFlip(p=0.5),
        ),
    )
    jitter = recipes.light(jitter_strength=0.5).views[0][2]
    assert jitter == ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    assert recipes.supervised(jitter_strength=0.5).views[0][2] == jitter
    assert recipes.evaluation(112, resize=128).views == ((Resize(size=128), CenterCrop(size=112)),)


def test_cvrls_steps_are_taken_as_often_as_published() -> None:
    recipe, source = recipes.cvrl(size=16), generator()
    drawn = [recipe.draw((2, 3, 1, 24, 32), source) for _ in range(2000)]
    expected = ((1, 0.5, 0.8, 0.2, 1.0, 0.0), (1, 0.5, 0.8, 0.2, 0.1, 0.2))
    for view, chances in enumerate(expected):
        for step, p in enumerate(chances):
            share = sum(params[view][step][0] is not None for params in drawn) / 2000
            assert abs(share - p) <= 4 * (p * (1 - p) / 2000) ** 0.5


def test_cvrls_views_alternate() -> None:
    recipe = recipes.cvrl(size=16)
    drawn = [recipe.draw((5, 3, 1, 24, 32), generator(seed)) for seed in range(100)]
    blurred = [sum(params[view][4][0] is not None for params in drawn) for view in range(5)]
    assert blurred[0] == blurred[2] == blurred[4] == 100
    assert max(blurred[1], blurred[3]) < 30


@pytest.mark.parametrize("name", ["cvrl", "rho", "supervised", "light"])
@pytest.mark.parametrize("consistent", [True, False])
def test_every_recipe_makes_float_clips_in_its_range(name: str, consistent: bool) -> None:
    recipe = recipes.build(name, 24, consistent=consistent)
    for seed in range(6):
        out = recipe(noise_clips(2, 3, 4, 30, 40, seed=seed), generator(seed))
        assert out.shape == (2, 3, 4, 24, 24)
        assert out.dtype == torch.float32
        low, high = (-2.0, 0.55 / 0.225) if recipe.normalised else (0.0, 1.0)
        assert low - 1e-6 <= float(out.min())
        assert float(out.max()) <= high + 1e-6


@pytest.mark.parametrize("name", ["cvrl", "rho", "supervised", "light"])
def test_a_still_clip_stays_still_only_where_it_should(name: str) -> None:
    still = noise_clips(2, 3, 1, 47, 61).repeat(1, 1, 5, 1, 1)
    for seed in range(4):
        calm = recipes.build(name, 32)(still, generator(seed))
        assert torch.equal(calm, calm[:, :, :1].expand_as(calm))
        shaky = recipes.build(name, 32, consistent=False)(still, generator(seed))
        assert not torch.equal(shaky, shaky[:, :, :1].expand_as(shaky))


def slow_jitter(clip_CTHW: NDArray[np.float64], params: Jitter) -> NDArray[np.float64]:
    """CVRL's jitter, pixel by pixel through ``colorsys``."""
    for step in params.order:
        if step == 0:
            clip_CTHW = clip_CTHW * params.brightness
        elif step == 1:
            mean_C111 = clip_CTHW.mean(axis=(1, 2, 3), keepdims=True)
            clip_CTHW = (clip_CTHW - mean_C111) * params.contrast + mean_C111
        else:
            pixels = []
            for pixel in clip_CTHW.reshape(3, -1).T:
                h, s, v = colorsys.rgb_to_hsv(*pixel)
                h, s = (h, min(s * params.saturation, 1)) if step == 2 else (h + params.hue, s)
                pixels.append(colorsys.hsv_to_rgb(h % 1, s, v))
            clip_CTHW = np.array(pixels).T.reshape(clip_CTHW.shape)
        clip_CTHW = clip_CTHW.clip(0, 1)
    return clip_CTHW


def slow_blur(clip_CTHW: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Zero padding, a kernel of a tenth of the height, every tap."""
    radius = clip_CTHW.shape[2] // 10 // 2
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    for axis in (2, 3):
        clip_CTHW = np.apply_along_axis(
            np.convolve, axis, clip_CTHW, weights / weights.sum(), "same"
        )
    return clip_CTHW


@pytest.mark.parametrize("seed", range(6))
def test_cvrl_is_its_steps_one_after_the_other(seed: int) -> None:
    recipe = recipes.cvrl(size=40, solarise_p=(0.5, 1.0), grey_p=0.5, blur_p=(1.0, 0.5))
    clips = noise_clips(2, 3, 2, 30, 44, seed=seed)
    params = recipe.draw(clips.shape, generator(seed))
    out = recipe.apply(clips, params)
    for view in range(2):
        (box,), (flip,), (jitter,), (grey,), (sigma,), (solarise,) = params[view]
        # The crop itself has its own test; its rounding would hide what comes after.
        clip = RandomResizedCrop(size=40).apply(clips[view], box).double().numpy() / 255
        clip = clip[..., ::-1] if flip else clip
        clip = clip if jitter is None else slow_jitter(clip, jitter)
        if grey:
            luma = 0.2989 * clip[0] + 0.587 * clip[1] + 0.114 * clip[2]
            clip = np.stack([luma] * 3)
        clip = clip if sigma is None else slow_blur(clip, sigma)
        near_threshold = np.abs(clip - 0.5) < 1e-5
        if solarise:
            clip = np.where(clip >= 0.5, 1 - clip, clip)
        wrong = np.abs(out[view].double().numpy() - clip) > 2e-5
        assert not (wrong & ~near_threshold).any()


@pytest.mark.parametrize("name", ["cvrl", "rho", "supervised", "light"])
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    clips = noise_clips(2, 3, 8, 90, 110)  # large enough for torch to share the work out
    recipe, before = recipes.build(name, 96), torch.get_num_threads()
    alone = [recipe(clips, generator(seed)) for seed in range(4)]
    try:
        torch.set_num_threads(3)
        shared = [recipe(clips, generator(seed)) for seed in range(4)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


@pytest.mark.parametrize("name", ["cvrl", "rho", "supervised", "light"])
def test_the_layout_of_decoded_frames_changes_no_bit(name: str) -> None:
    clips_VTHWC = noise_clips(2, 4, 36, 48, 3)
    clips_VCTHW = clips_VTHWC.permute(0, 4, 1, 2, 3)
    recipe = recipes.build(name, 32)
    for seed in range(4):
        out = recipe(clips_VCTHW, generator(seed))
        assert torch.equal(out, recipe(clips_VCTHW.contiguous(), generator(seed)))


@pytest.mark.parametrize("name", ["cvrl", "rho", "supervised", "light"])
def test_every_recipe_splits(name: str) -> None:
    recipe = recipes.build(name, 24)
    crop, rest = recipe.split()
    clips = noise_clips(2, 3, 4, 30, 40)
    assert crop(clips, generator()).dtype == torch.uint8
    assert torch.equal(rest(crop(clips, generator()), generator()), recipe(clips, generator()))


@pytest.mark.parametrize("name", ["cvrl", "rho", "supervised", "light"])
def test_uint8_and_float_differ_by_rounding_only(name: str) -> None:
    # What the crop rounds is at most 1.1 levels; without jitter nothing after it magnifies that.
    keywords: dict[str, Any] = {"jitter_p": 0.0, "normalise": False}
    if name == "cvrl":
        keywords["solarise_p"] = (0.0, 0.0)
    recipe = recipes.build(name, 24, **keywords)
    clips = noise_clips(2, 3, 4, 30, 40)
    whole, real = recipe(clips, generator(2)), recipe(clips / 255, generator(2))
    assert (whole - real).abs().max() <= 1.1 / 255


@pytest.mark.parametrize("transform", TEN)
def test_each_of_the_ten_works_alone(transform: recipes.Transform) -> None:
    still = noise_clips(2, 3, 1, 47, 61).repeat(1, 1, 5, 1, 1)
    out = recipes.single(32, transform=transform)(still, generator(3))
    assert out.shape == (2, 3, 5, 32, 32)
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    assert not torch.equal(out[0], recipes.evaluation(32)(still)[0])


def test_there_are_ten_and_an_eleventh_is_refused() -> None:
    assert len(set(TEN)) == 10
    with pytest.raises(UserError, match="did you mean rotate"):
        recipes.single(32, transform="rotat")  # type: ignore[arg-type]


def test_evaluation_is_deterministic_and_keeps_leading_dimensions() -> None:
    evaluate = recipes.evaluation(24, resize=28)
    clips = noise_clips(2, 4, 3, 5, 36, 50)
    out = evaluate(clips)
    assert out.shape == (2, 4, 3, 5, 24, 24)
    assert torch.equal(out, evaluate(clips, generator(9)))
    assert torch.equal(out[1, 2], evaluate(clips[1, 2]))
    assert (out - evaluate(clips / 255)).abs().max() <= 1.1 / 255


def test_evaluation_of_the_size_it_has_is_the_centre() -> None:
    clip = noise_clips(3, 2, 24, 40)
    assert torch.equal(recipes.evaluation(24)(clip), clip[..., 8:32] / 255)
    normal = recipes.evaluation(24, normalise=True)(clip)
    assert torch.allclose(normal * 0.225 + 0.45, clip[..., 8:32] / 255, atol=1e-6)


def test_evaluation_refuses_a_crop_larger_than_the_resize() -> None:
    with pytest.raises(UserError, match="resize = 64: is smaller than the crop of 112"):
        recipes.evaluation(112, resize=64)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_is_built_by_its_name(name: str) -> None:
    keywords: dict[str, Any] = {"transform": "blur"} if name == "single" else {}
    recipe = recipes.build(name, 48, **keywords)
    assert isinstance(recipe, Recipe)
    assert recipe == recipes.RECIPES[name](size=48, **keywords)
    parameters = list(inspect.signature(recipes.RECIPES[name]).parameters.values())
    assert parameters[0].name == "size"
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters[1:])


@pytest.mark.parametrize(
    ("name", "keywords", "says"),
    [
        ("cvlr", {}, "augment.name = cvlr: not a recipe; did you mean cvrl?"),
        ("zzz", {}, "cvrl, rho, supervised, light, evaluation, single"),
        ("cvrl", {"jitter_strenght": 1.0}, "did you mean augment.jitter_strength?"),
        ("cvrl", {"area": "large"}, "augment.area = 'large'"),
        ("cvrl", {"area": [0.9, 0.3]}, "give the lower number first"),
        ("cvrl", {"flip_p": 2.0}, "at most 1"),
        ("cvrl", {"consistent": "no"}, "true or false"),
        ("light", {"size": 3}, "augment.size"),
        ("light", {"name": "cvrl"}, "augment.name"),
        ("single", {}, "augment.transform"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(
    name: str, keywords: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError) as caught:
        recipes.build(name, 32, **keywords)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_from_a_config_do_as_well_as_tuples() -> None:
    given = recipes.build("cvrl", 32, area=[0.3, 1.0], aspect=[0.5, 2.0], blur_sigma=[0.1, 2.0])
    assert given == recipes.cvrl(32)


@pytest.mark.real
def test_a_real_frame_held_still_stays_still(real_data: Path) -> None:
    frames = sorted((real_data / "formats").rglob("*.jpg"))
    if not frames:
        pytest.skip("no pictures among the real data")
    frame_HWC = torch.from_numpy(np.asarray(Image.open(frames[0]).convert("RGB")).copy())
    still_VCTHW = frame_HWC.permute(2, 0, 1)[None, :, None].repeat(2, 1, 8, 1, 1)
    for seed in range(3):
        out = recipes.cvrl(size=112)(still_VCTHW, generator(seed))
        assert torch.equal(out, out[:, :, :1].expand_as(out))
        assert float(out.std()) > 0.01
