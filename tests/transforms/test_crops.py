"""The crops of a test: where they lie, and that one crop is the evaluation transform itself."""

import pytest
import torch

from cvrl.transforms import RandomResizedCrop, Recipe, recipes
from cvrl.transforms.crops import crops_of
from cvrl.utils.errors import UserError


def noise(height, width, frames=4):
    shape = 3, frames, height, width
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", [(40, 70), (70, 40), (48, 48), (33, 32), (32, 33), (200, 32)])
@pytest.mark.parametrize("normalise", [False, True])
def test_one_crop_is_the_evaluation_transform_bit_for_bit(size, normalise):
    transform = recipes.evaluation(32, normalise=normalise)
    crops = crops_of(transform, 1)
    clip = noise(*size)
    assert torch.equal(crops.cut(crops.shrink(clip))[0], transform(clip))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 50), [(0, 0), (0, 9), (0, 18)]),
        ((51, 32), [(0, 0), (9, 0), (19, 0)]),
        ((32, 33), [(0, 0), (0, 0), (0, 1)]),
        ((32, 32), [(0, 0)]),
        ((36, 40), [(2, 0), (2, 4), (2, 8)]),
        ((40, 40), [(4, 0), (4, 4), (4, 8)]),
    ],
)
def test_three_crops_lie_along_the_longer_side(size, expected):
    boxes = crops_of(recipes.evaluation(32), 3).boxes((3, 8, *size))
    assert [(box.top, box.left) for box in boxes] == expected
    assert {(box.height, box.width) for box in boxes} == {(32, 32)}


@pytest.mark.parametrize("size", [(40, 71), (71, 40)])
def test_three_crops_against_slices(size):
    """The middle one is the centre crop; together they reach both ends of the longer side."""
    transform = recipes.evaluation(32, resize=36, normalise=True)
    crops = crops_of(transform, 3)
    small = crops.shrink(noise(*size))
    assert small.dtype == torch.uint8 and min(small.shape[2:]) == 36
    cut = crops.cut(small)
    scaled = (small.float() / 255 - 0.45) / 0.225
    across = slice(2, 34)  # of the shorter side, 36 long
    for done, start in zip(cut, (0, (63 - 32) // 2, 63 - 32), strict=True):
        along = slice(start, start + 32)
        rows, columns = (across, along) if size[0] < size[1] else (along, across)
        torch.testing.assert_close(done, scaled[:, :, rows, columns])
    assert torch.equal(cut[1], transform(noise(*size)))


def test_frames_can_be_shrunk_apart_from_their_clips():
    crops = crops_of(recipes.evaluation(32), 3)
    clip = noise(50, 90, frames=6)
    order = torch.tensor([5, 0, 0, 3])
    assert torch.equal(crops.shrink(clip)[:, order], crops.shrink(clip[:, order]))


@pytest.mark.parametrize("number", [0, 2, 5, -1])
def test_another_number_of_crops_is_refused(number):
    with pytest.raises(UserError, match=f"crops = {number}: no such views; give 1"):
        crops_of(recipes.evaluation(32), number)


@pytest.mark.parametrize(
    "transform", [recipes.light(32), recipes.cvrl(32), Recipe([[RandomResizedCrop(size=8)]]), abs]
)
def test_a_transform_without_a_centre_crop_is_refused(transform):
    with pytest.raises(UserError, match="has no centre crop to put elsewhere"):
        crops_of(transform, 3)


def test_frames_smaller_than_the_crop_are_refused():
    crops = crops_of(recipes.evaluation(32), 3)
    with pytest.raises(UserError, match="crop 32: is larger than the 20x40 video"):
        crops.cut(noise(40, 20))
