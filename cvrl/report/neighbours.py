"""Which videos an encoder takes for alike: some queries with their nearest neighbours.

With labels, test videos search among the training videos and a neighbour of the query's class is
right. Without, the first clip of a video searches among the last clips of all, and its own video is
right. The queries are drawn at random, never chosen by their outcome.

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
    """A video, or a clip of it, as it is shown.

    Attributes:
        path: of the video.
        start: of the shown part in seconds.
        caption: its label, or its file's name, as event/camera where names repeat.
    """

    path: str
    start: float
    caption: str


@dataclass(frozen=True)
class Hit:
    """A neighbour.

    Attributes:
        entry: what was found.
        right: whether it is of the query's class, or of its video.
        similarity: cosine.
    """

    entry: Entry
    right: bool
    similarity: float


@dataclass(frozen=True)
class Search:
    """A query and what each network finds.

    Attributes:
        query: what was searched for.
        found: by network, the nearest first.
    """

    query: Entry
    found: dict[str, list[Hit]]


@dataclass(frozen=True)
class Neighbourhood:
    """Searches to show, and how all of them went.

    Attributes:
        searches: the shown ones.
        share_right: by network: with labels, the mean share of right ones among the k nearest;
            without, the share of queries that find their own video among the k nearest.
        k: neighbours.
        queries: searches in all.
        by_label: whether right means the same class, or the same video.
    """

    searches: list[Search]
    share_right: dict[str, float]
    k: int
    queries: int
    by_label: bool


@dataclass(frozen=True)
class _Hunt:
    """Queries and gallery of a comparison: what is shown of them and what counts."""

    queries: list[Entry]
    gallery: list[Entry]
    kind_Q: NDArray[np.int64]  # what queries are spread over when some are drawn
    right_QG: NDArray[np.bool_]
    barred_QG: NDArray[np.bool_]
    vectors: dict[str, tuple[Tensor, Tensor]]


def find_neighbours(
    comparison: Comparison, *, k: int = 5, shown: int = 8, seed: int = 0
) -> Neighbourhood:
    """Search with every video of the test part, by the trained and the untrained network.

    Args:
        comparison: features of both.
        k: neighbours a query.
        shown: how many queries to keep for showing, spread over the classes.
        seed: of their choice.
    """
    by_label = comparison.train is not None
    hunt = _by_label(comparison) if by_label else _by_instance(comparison)
    k = min(k, len(hunt.gallery))
    rank = {name: _search(hunt, name, k) for name in NETWORKS}
    rows = np.arange(len(hunt.queries))[:, None]
    shares = {}
    for name, (column_QK, _) in rank.items():
        right_QK = hunt.right_QG[rows, column_QK]
        shares[name] = float(right_QK.mean() if by_label else right_QK.any(axis=1).mean())
    searches = [
        Search(hunt.queries[q], {name: _hits(hunt, q, *rank[name]) for name in NETWORKS})
        for q in _draw(hunt.kind_Q, shown, seed)
    ]
    return Neighbourhood(searches, shares, k, len(hunt.queries), by_label)


def _by_label(comparison: Comparison) -> _Hunt:
    test, train = comparison.test, comparison.train
    assert train is not None  # the caller has looked
    right_QG = test.label_ids[:, None] == train.label_ids
    return _Hunt(
        queries=_entries(test, [0.0] * len(test)),
        gallery=_entries(train, [0.0] * len(train)),
        kind_Q=test.label_ids,
        right_QG=right_QG,
        barred_QG=np.zeros_like(right_QG),
        vectors={n: (comparison.test_means(n), comparison.train_means(n)) for n in NETWORKS},
    )


def _by_instance(comparison: Comparison) -> _Hunt:
    test = comparison.test
    right_QG = np.eye(len(test), dtype=bool)
    same_group_QG = test.group_ids[:, None] == test.group_ids
    ends = {name: _first_and_last(comparison.test_features[name]) for name in NETWORKS}
    (_, first_start), (_, last_start) = ends["trained"]
    return _Hunt(
        queries=_entries(test, first_start),
        gallery=_entries(test, last_start),
        kind_Q=np.arange(len(test)),
        right_QG=right_QG,
        barred_QG=same_group_QG & ~right_QG,
        vectors={name: (first[0], last[0]) for name, (first, last) in ends.items()},
    )


def _first_and_last(features: Features) -> tuple[tuple[Tensor, list[float]], ...]:
    """Vectors and starts of the earliest and of the latest clip of every video."""
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
    """The file's name, after its folder (the event) where several files have that name."""
    file = Path(path)
    return f"{file.parent.name}/{file.name}" if file.name in repeated else file.name


def _search(hunt: _Hunt, name: str, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns and similarities of the k nearest gallery entries of every query."""
    query_QD, gallery_GD = (F.normalize(v.float(), dim=1) for v in hunt.vectors[name])
    similarity_QG = query_QD @ gallery_GD.T
    similarity_QG[torch.from_numpy(hunt.barred_QG)] = -2.0  # below every cosine
    best = similarity_QG.topk(k)
    return best.indices.numpy(), best.values.numpy()


def _hits(
    hunt: _Hunt, q: int, column_QK: NDArray[np.int64], similarity_QK: NDArray[np.float32]
) -> list[Hit]:
    return [
        Hit(hunt.gallery[g], bool(hunt.right_QG[q, g]), float(similarity))
        for g, similarity in zip(column_QK[q], similarity_QK[q], strict=True)
        if not hunt.barred_QG[q, g]
    ]


def _draw(kind_Q: NDArray[np.int64], shown: int, seed: int) -> list[int]:
    """Some queries at random, taking turns among the kinds, in the order of the kinds."""
    order = numpy_rng(seed).permutation(len(kind_Q))
    turn: dict[int, int] = {}
    ranked: list[tuple[int, int, int, int]] = []  # its turn, its place, kind, query
    for q in order:
        kind = int(kind_Q[q])
        turn[kind] = turn.get(kind, 0) + 1
        ranked.append((turn[kind], len(ranked), kind, int(q)))
    chosen = sorted(ranked)[:shown]
    return [q for _, _, _, q in sorted(chosen, key=lambda one: (one[2], one[0]))]
