"""Crops, resizing, flip and turns, against slow loops, Pillow and the laws they are drawn from."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cvrl.transforms import (
    CenterCrop,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    Rotate,
)
from cvrl.transforms.geometry import (
    Box,
    box_by_area,
    box_by_height,
    box_by_short_side,
    cut_box,
    resize,
)
from cvrl.utils.errors import UserError

Draw = Callable[[torch.Generator, int, int, tuple[float, float], tuple[float, float]], Box]
LAWS = [box_by_area, box_by_height]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_clip(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


def distance_from_uniform(values: Sequence[float], low: float, high: float) -> float:
    """Kolmogorov and Smirnov's: the largest gap between the two distribution functions."""
    shares = (np.sort(np.asarray(values)) - low) / (high - low)
    steps = np.arange(len(values) + 1) / len(values)
    return float(max(np.abs(shares - steps[1:]).max(), np.abs(shares - steps[:-1]).max()))


def slow_bilinear(image_HW: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """One pixel after the other: half-pixel centres, clamped to the border."""
    old_h, old_w = image_HW.shape
    out = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            v = max((y + 0.5) * old_h / height - 0.5, 0.0)
            u = max((x + 0.5) * old_w / width - 0.5, 0.0)
            top, left = min(int(v), old_h - 1), min(int(u), old_w - 1)
            below, right = min(top + 1, old_h - 1), min(left + 1, old_w - 1)
            dv, du = v - top, u - left
            upper = image_HW[top, left] * (1 - du) + image_HW[top, right] * du
            lower = image_HW[below, left] * (1 - du) + image_HW[below, right] * du
            out[y, x] = upper * (1 - dv) + lower * dv
    return out


sides = st.integers(1, 400)
areas = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(lambda ab: (min(ab), max(ab)))
aspects = st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)).map(lambda ab: (min(ab), max(ab)))


@pytest.mark.parametrize("law", LAWS)
@given(sides, sides, areas, aspects, st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_boxes_stay_inside_the_frame(
    law: Draw,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
    seed: int,
) -> None:
    box = law(generator(seed), height, width, area, aspect)
    assert box.height >= 1
    assert box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


@given(st.integers(60, 400), st.integers(60, 400), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_boxes_by_height_keep_area_and_aspect(height: int, width: int, seed: int) -> None:
    box = box_by_height(generator(seed), height, width, (0.3, 1.0), (0.5, 2.0))
    if box == (0, 0, height, width):
        return  # the whole frame: either drawn, or what is left after a hundred misses
    assert 0.3 <= box.height * box.width / (height * width) <= 1.0
    slack = 0.5 / box.height  # the width is rounded
    assert 0.5 - slack <= box.width / box.height <= 2.0 + slack


@given(st.integers(60, 400), st.integers(60, 400), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_boxes_by_area_keep_area_and_aspect(height: int, width: int, seed: int) -> None:
    box = box_by_area(generator(seed), height, width, (0.2, 0.766), (3 / 4, 4 / 3))
    # Both sides are rounded; the fallback has the aspect but may be larger.
    slack = 0.5 / box.height + 0.5 / box.width
    assert (3 / 4) * (1 - 2 * slack) <= box.width / box.height <= (4 / 3) * (1 + 2 * slack)
    centred = (box.top, box.left) == ((height - box.height) // 2, (width - box.width) // 2)
    share = box.height * box.width / (height * width)
    assert 0.2 * (1 - 2 * slack) <= share <= 0.766 * (1 + 2 * slack) or centred


def test_by_area_is_even_in_area_and_log_aspect() -> None:
    source, count = generator(), 2000
    boxes = [
        box_by_area(source, 2000, 2000, (0.05, 0.2), (0.5, 2.0)) for _ in range(count)
    ]  # such boxes always fit
    shares = [box.height * box.width / 2000**2 for box in boxes]
    logs = [math.log(box.width / box.height) for box in boxes]
    assert distance_from_uniform(shares, 0.05, 0.2) < 1.95 / count**0.5  # 1 in 1000 by chance
    assert distance_from_uniform(logs, -math.log(2), math.log(2)) < 1.95 / count**0.5


def test_by_height_is_even_in_aspect_and_then_in_height() -> None:
    source, count, frame = generator(), 2000, 2000**2
    boxes = [box_by_height(source, 2000, 2000, (0.05, 0.2), (0.5, 2.0)) for _ in range(count)]
    ratios = [box.width / box.height for box in boxes]
    assert distance_from_uniform(ratios, 0.5, 2.0) < 1.95 / count**0.5
    heights = []
    for box, ratio in zip(boxes, ratios, strict=True):
        low, high = math.sqrt(0.05 * frame / ratio), math.sqrt(0.2 * frame / ratio)
        heights.append((box.height - low) / (high - low))
    assert distance_from_uniform(heights, 0, 1) < 1.95 / count**0.5


def test_by_area_draws_as_torchvision_does() -> None:
    source, area, aspect = generator(), (0.2, 0.766), (3 / 4, 4 / 3)
    ours = [box_by_area(source, 240, 320, area, aspect) for _ in range(1500)]
    image = torch.zeros(3, 240, 320)
    torch.manual_seed(0)
    crop = torchvision.transforms.RandomResizedCrop.get_params
    theirs = [Box(*crop(image, list(area), list(aspect))) for _ in range(1500)]
    for side in range(4):
        a, b = sorted(box[side] for box in ours), sorted(box[side] for box in theirs)
        levels = np.arange(321)
        gap = np.searchsorted(a, levels, "right") - np.searchsorted(b, levels, "right")
        assert np.abs(gap).max() / 1500 < 1.95 * (2 / 1500) ** 0.5  # Smirnov's, 1 in 1000


def test_by_height_in_a_real_frame_is_the_law_itself() -> None:
    # All (aspect, height) pairs of a fine grid that the law allows, weighed as it draws them.
    height, width, low, high = 240, 320, 0.3 * 240 * 320, 1.0 * 240 * 320
    weights = np.zeros(height + 1)
    for ratio in np.linspace(0.5, 2.0, 3001):
        smallest = round(math.sqrt(low / ratio))
        largest = min(round(math.sqrt(high / ratio)), height, int((width + 0.5) / ratio))
        weights[smallest : largest + 1] += 1 / (largest - smallest + 1)
    expected = np.cumsum(weights / weights.sum())
    source = generator()
    boxes = [box_by_height(source, height, width, (0.3, 1.0), (0.5, 2.0)) for _ in range(3000)]
    drawn = np.searchsorted(
        sorted(box.height for box in boxes), np.arange(height + 1), "right"
    ) / len(boxes)
    assert np.abs(drawn - expected).max() < 1.95 / len(boxes) ** 0.5


@pytest.mark.parametrize("law", LAWS)
def test_places_are_even(law: Draw) -> None:
    source = generator()
    boxes = [law(source, 300, 400, (0.25, 0.25), (4 / 3, 4 / 3)) for _ in range(2000)]
    assert {(box.height, box.width) for box in boxes} == {(150, 200)}
    assert distance_from_uniform([box.top for box in boxes], -0.5, 150.5) < 0.05
    assert distance_from_uniform([box.left for box in boxes], -0.5, 200.5) < 0.05
    assert {0, 150} <= {box.top for box in boxes}


def test_a_crop_from_a_drawn_short_side_is_slowfasts() -> None:
    """Sides of the square are short * 224 / s for an even s, and it may lie anywhere."""
    generator = torch.Generator().manual_seed(0)
    boxes = [box_by_short_side(generator, 240, 320, 224, (256, 320)) for _ in range(4000)]
    assert {box.height - box.width for box in boxes} == {0}
    s = torch.tensor([240 * 224 / box.height for box in boxes])
    assert 255 < s.min() < 257 and 318.5 < s.max() < 321.5
    assert abs(s.mean() - 288) < 1
    shares = torch.tensor([box.height * box.width / (240 * 320) for box in boxes])
    assert abs(shares.min() - 0.3675) < 0.002 and abs(shares.max() - 0.574) < 0.002
    for axis, spare in ((0, 240), (1, 320)):
        where = [box[axis] / (spare - box.height) for box in boxes]
        assert min(where) == 0 and max(where) == 1 and abs(sum(where) / len(where) - 0.5) < 0.02


def test_where_no_box_fits_the_fallbacks_differ() -> None:
    # A crop of the whole area cannot be square in a frame twice as wide as high.
    assert box_by_area(generator(), 100, 200, (1.0, 1.0), (1.0, 1.0)) == (0, 50, 100, 100)
    assert box_by_height(generator(), 100, 200, (1.0, 1.0), (1.0, 1.0)) == (0, 0, 100, 200)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 1), (2, 3), (300, 5)])
@pytest.mark.parametrize("law", ["area", "height"])
def test_a_resized_crop_works_on_any_size(height: int, width: int, law: str) -> None:
    crop = RandomResizedCrop(size=8, area=(0.3, 1.0), aspect=(0.5, 2.0), law=law)  # type: ignore[arg-type]
    for seed in range(20):
        out = crop(noise_clip(3, 2, height, width), generator(seed))
        assert out.shape == (3, 2, 8, 8)


@pytest.mark.parametrize(
    ("old", "new"), [((9, 12), (5, 7)), ((5, 4), (11, 9)), ((8, 8), (8, 8)), ((1, 6), (4, 3))]
)
def test_resize_is_plain_bilinear(old: tuple[int, int], new: tuple[int, int]) -> None:
    clip = torch.rand(3, 2, *old, generator=generator())
    out = resize(clip, *new, antialias=False)
    for channel in range(3):
        for frame in range(2):
            slow = slow_bilinear(clip[channel, frame].double().numpy(), *new)
            np.testing.assert_allclose(out[channel, frame].numpy(), slow, atol=1e-5)


def test_a_resized_crop_is_the_resized_box() -> None:
    clip = torch.rand(3, 2, 20, 30, generator=generator())
    crop = RandomResizedCrop(size=11)
    box = Box(3, 4, 12, 17)
    assert torch.equal(
        crop.apply(clip, box), resize(clip[:, :, 3:15, 4:21], 11, 11, antialias=False)
    )


@pytest.mark.parametrize(("height", "width", "size"), [(60, 80, 32), (91, 50, 24), (30, 40, 48)])
def test_resize_of_the_short_side_agrees_with_pillow(height: int, width: int, size: int) -> None:
    frame_HWC = noise_clip(height, width, 3)
    out = Resize(size=size)(frame_HWC.permute(2, 0, 1).unsqueeze(1))
    assert min(out.shape[2:]) == size
    resized = Image.fromarray(frame_HWC.numpy()).resize(
        (out.shape[3], out.shape[2]), Image.Resampling.BILINEAR
    )
    pillow = torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1)
    assert (out[:, 0].int() - pillow.int()).abs().max() <= 1


@given(sides, sides, st.integers(2, 300))
@settings(max_examples=100, deadline=None)
def test_resize_gives_the_short_side_asked_for(height: int, width: int, size: int) -> None:
    new_h, new_w = Resize(size=size).draw(None, (3, 1, height, width)) or (0, 0)
    assert min(new_h, new_w) == size
    assert abs(max(new_h, new_w) - size * max(height, width) / min(height, width)) < 1


def test_resize_to_the_size_it_has_changes_nothing() -> None:
    clip = noise_clip(3, 2, 24, 32)
    assert torch.equal(Resize(size=24)(clip), clip)


def test_random_crop_cuts_and_reaches_every_corner() -> None:
    clip = torch.arange(12.0).reshape(1, 1, 3, 4)
    source = generator()
    corners = {float(RandomCrop(size=2)(clip, source)[0, 0, 0, 0]) for _ in range(300)}
    assert corners == {0, 1, 2, 4, 5, 6}
    assert torch.equal(RandomCrop(size=3).apply(clip, Box(0, 1, 3, 3)), clip[..., 1:])


@pytest.mark.parametrize("crop", [RandomCrop(size=224), CenterCrop(size=224)])
def test_a_crop_larger_than_the_video_says_what_to_do(crop: RandomCrop | CenterCrop) -> None:
    with pytest.raises(UserError) as caught:
        crop(torch.zeros(3, 2, 144, 180), generator())
    assert str(caught.value) == (
        "crop 224: is larger than the 180x144 video; use random resized crop or a smaller size"
    )


def test_center_crop_takes_the_middle() -> None:
    clip = noise_clip(3, 2, 10, 15)
    assert torch.equal(CenterCrop(size=6)(clip), clip[:, :, 2:8, 4:10])


def test_parameters_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="leaves the frame"):
        RandomCrop(size=8).apply(torch.zeros(3, 1, 9, 9), Box(2, 0, 8, 8))
    assert cut_box(torch.zeros(3, 1, 9, 9), Box(1, 0, 8, 9)).shape == (3, 1, 8, 9)


def test_flip_mirrors_and_undoes_itself() -> None:
    clip = noise_clip(3, 2, 4, 5)
    flipped = HorizontalFlip()(clip)
    assert torch.equal(flipped, torch.from_numpy(clip.numpy()[..., ::-1].copy()))
    assert torch.equal(HorizontalFlip()(flipped), clip)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotate_turns_each_frame_like_numpy(degrees: int) -> None:
    clip = noise_clip(3, 2, 4, 6)
    out = Rotate(degrees=(degrees,))(clip)
    assert np.array_equal(out.numpy(), np.rot90(clip.numpy(), degrees // 90, axes=(2, 3)))


def test_rotate_draws_each_angle_equally_often() -> None:
    source = generator()
    angles = [Rotate().draw(source, (3, 1, 4, 4)) for _ in range(1500)]
    assert set(angles) == {90, 180, 270}
    assert all(abs(angles.count(a) - 500) < 4 * (1500 * 2 / 9) ** 0.5 for a in (90, 180, 270))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RandomResizedCrop(size=8, area=(0.5, 0.2)), "area"),
        (lambda: RandomResizedCrop(size=8, area=(0.5, 1.2)), "at most 1"),
        (lambda: RandomResizedCrop(size=8, aspect=(0.0, 1.0)), "aspect"),
        (lambda: RandomResizedCrop(size=8, law="width"), "area or height"),  # type: ignore[arg-type]
        (lambda: RandomResizedCrop(size=0), r"RandomResizedCrop\.size = 0"),
        (lambda: Resize(size=1), r"Resize\.size = 1"),
        (lambda: Rotate(degrees=(45,)), "quarter turns"),
        (lambda: Rotate(degrees=()), "quarter turns"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()
