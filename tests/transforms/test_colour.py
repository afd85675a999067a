"""Colour transforms against slow loops, ``colorsys`` and torchvision."""

import colorsys
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tvf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cvrl.transforms import ColorJitter, Grayscale, Normalize, Solarize
from cvrl.transforms.colour import (
    Jitter,
    adjust_brightness,
    adjust_contrast,
    adjust_contrast_luma,
    adjust_hue,
    blend_saturation,
    luma_of,
    scale_saturation,
)
from cvrl.utils.errors import UserError

Rgb = tuple[float, float, float]
SHAPE = (3, 4, 5, 7)
FACTORS = [0.2, 0.7, 1.0, 1.3, 1.8]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_clip(seed: int = 0) -> Tensor:
    """Half of the values at the levels where colours tie: 0, a half and 1."""
    smooth = torch.rand(SHAPE, generator=generator(seed))
    return torch.where(smooth < 0.5, (smooth * 4).round() / 2, smooth)


def each_pixel(clip_CTHW: Tensor, function: Callable[[float, float, float], Rgb]) -> Tensor:
    pixels = clip_CTHW.flatten(1).T.double().tolist()
    return torch.tensor([function(*pixel) for pixel in pixels]).T.reshape(clip_CTHW.shape)


def assert_close(a: Tensor, b: Tensor, tolerance: float = 2e-6) -> None:
    assert a.shape == b.shape
    assert float((a.double() - b.double()).abs().max()) <= tolerance


@pytest.mark.parametrize("factor", FACTORS)
def test_brightness_multiplies_and_clamps(factor: float) -> None:
    clip = random_clip()
    slow = [min(max(value * factor, 0.0), 1.0) for value in clip.flatten().tolist()]
    assert_close(adjust_brightness(clip, factor), torch.tensor(slow).reshape(SHAPE))


@pytest.mark.parametrize("factor", FACTORS)
def test_contrast_is_about_each_channels_mean_over_the_whole_clip(factor: float) -> None:
    clip = random_clip()
    out = adjust_contrast(clip, factor)
    for channel in range(3):
        values = clip[channel].double().flatten().tolist()
        mean = sum(values) / len(values)
        slow = [min(max((value - mean) * factor + mean, 0.0), 1.0) for value in values]
        assert_close(out[channel].flatten(), torch.tensor(slow))


@pytest.mark.parametrize("factor", FACTORS)
def test_luma_contrast_is_about_the_clips_mean_luma(factor: float) -> None:
    clip = random_clip()
    pixels = clip.flatten(1).T.double().tolist()
    mean = sum(0.2989 * r + 0.587 * g + 0.114 * b for r, g, b in pixels) / len(pixels)
    slow = [min(max(v * factor + mean * (1 - factor), 0.0), 1.0) for v in clip.flatten().tolist()]
    assert_close(adjust_contrast_luma(clip, factor), torch.tensor(slow).reshape(SHAPE))


def test_contrast_sees_the_clip_and_not_the_frame() -> None:
    dark, bright = torch.full((3, 1, 4, 4), 0.2), torch.full((3, 1, 4, 4), 0.6)
    for adjust in (adjust_contrast, adjust_contrast_luma):
        out = adjust(torch.cat([dark, bright], dim=1), 0.5)
        # By frame nothing would change; by clip both move half the way to the mean.
        assert_close(out[:, 0], torch.full((3, 4, 4), 0.3), 1e-4)
        assert_close(out[:, 1], torch.full((3, 4, 4), 0.5), 1e-4)


def slow_scale_saturation(factor: float) -> Callable[[float, float, float], Rgb]:
    def scale(r: float, g: float, b: float) -> Rgb:
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        return colorsys.hsv_to_rgb(h, min(s * factor, 1.0), v)

    return scale


def slow_hue(turn: float) -> Callable[[float, float, float], Rgb]:
    def rotate(r: float, g: float, b: float) -> Rgb:
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        return colorsys.hsv_to_rgb((h + turn) % 1.0, s, v)

    return rotate


@pytest.mark.parametrize("factor", [0.0, *FACTORS, 5.0])
def test_saturation_is_that_of_colorsys(factor: float) -> None:
    clip = random_clip()
    slow = each_pixel(clip, slow_scale_saturation(factor))
    assert_close(scale_saturation(clip, factor), slow)


@pytest.mark.parametrize("turn", [-0.5, -0.2, -0.01, 0.0, 0.1, 1 / 6, 1 / 3, 0.5])
def test_hue_is_that_of_colorsys(turn: float) -> None:
    clip = random_clip()
    assert_close(adjust_hue(clip, turn), each_pixel(clip, slow_hue(turn)))


levels = st.integers(0, 255).map(lambda level: level / 255)


@given(levels, levels, levels, st.floats(-0.5, 0.5))
@settings(max_examples=300, deadline=None)
def test_hue_of_any_pixel_is_that_of_colorsys(r: float, g: float, b: float, turn: float) -> None:
    pixel = torch.tensor([r, g, b]).reshape(3, 1, 1, 1)
    slow = torch.tensor(slow_hue(turn)(r, g, b)).reshape(3, 1, 1, 1)
    assert_close(adjust_hue(pixel, turn), slow, 1e-5)


@given(levels, levels, levels, st.floats(0, 4))
@settings(max_examples=300, deadline=None)
def test_saturation_of_any_pixel_is_that_of_colorsys(
    r: float, g: float, b: float, factor: float
) -> None:
    pixel = torch.tensor([r, g, b]).reshape(3, 1, 1, 1)
    slow = torch.tensor(slow_scale_saturation(factor)(r, g, b)).reshape(3, 1, 1, 1)
    assert_close(scale_saturation(pixel, factor), slow, 1e-5)


def test_hue_keeps_greys_and_undoes_itself() -> None:
    grey = torch.rand(1, 4, 5, 7, generator=generator()).expand(SHAPE)
    assert torch.equal(adjust_hue(grey, 0.3), grey)
    clip = random_clip()
    assert_close(adjust_hue(adjust_hue(clip, 0.17), -0.17), clip, 1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_blended_saturation_and_luma_contrast_are_torchvisions(factor: float) -> None:
    clip = random_clip()
    tall = clip.reshape(3, -1, SHAPE[-1])
    assert_close(blend_saturation(clip, factor), tvf.adjust_saturation(tall, factor).reshape(SHAPE))
    assert_close(
        adjust_contrast_luma(clip, factor), tvf.adjust_contrast(tall, factor).reshape(SHAPE)
    )
    assert_close(adjust_hue(clip, 0.1), tvf.adjust_hue(tall, 0.1).reshape(SHAPE), 1e-5)


def test_grey_is_luma_in_every_channel() -> None:
    clip = random_clip()
    out = Grayscale()(clip)
    slow = each_pixel(clip, lambda r, g, b: (0.2989 * r + 0.587 * g + 0.114 * b,) * 3)
    assert_close(out, slow)
    assert torch.equal(out[:1], luma_of(clip))
    out[0, 0, 0, 0] = 7  # the channels are no views of one another
    assert out[1, 0, 0, 0] != 7


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_solarize_inverts_from_the_threshold_up(threshold: float) -> None:
    clip = random_clip()
    slow = [1 - v if v >= np.float32(threshold) else v for v in clip.flatten().tolist()]
    assert_close(Solarize(threshold=threshold)(clip), torch.tensor(slow).reshape(SHAPE), 1e-7)


def test_normalize_is_per_channel() -> None:
    clip = random_clip()
    out = Normalize(mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))(clip)
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 1.0), (0.3, 2.0)]):
        assert_close(out[channel], (clip[channel] - mean) / std)
    with pytest.raises(ValueError, match="3 means, 3 stds, 1 channels"):
        Normalize()(clip[:1])


STEPS: dict[str, tuple[Callable[[Tensor, float], Tensor], ...]] = {
    "tensorflow": (adjust_brightness, adjust_contrast, scale_saturation, adjust_hue),
    "torchvision": (adjust_brightness, adjust_contrast_luma, blend_saturation, adjust_hue),
}


@pytest.mark.parametrize("model", STEPS)
@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_jitter_takes_its_steps_in_the_order_drawn(model: str, order: tuple[int, ...]) -> None:
    jitter = ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, model=model)  # type: ignore[arg-type]
    values = (1.4, 0.6, 1.7, -0.15)
    expected = clip = random_clip()
    for index in order:
        expected = STEPS[model][index](expected, values[index])
    assert torch.equal(jitter.apply(clip, Jitter(order, *values)), expected)


def test_a_strength_of_zero_does_nothing() -> None:
    clip = random_clip()
    assert torch.equal(ColorJitter()(clip, generator()), clip)
    only = ColorJitter(brightness=0.5)
    params = only.draw(generator(3), SHAPE)
    assert params is not None
    assert torch.equal(only.apply(clip, params), adjust_brightness(clip, params.brightness))


def test_jitter_draws_fill_their_ranges() -> None:
    jitter, source = ColorJitter(brightness=0.8, contrast=0.4, saturation=1.5, hue=0.2), generator()
    drawn = [jitter.draw(source, SHAPE) for _ in range(2000)]
    draws = [draw for draw in drawn if draw is not None]
    assert len(draws) == 2000  # p is 1
    ranges = {
        "brightness": (0.2, 1.8),
        "contrast": (0.6, 1.4),
        "saturation": (0.0, 2.5),
        "hue": (-0.2, 0.2),
    }
    for field, (low, high) in ranges.items():
        values = torch.tensor([getattr(draw, field) for draw in draws])
        width = high - low
        assert low <= values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() <= high
        assert abs(float(values.mean()) - (low + high) / 2) < 4 * width / (12 * 2000) ** 0.5


def test_every_order_is_equally_likely() -> None:
    jitter, source = ColorJitter(hue=0.1), generator()
    drawn = [jitter.draw(source, SHAPE) for _ in range(2400)]
    counts = [
        sum(draw is not None and draw.order == order for draw in drawn)
        for order in itertools.permutations(range(4))
    ]
    assert sum(counts) == 2400
    assert sum((count - 100) ** 2 / 100 for count in counts) < 49.7  # chi square, 1 in 1000


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ColorJitter(hue=0.6), r"ColorJitter\.hue = 0\.6"),
        (lambda: ColorJitter(contrast=-1.0), r"ColorJitter\.contrast"),
        (lambda: ColorJitter(model="pil"), "tensorflow or torchvision"),  # type: ignore[arg-type]
        (lambda: Solarize(threshold=128), r"Solarize\.threshold = 128"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()
