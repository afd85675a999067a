"""A clip and the same clip with its tiles reshuffled; which permutation it is, is the label.

Noroozi and Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles"
(arXiv 1603.09246): a fixed set of permutations that are far from each other, to be told apart.
Misra and van der Maaten, "Self-Supervised Learning of Pretext-Invariant Representations" (PIRL,
arXiv 1912.01991): the reshuffled picture is a positive of the picture. In space and time: Kim et
al., "Self-Supervised Video Representation Learning with Space-Time Cubic Puzzles" (arXiv
1811.09795).

Against shortcuts: a tile is smaller than its cell and cut from somewhere in it, never up to its
sides, so that no line runs on across a seam; light and colour that change evenly across a tile are
taken out of it, and tiles are brought to one mean and spread, so that these do not run on either;
tiles of later cells in time come after a gap of drawn length.

Deviation: the tiles go through the network together, put back into one clip with gaps of the mean
colour between them, where the papers send each by itself; so any encoder and any method take them.

Shapes: V = 2 clips a video, T frames a clip, P permutations of N tiles, L ticks in the video.
"""

import hashlib
from collections.abc import Sequence
from itertools import permutations as all_permutations
from math import factorial, prod

import numpy as np
import torch
from torch import Tensor

from cvrl.data.clips import ClipSpec, Ints, Plan
from cvrl.data.view_base import Box, Views
from cvrl.utils.errors import UserError
from cvrl.utils.seed import numpy_rng

MOST_LISTED = 50_000  # all permutations of up to 8 tiles are looked at, of more a drawn sample
POOL = 10_000


def hamming_permutations(tiles: int, count: int, seed: int = 0) -> Ints:
    """Permutations that are far from each other, chosen greedily (Noroozi and Favaro, algorithm 1).

    Each further one is the candidate with the greatest mean Hamming distance to those chosen; among
    equals the first.

    Args:
        tiles: N, at least 2.
        count: P, at least 2.
        seed: of the first one and, for more than 8 tiles, of the candidates.

    Returns:
        (P, N), different rows; row p says which tile goes into each cell.

    Raises:
        UserError: more permutations than there are.

    Example:
        >>> hamming_permutations(3, 3).tolist()
        [[1, 0, 2], [0, 2, 1], [2, 1, 0]]
    """
    if not 2 <= count <= factorial(tiles):
        most = f"{tiles} tiles have {factorial(tiles)} permutations"
        raise UserError(f"views.permutations = {count}", most, "give at least 2 and no more")
    rng = numpy_rng(seed, tiles)
    if factorial(tiles) <= MOST_LISTED:
        pool = np.array(list(all_permutations(range(tiles))), dtype=np.int64)
        pool = rng.permutation(pool)
    else:
        drawn = np.stack([rng.permutation(tiles) for _ in range(max(POOL, 4 * count))])
        pool = np.unique(drawn, axis=0)[rng.permutation(len(np.unique(drawn, axis=0)))]
    chosen = [0]
    distance = np.zeros(len(pool))
    for _ in range(count - 1):
        distance += (pool != pool[chosen[-1]]).sum(axis=1)
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
    return pool[chosen].astype(np.int64)


class JigsawPair(Views):
    """A clip, and its tiles reshuffled by one of a stored set of permutations.

    Args:
        spec: the shape of a clip.
        grid: cells in time, height and width, such as [1, 3, 3] or [2, 2, 2].
        permutations: P, how many.
        seed: of the set of permutations; its hash is ``permutation_hash``.
        gap: a tile is smaller than its cell by this share, in [0, 0.5].
        time_gap: ticks between cells in time, at most; drawn for every visit.
        equalise: level the light in every tile, and bring it to the clip's mean and spread.

    Raises:
        UserError: a grid that cannot be, or more permutations than there are.

    Example:
        >>> views = JigsawPair(ClipSpec(frames=8, stride=2), grid=[2, 2, 2], permutations=24)
        >>> views.order_classes, views.permutation_hash
        (24, '5e6db203')
    """

    kinds = frozenset({"clips", "labelled"})
    clips = 2
    arranges = True
    trims = True  # a black bar tells the tiles of a side from all others

    def __init__(
        self,
        spec: ClipSpec,
        *,
        grid: Sequence[int] = (1, 3, 3),
        permutations: int = 64,
        seed: int = 0,
        gap: float = 0.125,
        time_gap: int = 4,
        equalise: bool = True,
    ) -> None:
        if len(grid) != 3 or min(grid) < 1 or prod(grid) < 2 or spec.frames % grid[0]:
            remedy = "give cells in time (a divisor of clip.frames), height and width: [1, 3, 3]"
            raise UserError(f"views.grid = {list(grid)}", "is no grid for these clips", remedy)
        if not 0 <= gap <= 0.5 or time_gap < 0:
            raise UserError("views", "needs a gap in [0, 0.5] and a time_gap of at least 0")
        self.spec = spec
        self.grid = tuple(grid)
        self.permutations = hamming_permutations(prod(grid), permutations, seed)
        self.permutation_hash = hashlib.sha256(self.permutations.tobytes()).hexdigest()[:8]
        self.order_classes = permutations
        self.gap = gap
        self.time_gap = time_gap
        self.equalise = equalise

    def plan(self, length: int, fps: float, rng: np.random.Generator) -> Plan:
        """Choose a clip, the gap between its cells in time, and a permutation."""
        cells = self.grid[0]
        room = self.spec.start_count(length) - 1
        most = min(self.time_gap, room // max(1, cells - 1)) if cells > 1 else 0
        step = int(rng.integers(most + 1))
        start = int(rng.integers(room - step * (cells - 1) + 1))
        later_T = np.repeat(np.arange(cells), self.spec.frames // cells) * step
        tick_T = start + self.spec.stride * np.arange(self.spec.frames)
        ticks_VT = np.stack([tick_T, tick_T + later_T])
        loop = self.spec.short_video == "loop"
        ticks_VT = ticks_VT % length if loop else np.minimum(ticks_VT, length - 1)
        order_V = np.array([-1, rng.integers(self.order_classes)])
        return Plan(ticks_VT, np.array([start, start]), order_V)

    def arrange(
        self, clips_VCTHW: Tensor, plan: Plan, rng: np.random.Generator
    ) -> tuple[Tensor, Ints]:
        """Reshuffle the tiles of the second clip."""
        clip_CTHW = clips_VCTHW[1]
        permutation_N = self.permutations[int(plan.order_V[1])]
        mixed_CTHW = clip_CTHW.mean(dim=(1, 2, 3), keepdim=True).expand_as(clip_CTHW).clone()
        shape_THW = clip_CTHW.shape[1:]
        cells = self._cells(shape_THW)
        for place, tile in zip(self.pieces(shape_THW), permutation_N, strict=True):
            part = clip_CTHW[(slice(None), *self._cut(cells[tile], rng))]
            part = _equalised(part, clip_CTHW) if self.equalise else part
            mixed_CTHW[(slice(None), *place)] = part
        return torch.stack([clips_VCTHW[0], mixed_CTHW]), plan.order_V

    def pieces(self, shape_THW: Sequence[int]) -> list[Box]:
        """Where the tiles stand: each in the middle of its cell, and whole in time."""
        return [
            (time, self._middle(down), self._middle(across))
            for time, down, across in self._cells(shape_THW)
        ]

    def _cells(self, shape_THW: Sequence[int]) -> list[Box]:
        """Cells of one size, in reading order; what does not divide stays in the margin."""
        sizes = [side // cells for side, cells in zip(shape_THW, self.grid, strict=True)]
        return [
            tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, sizes, strict=True))  # type: ignore[misc]
            for index in np.ndindex(*self.grid)
        ]

    def _tile(self, cell: slice) -> tuple[int, int]:
        """Along one axis, the size of a cell's tile and what it leaves."""
        side = cell.stop - cell.start
        tile = max(1, round(side * (1 - self.gap)))
        return tile, side - tile

    def _middle(self, cell: slice) -> slice:
        tile, rest = self._tile(cell)
        return slice(cell.start + rest // 2, cell.start + rest // 2 + tile)

    def _cut(self, cell: Box, rng: np.random.Generator) -> Box:
        """A tile somewhere in its cell, a quarter of the gap from either side, whole in time."""
        cut = []
        for side in cell[1:]:
            tile, rest = self._tile(side)
            margin = rest // 4
            first = side.start + margin + int(rng.integers(rest - 2 * margin + 1))
            cut.append(slice(first, first + tile))
        return (cell[0], cut[0], cut[1])


def _equalised(part: Tensor, whole: Tensor) -> Tensor:
    """A tile without even slopes, with the mean and spread, of each channel, of the whole clip."""
    dims = (1, 2, 3)
    mean, spread = whole.mean(dim=dims, keepdim=True), whole.std(dim=dims, keepdim=True)
    level = part - part.mean(dim=dims, keepdim=True)
    for axis in (2, 3):
        level = level - _slope(level, axis)
    return level / level.std(dim=dims, keepdim=True).clamp(min=1e-3) * spread + mean


def _slope(part: Tensor, axis: int) -> Tensor:
    """The straight line along an axis that fits a tile of mean 0 best, for each channel."""
    shape = [1, 1, 1, 1]
    shape[axis] = part.shape[axis]
    ramp = torch.linspace(-1, 1, part.shape[axis], dtype=part.dtype, device=part.device).view(shape)
    power = ramp.square().mean().clamp(min=1e-6)  # 0 for a tile one pixel wide
    return (part * ramp).mean(dim=(1, 2, 3), keepdim=True) / power * ramp


VIEWS = JigsawPair
