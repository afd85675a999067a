"""Resizing gives torchvision's values."""

import pytest
import torch
import torchvision.transforms.v2.functional as tvf

from cvrl.utils.resize import resize, resize_short_side

SIZES = [(7, 9), (48, 64), (31, 17), (50, 40)]


def frames(dtype, height=40, width=50):
    generator = torch.Generator().manual_seed(0)
    bytes_NCHW = torch.randint(256, (3, 3, height, width), generator=generator, dtype=torch.uint8)
    return bytes_NCHW if dtype == torch.uint8 else bytes_NCHW.to(dtype) / 255


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_values_are_torchvisions(dtype, size, antialias):
    given = frames(dtype)
    expected = tvf.resize(given, list(size), antialias=antialias)
    resized = resize(given, *size, antialias=antialias)
    assert resized.dtype == dtype and torch.equal(resized, expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_does_not_change_the_values(layout):
    given = frames(torch.uint8)
    assert torch.equal(
        resize(given.contiguous(memory_format=layout), 20, 30), resize(given, 20, 30)
    )


@pytest.mark.parametrize("shape", [(40, 50), (50, 40), (31, 31), (33, 97)])
def test_the_short_side_is_torchvisions(shape):
    given = frames(torch.uint8, *shape)
    assert torch.equal(resize_short_side(given, 17), tvf.resize(given, [17], antialias=True))


def test_frames_of_that_size_are_returned_as_they_are():
    given = frames(torch.uint8)
    assert resize(given, 40, 50) is given


def test_other_integers_are_rounded():
    wide = torch.tensor([[[[0, 3]]]], dtype=torch.int16)
    assert resize(wide, 1, 4).flatten().tolist() == [0, 1, 2, 3]
