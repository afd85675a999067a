"""Nearest neighbours of some queries, by the trained and the random-init network.

With labels, the queries are test videos and the gallery is the training videos; a neighbour of the
query's class is right. Without labels, the queries are the first clips of all videos and the
gallery their last clips; the query's own video is right. The shown queries are drawn at random.

Shapes: Q queries, G gallery entries, D dimensions.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.extraction import Features
from cvrl.report.comparison import Comparison
from cvrl.utils.seed import numpy_rng

NETWORKS = ("trained", "untrained")


@dataclass(frozen=True)
class Entry:
    """A shown video or clip.

    Attributes:
        path: of the video.
        start: of the shown part in seconds.
        caption: label, or file name; with its folder if the file name is not unique.
    """

    path: str
    start: float
    caption: str


@dataclass(frozen=True)
class Hit:
    """A neighbour.

    Attributes:
        entry: the neighbour.
        right: whether it has the query's class, or is from the query's video.
        similarity: cosine.
    """

    entry: Entry
    right: bool
    similarity: float


@dataclass(frozen=True)
class Search:
    """A query with its nearest neighbours.

    Attributes:
        query: the query.
        found: neighbours by network, the nearest first.
    """

    query: Entry
    found: dict[str, list[Hit]]


@dataclass(frozen=True)
class Neighbourhood:
    """Searches to show, and the scores of all searches.

    Attributes:
        searches: the shown searches.
        share_right: by network: with labels, the mean share of right neighbours among the k
            nearest; without, the share of queries with their own video among the k nearest.
        k: neighbours per query.
        queries: number of all searches.
        by_label: whether a right neighbour has the same class, or is the same video.
    """

    searches: list[Search]
    share_right: dict[str, float]
    k: int
    queries: int
    by_label: bool


@dataclass(frozen=True)
class _Queries:
    """Queries and gallery of a comparison."""

    queries: list[Entry]
    gallery: list[Entry]
    kind_Q: NDArray[np.int64]  # class or video, which shown queries are spread over
    right_QG: NDArray[np.bool_]
    barred_QG: NDArray[np.bool_]
    vectors: dict[str, tuple[Tensor, Tensor]]


def find_neighbours(
    comparison: Comparison, *, k: int = 5, shown: int = 8, seed: int = 0
) -> Neighbourhood:
    """Find the nearest neighbours of every test video by both networks.

    Args:
        comparison: features of both networks.
        k: neighbours per query.
        shown: how many queries to show, spread over the classes.
        seed: of the shown queries.
    """
    by_label = comparison.train is not None
    search_set = _by_label(comparison) if by_label else _by_instance(comparison)
    k = min(k, len(search_set.gallery))
    rank = {name: _search(search_set, name, k) for name in NETWORKS}
    rows = np.arange(len(search_set.queries))[:, None]
    shares = {}
    for name, (column_QK, _) in rank.items():
        right_QK = search_set.right_QG[rows, column_QK]
        shares[name] = float(right_QK.mean() if by_label else right_QK.any(axis=1).mean())
    searches = [
        Search(
            search_set.queries[q], {name: _hits(search_set, q, *rank[name]) for name in NETWORKS}
        )
        for q in _draw(search_set.kind_Q, shown, seed)
    ]
    return Neighbourhood(searches, shares, k, len(search_set.queries), by_label)


def _by_label(comparison: Comparison) -> _Queries:
    test, train = comparison.test, comparison.train
    assert train is not None  # checked by the caller
    right_QG = test.label_ids[:, None] == train.label_ids
    return _Queries(
        queries=_entries(test, [0.0] * len(test)),
        gallery=_entries(train, [0.0] * len(train)),
        kind_Q=test.label_ids,
        right_QG=right_QG,
        barred_QG=np.zeros_like(right_QG),
        vectors={n: (comparison.test_means(n), comparison.train_means(n)) for n in NETWORKS},
    )


def _by_instance(comparison: Comparison) -> _Queries:
    test = comparison.test
    right_QG = np.eye(len(test), dtype=bool)
    same_group_QG = test.group_ids[:, None] == test.group_ids
    ends = {name: _first_and_last(comparison.test_features[name]) for name in NETWORKS}
    (_, first_start), (_, last_start) = ends["trained"]
    return _Queries(
        queries=_entries(test, first_start),
        gallery=_entries(test, last_start),
        kind_Q=np.arange(len(test)),
        right_QG=right_QG,
        barred_QG=same_group_QG & ~right_QG,
        vectors={name: (first[0], last[0]) for name, (first, last) in ends.items()},
    )


def _first_and_last(features: Features) -> tuple[tuple[Tensor, list[float]], ...]:
    """Vectors and start times of the first and the last clip of every video."""
    index_N = features.index_N.numpy()
    last_row = np.append(np.flatnonzero(np.diff(index_N)), len(index_N) - 1)
    first_row = np.append(0, last_row[:-1] + 1)
    return tuple(
        (features.vectors_ND[rows], features.start_N[rows].tolist())
        for rows in (torch.from_numpy(first_row), torch.from_numpy(last_row))
    )


def _entries(videos: Manifest, starts: list[float]) -> list[Entry]:
    labels = videos.table["label"].to_pylist()
    names = Counter(Path(path).name for path in videos.paths)
    repeated = {name for name, count in names.items() if count > 1}
    return [
        Entry(path, start, label if label is not None else _file_caption(path, repeated))
        for path, start, label in zip(videos.paths, starts, labels, strict=True)
    ]


def _file_caption(path: str, repeated: set[str]) -> str:
    """File name; with its folder (the event) if several files have that name."""
    file = Path(path)
    return f"{file.parent.name}/{file.name}" if file.name in repeated else file.name


def _search(
    search_set: _Queries, name: str, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns and similarities of the k nearest gallery entries of every query."""
    query_QD, gallery_GD = (F.normalize(v.float(), dim=1) for v in search_set.vectors[name])
    similarity_QG = query_QD @ gallery_GD.T
    similarity_QG[torch.from_numpy(search_set.barred_QG)] = -2.0  # below every cosine
    best = similarity_QG.topk(k)
    return best.indices.numpy(), best.values.numpy()


def _hits(
    search_set: _Queries, q: int, column_QK: NDArray[np.int64], similarity_QK: NDArray[np.float32]
) -> list[Hit]:
    return [
        Hit(search_set.gallery[g], bool(search_set.right_QG[q, g]), float(similarity))
        for g, similarity in zip(column_QK[q], similarity_QK[q], strict=True)
        if not search_set.barred_QG[q, g]
    ]


def _draw(kind_Q: NDArray[np.int64], shown: int, seed: int) -> list[int]:
    """Draw queries at random, evenly from all kinds, and sort them by kind."""
    order = numpy_rng(seed).permutation(len(kind_Q))
    turn: dict[int, int] = {}
    ranked: list[tuple[int, int, int, int]] = []  # turn, place, kind, query
    for q in order:
        kind = int(kind_Q[q])
        turn[kind] = turn.get(kind, 0) + 1
        ranked.append((turn[kind], len(ranked), kind, int(q)))
    chosen = sorted(ranked)[:shown]
    return [q for _, _, _, q in sorted(chosen, key=lambda one: (one[2], one[0]))]
