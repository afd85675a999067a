"""What a random order of the answers scores: exact values, not simulations.

A query has n candidates of which r are right. Shape suffix: Q queries.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def random_recall(n_Q: Ints, r_Q: Ints, k: int) -> Floats:
    """How likely one or more of the first k of n shuffled candidates is right.

    One minus the chance that all k fall on the n - r wrong ones, drawn without replacement. With
    balanced classes and a large gallery this is nearly ``1 - (1 - 1 / C) ** k``.

    Args:
        n_Q: candidates of each query, 1 or more.
        r_Q: right ones among them, 0 to n.
        k: how many are looked at, 1 or more.

    Returns:
        Shares in [0, 1].

    Example:
        >>> random_recall(np.array([4, 4]), np.array([1, 3]), k=2).tolist()
        [0.5, 1.0]
    """
    miss_Q = np.ones(len(n_Q))
    for drawn in range(k):
        left_Q = np.maximum(n_Q - drawn, 1)  # beyond the end nothing is left to miss with
        miss_Q *= np.maximum(n_Q - r_Q - drawn, 0) / left_Q
    return 1 - np.where(r_Q > 0, miss_Q, 1.0)


def random_average_precision(n_Q: Ints, r_Q: Ints) -> Floats:
    """The mean average precision of all orders of n candidates with r right ones; 0 where r is 0.

    A right candidate at place i sees (i - 1) (r - 1) / (n - 1) right ones before it on average, so
    the mean over places is (H_n + (r - 1) / (n - 1) (n - H_n)) / n, with H_n the harmonic number.

    Args:
        n_Q: candidates of each query, 1 or more.
        r_Q: right ones among them, 0 to n.

    Example:
        >>> random_average_precision(np.array([2, 2, 5]), np.array([1, 2, 0])).tolist()
        [0.75, 1.0, 0.0]
    """
    places = np.arange(1, int(n_Q.max()) + 1)
    harmonic_Q = np.cumsum(1 / places)[n_Q - 1]
    before_Q = (r_Q - 1) / np.maximum(n_Q - 1, 1)
    mean_Q = (harmonic_Q + before_Q * (n_Q - harmonic_Q)) / n_Q
    return np.where(r_Q > 0, mean_Q, 0.0)


def random_median_rank(n_Q: Ints, r_Q: Ints) -> float:
    """The least rank by which half of the queries have found a right candidate, on average.

    Args:
        n_Q: candidates of each query, 1 or more.
        r_Q: right ones among them, 0 to n.

    Returns:
        A rank, counted from 1; one more than the most candidates where half never find any.

    Example:
        >>> random_median_rank(np.array([10, 10]), np.array([1, 1]))
        5.0
    """
    pairs, count = np.unique(np.stack([n_Q, r_Q]), axis=1, return_counts=True)
    n, r = pairs
    miss = np.ones(len(n))
    for rank in range(1, int(n.max()) + 1):
        miss *= np.maximum(n - r - rank + 1, 0) / np.maximum(n - rank + 1, 1)
        found = np.where(r > 0, 1 - miss, 0.0)
        if (found * count).sum() >= count.sum() / 2 - 1e-9:
            return float(rank)
    return float(n.max() + 1)
