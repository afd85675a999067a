"""Published evaluation transforms show the part of a frame that the papers' networks saw."""

import pytest
import torch
import torchvision.transforms.v2.functional as tvf

from cvrl.transforms import recipes
from cvrl.transforms.published import coclr, vcop


def clip(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (2, 3, 4, 5), generator=generator, dtype=torch.uint8)
    frames = tvf.resize(small, [height, width], antialias=True)
    return frames.transpose(0, 1)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (144, 180)])
def test_vcop_stretches_every_frame_to_one_shape(height: int, width: int) -> None:
    frames = clip(height, width)
    stretched = tvf.resize(frames.transpose(0, 1), [128, 171], antialias=True)
    expected = stretched[:, :, 8:120, 29:141].transpose(0, 1) / 255  # 29.5, rounded down
    assert torch.allclose(vcop(112)(frames), expected, atol=1.5 / 255)


def test_coclr_sees_the_centre_of_224_of_256_scaled_to_128() -> None:
    frames = clip(256, 341)
    centre = tvf.center_crop(frames.transpose(0, 1), [224, 224])
    expected = tvf.resize(centre, [128, 128], antialias=True).transpose(0, 1) / 255
    found = coclr(128)(frames)
    assert (found - expected).abs().mean() < 0.01


def test_another_size_shows_the_same_part() -> None:
    frames = clip(240, 320)
    for recipe in (vcop, coclr):
        large, small = recipe(112)(frames), recipe(56)(frames)
        shrunk = tvf.resize(large.transpose(0, 1), [56, 56], antialias=True).transpose(0, 1)
        assert (shrunk - small).abs().mean() < 0.01
        whole = recipes.evaluation(112)(frames)
        assert (large - whole).abs().mean() > 0.02  # 100 % of the short side, as it was


def test_clips_are_normalised_where_the_encoders_are() -> None:
    frames = clip(120, 160)
    for recipe in (vcop, coclr):
        plain, normal = recipe(32)(frames), recipe(32, normalise=True)(frames)
        assert torch.allclose((plain - 0.45) / 0.225, normal, atol=1e-5)
