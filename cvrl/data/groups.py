"""Source groups of videos: their numbers, joining them, and drawing some of them to hold out."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def group_ids(group: pa.ChunkedArray) -> NDArray[np.int64]:
    """Number the groups, without regard to case.

    Args:
        group: names; a video without one gets a number that no other has.

    Example:
        >>> group_ids(pa.chunked_array([["Run_g01", None, "run_g01", None]])).tolist()
        [0, 1, 0, 2]
    """
    codes = pa.chunked_array(pc.utf8_lower(group).dictionary_encode()).combine_chunks()
    ids = np.array(codes.indices.fill_null(-1), dtype=np.int64)
    alone = ids < 0
    ids[alone] = len(codes.dictionary) + np.arange(alone.sum())
    return ids


def join_groups(
    path: Sequence[str], group: Sequence[str | None], alike: Sequence[Sequence[int]]
) -> list[str | None]:
    """Give rows that are one video one group, and with them the whole groups they are of.

    Args:
        path: of each row; the name of a group for want of another.
        group: of each row.
        alike: lists of rows that are one video.

    Example:
        >>> join_groups(["a", "b", "c", "d"], [None, "x", "y", "y"], [[1, 2]])
        [None, 'x', 'x', 'x']
    """
    names = [name or path[row] for row, name in enumerate(group)]
    became: dict[str, str] = {}

    def final(name: str) -> str:
        while name in became:
            name = became[name]
        return name

    for rows in alike:
        named_first = sorted(rows, key=lambda row: group[row] is None)
        first, *others = dict.fromkeys(final(names[row]) for row in named_first)
        became |= dict.fromkeys(others, first)
    touched = {name for rows in alike for name in (final(names[row]) for row in rows)}
    found = [final(name) for name in names]
    return [
        joined if joined in touched else name for joined, name in zip(found, group, strict=True)
    ]


def draw_groups(
    size_G: NDArray[np.int64],
    label_G: NDArray[np.int64],
    fraction: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Draw groups to hold out, label by label.

    Args:
        size_G: videos of each group.
        label_G: label of each group.
        fraction: of the videos of a label to be held out.
        rng: decides which.

    Returns:
        (G,) whether a group is held out.
    """
    order_G = rng.permutation(len(size_G))
    order_G = order_G[np.argsort(label_G[order_G], kind="stable")]
    held_G = np.zeros(len(size_G), dtype=np.bool_)
    for drawn in np.split(order_G, np.flatnonzero(np.diff(label_G[order_G])) + 1):
        held_G[drawn[: _nearest_count(size_G[drawn], fraction)]] = True
    return held_G


def _nearest_count(sizes: NDArray[np.int64], fraction: float) -> int:
    """How many leading groups come nearest to a fraction of all; some and not all, if possible."""
    if len(sizes) < 2:
        return 0
    taken = np.cumsum(sizes)
    distance = np.abs(taken - fraction * taken[-1])[:-1]
    return int(np.argmin(distance)) + 1
