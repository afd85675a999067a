"""Hand-made features: what moves and what has edges is told, brightness is not."""

import numpy as np
import pytest
import torch

from cvrl.models import hog_mbh
from cvrl.models.hog_mbh import BINS, CELLS, GRIDS, HogMbh


def moving_square(dx: int, dy: int, frames: int = 6) -> torch.Tensor:
    """A textured square on a black ground, moved by (dx, dy) pixels a frame."""
    texture = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    clip = torch.zeros(3, frames, 48, 48)
    for t in range(frames):
        y, x = 18 + dy * t, 18 + dx * t
        clip[:, t, y : y + 12, x : x + 12] = texture
    return clip


def parts_of(feature: torch.Tensor) -> list[torch.Tensor]:
    """A feature by grid, each (4, cells, BINS)."""
    sizes = [4 * grid**2 * BINS for grid in GRIDS]
    return [part.view(4, -1, BINS) for part in feature.split(sizes)]


def test_the_dimension_is_what_it_says():
    assert HogMbh()(torch.rand(2, 3, 4, 40, 56)).shape == (2, HogMbh.dim)


def test_each_quantity_of_each_grid_has_unit_length_before_the_root():
    for part in parts_of(HogMbh()(moving_square(2, 1)[None])[0]):
        norms = (part**4).sum(dim=(1, 2))
        assert torch.allclose(norms, torch.ones(4), atol=1e-3)


@pytest.mark.parametrize(("scale", "shift"), [(0.5, 0.2), (4.4, -2.0)])
def test_brightness_contrast_and_normalisation_change_little(scale, shift):
    clip = moving_square(2, 0)[None]
    one, other = HogMbh()(clip), HogMbh()(clip * scale + shift)
    assert torch.cosine_similarity(one, other).item() > 0.999


def test_a_still_clip_has_edges_and_no_motion():
    whole = parts_of(HogMbh()(moving_square(0, 0)[None])[0])[0]
    assert whole[0].sum() > 1.0
    assert whole[1:].abs().max() < 0.05


def test_one_frame_is_enough():
    feature = HogMbh()(torch.rand(1, 3, 1, 48, 48))
    assert torch.isfinite(feature).all()


def test_the_direction_of_motion_is_in_the_histogram_of_flow():
    bins = [parts_of(HogMbh()(moving_square(dx, dy)[None])[0])[0][1, 0] for dx, dy in
            [(2, 0), (0, 2), (-2, 0), (0, -2)]]  # fmt: skip
    assert [int(b.argmax()) % BINS for b in bins] == [0, 2, 4, 6]


def test_a_histogram_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 13, 17)).astype(np.float32)
    expected = np.zeros((CELLS, CELLS, BINS))
    for i in range(13):
        for j in range(17):
            place = np.arctan2(y[i, j], x[i, j]) / (2 * np.pi) * BINS % BINS
            share = place - np.floor(place)
            cell = expected[i * CELLS // 13, j * CELLS // 17]
            cell[int(place) % BINS] += np.hypot(x[i, j], y[i, j]) * (1 - share)
            cell[(int(place) + 1) % BINS] += np.hypot(x[i, j], y[i, j]) * share
    found = hog_mbh._histogram(x, y)
    assert np.allclose(found, expected * CELLS * CELLS / (13 * 17), atol=1e-4)
