"""Blur, Sobel, noise and cutout against direct loops."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cvrl.transforms import Cutout, GaussianBlur, GaussianNoise, Sobel
from cvrl.transforms.filters import Noise, half_gaussian
from cvrl.transforms.geometry import Box
from cvrl.utils.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_blur(
    image_HW: NDArray[np.float64], sigma: float, radius: int, padding: str
) -> NDArray[np.float64]:
    """The whole kernel at once, pixel by pixel, with every tap however small."""
    height, width = image_HW.shape
    offsets = range(-radius, radius + 1)
    weights = {
        (dy, dx): math.exp(-(dy * dy + dx * dx) / (2 * sigma**2))
        for dy in offsets
        for dx in offsets
    }
    total = sum(weights.values())
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            for (dy, dx), weight in weights.items():
                v, u = y + dy, x + dx
                if padding == "replicate":
                    v, u = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
                if 0 <= v < height and 0 <= u < width:
                    out[y, x] += image_HW[v, u] * weight / total
    return out


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize(("sigma", "kernel"), [(0.1, 5), (0.8, 7), (2.0, 9), (1.5, 4), (2.0, 23)])
def test_blur_is_the_direct_sum(padding: str, sigma: float, kernel: int) -> None:
    clip = torch.rand(2, 2, 9, 12, generator=generator())
    blur = GaussianBlur(kernel_size=kernel, padding=padding)  # type: ignore[arg-type]
    out = blur.apply(clip, sigma)
    for channel in range(2):
        for frame in range(2):
            image = clip[channel, frame].double().numpy()
            slow = slow_blur(image, sigma, kernel // 2, padding)
            np.testing.assert_allclose(out[channel, frame].numpy(), slow, atol=1e-6)


def test_the_published_kernel_has_23_taps_at_224() -> None:
    clip = torch.zeros(1, 1, 224, 224)
    clip[0, 0, 112, 112] = 1
    out = GaussianBlur().apply(clip, 2.0)[0, 0]
    reach = out[112].nonzero().flatten()
    assert (int(reach[0]), int(reach[-1])) == (112 - 11, 112 + 11)
    assert float(out.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(out, out.T)


@pytest.mark.parametrize(("height", "taps"), [(224, 23), (112, 11), (64, 7), (20, 3), (19, 1)])
def test_the_kernel_follows_the_height(height: int, taps: int) -> None:
    clip = torch.zeros(1, 1, height, 40)
    clip[0, 0, :, 20] = 1
    assert int((GaussianBlur().apply(clip, 2.0)[0, 0, height // 2] > 0).sum()) == taps


def test_blur_does_not_mix_frames() -> None:
    clip = torch.zeros(1, 3, 24, 24)
    clip[:, 1] = 1
    out = GaussianBlur(kernel_size=9).apply(clip, 2.0)
    assert not out[:, 0].any()
    assert not out[:, 2].any()


def test_zero_padding_darkens_the_border_and_replication_does_not() -> None:
    clip = torch.ones(1, 1, 30, 30)
    dark = GaussianBlur(kernel_size=9).apply(clip, 2.0)
    kept = GaussianBlur(kernel_size=9, padding="replicate").apply(clip, 2.0)
    assert dark[0, 0, 0, 0] < 0.5
    assert torch.allclose(kept, clip, atol=1e-6)


@given(st.floats(0.05, 10), st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_weights_sum_to_one_and_fall(sigma: float, radius: int) -> None:
    half = half_gaussian(sigma, radius)
    assert 1 <= len(half) <= radius + 1
    assert half[0] + 2 * sum(half[1:]) == pytest.approx(1, abs=1e-6)
    assert all(near >= far > 0 for near, far in itertools.pairwise(half))


def test_sigmas_fill_their_range() -> None:
    source, blur = generator(), GaussianBlur(sigma=(0.1, 2.0))
    sigmas = torch.tensor([blur.draw(source, (3, 1, 30, 30)) for _ in range(2000)])
    assert 0.1 <= sigmas.min() < 0.12
    assert 1.98 < sigmas.max() <= 2.0
    assert abs(float(sigmas.mean()) - 1.05) < 4 * 1.9 / (12 * 2000) ** 0.5


def test_sobel_is_the_length_of_the_gradient() -> None:
    clip = torch.rand(3, 2, 6, 7, generator=generator())
    out = Sobel()(clip)
    red, green, blue = clip.double().numpy()
    luma = np.pad(0.2989 * red + 0.587 * green + 0.114 * blue, ((0, 0), (1, 1), (1, 1)), "edge")
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    for frame in range(2):
        for y in range(6):
            for x in range(7):
                patch = luma[frame, y : y + 3, x : x + 3]
                length = math.hypot((patch * kernel).sum(), (patch * kernel.T).sum()) / 4
                assert float(out[0, frame, y, x]) == pytest.approx(min(length, 1), abs=1e-5)
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])


def test_sobel_of_a_step_is_one_and_of_a_plane_nothing() -> None:
    step = torch.zeros(3, 1, 6, 6)
    step[..., 3:] = 1
    assert Sobel()(step)[0, 0, 2].tolist() == pytest.approx([0, 0, 1, 1, 0, 0], abs=2e-4)
    assert not Sobel()(torch.full((3, 1, 6, 6), 0.25)).any()


def test_noise_is_one_field_of_the_drawn_strength() -> None:
    clip = torch.full((3, 4, 64, 64), 0.5)
    out = GaussianNoise(sigma=(0.1, 0.1))(clip, generator())
    assert torch.equal(out, out[:, :1].expand_as(out))
    noise = out[:, 0] - 0.5
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)
    red, green = noise[0].flatten(), noise[1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([red, green]))[0, 1])) < 0.07  # channels differ


def test_noise_is_a_function_of_its_seed() -> None:
    clip, noise = torch.full((3, 2, 8, 8), 0.5), GaussianNoise()
    assert torch.equal(noise.apply(clip, Noise(0.1, 5)), noise.apply(clip, Noise(0.1, 5)))
    assert not torch.equal(noise.apply(clip, Noise(0.1, 5)), noise.apply(clip, Noise(0.1, 6)))
    state = torch.get_rng_state()
    noise.apply(clip, Noise(0.1, 5))
    assert torch.equal(torch.get_rng_state(), state)


def test_cutout_covers_its_box_and_nothing_else() -> None:
    clip = torch.full((3, 2, 10, 12), 200, dtype=torch.uint8)
    out = Cutout(value=0.5).apply(clip, Box(2, 3, 4, 5))
    expected = clip.clone()
    expected[:, :, 2:6, 3:8] = 128
    assert torch.equal(out, expected)


def test_cutout_covers_the_share_asked_for() -> None:
    clip, source = torch.ones(3, 1, 100, 100), generator()
    shares = [1 - float(Cutout(area=(0.1, 0.3))(clip, source).mean()) for _ in range(300)]
    assert 0.09 < min(shares) < 0.12
    assert 0.28 < max(shares) < 0.31


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GaussianBlur(sigma=(0.0, 1.0)), "sigma = 0.0"),
        (lambda: GaussianBlur(kernel_size=0), r"GaussianBlur\.kernel_size"),
        (lambda: GaussianBlur(padding="reflect"), "zeros or replicate"),  # type: ignore[arg-type]
        (lambda: GaussianNoise(sigma=(-1.0, 1.0)), "sigma = -1.0"),
        (lambda: Cutout(area=(0.0, 0.5)), "area = 0.0"),
        (lambda: Cutout(value=2.0), r"Cutout\.value"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()
