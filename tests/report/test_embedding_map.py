"""The map: what lies apart is drawn apart, by a method that suits the number of points."""

import numpy as np
import pytest

from cvrl.report.embedding_map import PALETTE, class_colours, map_svg, project


def clusters(each: int, dims: int = 16, kinds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """`kinds` tight clusters far apart, and whose each row is."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(kinds), each)
    centres = np.eye(kinds, dims) * 10
    return (centres[kind] + rng.normal(0, 0.1, (len(kind), dims))).astype(np.float32), kind


@pytest.mark.parametrize(("each", "method"), [(4, "PCA"), (15, "t-SNE")])
def test_clusters_stay_apart(each: int, method: str) -> None:
    vectors, kind = clusters(each)
    positions, used = project(vectors)
    assert used == method
    assert positions.shape == (len(vectors), 2) and positions.dtype == np.float32
    distance = np.linalg.norm(positions[:, None] - positions, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (kind[distance.argmin(axis=1)] == kind).all()


def test_the_same_seed_gives_the_same_map() -> None:
    vectors, _ = clusters(15)
    assert np.array_equal(project(vectors, seed=0)[0], project(vectors, seed=0)[0])


def test_only_directions_count() -> None:
    vectors, _ = clusters(4)
    lengths = np.linspace(1, 100, len(vectors), dtype=np.float32)[:, None]
    assert np.allclose(project(vectors * lengths)[0], project(vectors)[0], atol=1e-4)


@pytest.mark.parametrize("count", [2, 3, 40])
def test_a_collapsed_encoder_has_a_map_too(count: int) -> None:
    positions, method = project(np.ones((count, 8), np.float32))
    assert method == "PCA"
    assert np.abs(positions).max() < 1e-3


def test_features_of_one_dimension_have_a_map() -> None:
    positions, _ = project(np.array([[1.0], [-1.0], [2.0]], np.float32))
    assert positions.shape == (3, 2) and np.isfinite(positions).all()


def test_zero_features_do_no_harm() -> None:
    assert np.isfinite(project(np.zeros((4, 3), np.float32))[0]).all()


def test_a_map_needs_two_points() -> None:
    with pytest.raises(ValueError, match="at least two videos, not 1"):
        project(np.ones((1, 3), np.float32))


@pytest.mark.parametrize("count", [0, 1, len(PALETTE), len(PALETTE) + 1, 101])
def test_every_class_has_a_colour_of_its_own(count: int) -> None:
    names = [f"class {i}" for i in range(count)]
    colours = class_colours(names)
    assert list(colours) == names
    assert len(set(colours.values())) == count
    assert all(len(colour) == 7 and colour.startswith("#") for colour in colours.values())


def test_a_drawing_has_every_point_in_its_colour() -> None:
    drawing = map_svg(
        np.random.default_rng(0).random((5, 2)), ["#ff0000"] * 3 + ["#0000ff"] * 2, "m"
    )
    assert drawing.count("#ff0000") >= 3
    assert drawing.count("#0000ff") >= 2
