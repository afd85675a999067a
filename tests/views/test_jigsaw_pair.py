"""Permutations are far apart and stored; tiles go where the permutation says, and nothing leaks."""

from itertools import combinations

import numpy as np
import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.jigsaw_pair import JigsawPair, hamming_permutations

SPEC = ClipSpec(frames=8, stride=2)


def rng(seed=0):
    return np.random.default_rng(seed)


def mean_distance(rows):
    return np.mean([(one != two).mean() for one, two in combinations(rows, 2)])


@pytest.mark.parametrize(("tiles", "count"), [(3, 6), (4, 24), (8, 64), (9, 100)])
def test_permutations_are_different_permutations(tiles, count):
    rows = hamming_permutations(tiles, count)
    assert rows.shape == (count, tiles)
    assert (np.sort(rows, axis=1) == np.arange(tiles)).all()
    assert len(np.unique(rows, axis=0)) == count


@pytest.mark.parametrize("tiles", [8, 9])
def test_permutations_are_farther_apart_than_drawn_ones(tiles):
    drawn = np.stack([rng(seed).permutation(tiles) for seed in range(32)])
    assert mean_distance(hamming_permutations(tiles, 32)) > mean_distance(drawn) + 0.02


def test_greedy_choice_takes_the_farthest_each_time():
    rows = hamming_permutations(4, 6)
    everything = hamming_permutations(4, 24)
    for chosen in range(1, 6):
        left = [row for row in everything if not any((row == r).all() for r in rows[:chosen])]
        best = max(sum((row != r).sum() for r in rows[:chosen]) for row in left)
        assert sum((rows[chosen] != r).sum() for r in rows[:chosen]) == best


def test_the_set_is_a_function_of_its_seed_and_named_by_a_hash():
    one, same = JigsawPair(SPEC, permutations=32), JigsawPair(SPEC, permutations=32)
    other = JigsawPair(SPEC, permutations=32, seed=1)
    assert one.permutation_hash == same.permutation_hash != other.permutation_hash
    # a change of the numbers behind published results should not go unnoticed
    assert JigsawPair(SPEC).permutation_hash == "5a1f897f"


def arrange(views, clip_CTHW, seed=0):
    plan = views.plan(200, 25.0, rng(seed))
    clips, order_V = views.arrange(torch.stack([clip_CTHW, clip_CTHW]), plan, rng(seed))
    return clips, views.permutations[order_V[1]]


def numbered(grid, shape=(8, 24, 24)):
    """A clip whose tiles are the numbers of their cells."""
    clip = torch.zeros(3, *shape)
    sizes = [side // cells for side, cells in zip(shape, grid, strict=True)]
    for number, index in enumerate(np.ndindex(*grid)):
        place = tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, sizes, strict=True))
        clip[(slice(None), *place)] = float(number)
    return clip, sizes


@pytest.mark.parametrize("grid", [(1, 3, 3), (2, 2, 2), (4, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("seed", range(5))
def test_every_tile_goes_to_the_cell_that_the_permutation_names(grid, seed):
    views = JigsawPair(SPEC, grid=grid, permutations=6, equalise=False)
    clip, sizes = numbered(grid)
    clips, permutation = arrange(views, clip, seed)
    assert torch.equal(clips[0], clip)
    for place, index in enumerate(np.ndindex(*grid)):
        middle = tuple(i * n + n // 2 for i, n in zip(index, sizes, strict=True))
        assert clips[1][(0, *middle)].item() == permutation[place]


def test_between_tiles_there_is_a_gap_of_the_mean_colour():
    views = JigsawPair(SPEC, grid=(1, 3, 3), gap=0.25, equalise=False)
    clip = torch.rand(3, 8, 48, 48)
    mixed = arrange(views, clip)[0][1]
    border = mixed[:, :, 15:17, :]  # cells of 16, tiles of 12 with 2 left on every side
    mean = clip.mean(dim=(1, 2, 3), keepdim=True).squeeze(-1)
    torch.testing.assert_close(border, mean[..., None].expand_as(border))


def test_tiles_are_cut_from_somewhere_in_their_cell():
    views = JigsawPair(SPEC, grid=(1, 2, 2), permutations=2, gap=0.25, equalise=False)
    clip = torch.arange(32.0).expand(3, 8, 32, 32)  # a pixel is its column
    firsts = set()
    for seed in range(30):
        clips, permutation = arrange(views, clip, seed)
        left_of_source = 16 * (int(permutation[0]) % 2)
        firsts.add(int(clips[1][0, 0, 8, 2].item()) - left_of_source)
    assert firsts == {1, 2, 3}  # of a gap of 4, one to either side is kept


def test_equalised_tiles_do_not_tell_their_place_by_light():
    views = JigsawPair(SPEC, grid=(1, 2, 2), permutations=6, gap=0.0)
    ramp = torch.linspace(0, 1, 32).expand(3, 8, 32, 32) + 0.05 * torch.rand(3, 8, 32, 32)
    mixed = arrange(views, ramp)[0][1]
    tiles = [mixed[..., y : y + 16, x : x + 16] for y in (0, 16) for x in (0, 16)]
    for tile in tiles:
        torch.testing.assert_close(tile.mean((1, 2, 3)), ramp.mean((1, 2, 3)), atol=1e-4, rtol=0)
        torch.testing.assert_close(tile.std((1, 2, 3)), ramp.std((1, 2, 3)), atol=1e-3, rtol=0)
        left, right = tile[..., :8].mean(), tile[..., 8:].mean()
        assert abs(left - right) < 0.05 * ramp.std()  # of the slope nothing is left


def test_levelled_light_is_what_least_squares_leaves():
    views = JigsawPair(SPEC, grid=(1, 1, 2), permutations=2, gap=0.0)
    clip = torch.rand(3, 8, 32, 32, dtype=torch.float64)
    clip = clip + torch.linspace(0, 3, 32, dtype=torch.float64)[:, None]
    mixed, permutation = arrange(views, clip)
    tile = clip[..., :16] if permutation[0] == 0 else clip[..., 16:]
    for channel in range(3):
        rows, columns = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 16), indexing="ij")
        plane = np.stack([np.ones_like(rows), rows, columns], axis=-1).reshape(-1, 3)
        design = np.tile(plane, (8, 1))
        values = tile[channel].numpy().ravel()
        rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        scale = clip[channel].std().item() / rest.std(ddof=1)
        expected = rest * scale + clip[channel].mean().item()
        np.testing.assert_allclose(
            mixed[1][channel, :, :, :16].numpy().ravel(), expected, atol=1e-9
        )


@pytest.mark.parametrize("length", [1, 7, 15, 17, 400])
def test_frames_lie_in_the_video_and_cells_in_time_are_apart(length):
    views = JigsawPair(SPEC, grid=(2, 2, 2), permutations=8, time_gap=4)
    steps = set()
    for seed in range(60):
        plan = views.plan(length, 25.0, rng(seed))
        assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
        assert plan.order_V[0] == -1 and 0 <= plan.order_V[1] < 8
        steps.add(int(plan.ticks_VT[1, 4] - plan.ticks_VT[1, 3]) - SPEC.stride)
    if length == 400:
        assert steps == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"grid": (1, 1, 1)}, "views.grid"),
        ({"grid": (3, 2, 2)}, "views.grid"),
        ({"grid": (2, 2)}, "views.grid"),
        ({"grid": (1, 2, 1), "permutations": 3}, "views.permutations"),
        ({"gap": 0.8}, "views"),
    ],
)
def test_what_cannot_be_is_refused_by_name(keywords, named):
    with pytest.raises(UserError) as caught:
        JigsawPair(SPEC, **keywords)
    assert str(caught.value).startswith(named)


def test_pieces_are_where_the_tiles_are_put():
    views = JigsawPair(ClipSpec(8, 2), grid=(2, 2, 2), permutations=4, gap=0.25, equalise=False)
    clips = torch.rand(2, 3, 8, 32, 32)
    plan = views.plan(100, 25.0, np.random.default_rng(0))
    mixed = views.arrange(clips, plan, np.random.default_rng(1))[0][1]
    between = torch.ones(8, 32, 32, dtype=torch.bool)
    for box in views.pieces((8, 32, 32)):
        assert [side.stop - side.start for side in box] == [4, 12, 12]
        between[box] = False
    assert torch.unique(mixed[:, between]).numel() <= 3  # the mean colour
