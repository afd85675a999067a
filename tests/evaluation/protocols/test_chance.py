"""Chance against every order, against draws, and against the rule of thumb for many classes."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvrl.evaluation.protocols.chance import (
    random_average_precision,
    random_median_rank,
    random_recall,
)


def ap_by_loop(right: list[bool]) -> float:
    hits, total = 0, 0.0
    for place, one in enumerate(right, start=1):
        hits += one
        total += one * hits / place
    return total / hits if hits else 0.0


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 6), r=st.integers(0, 6), k=st.integers(1, 8))
def test_equals_the_mean_over_every_order(n: int, r: int, k: int) -> None:
    r = min(r, n)
    orders = list(permutations([i < r for i in range(n)]))
    recall = np.mean([any(order[:k]) for order in orders])
    precision = np.mean([ap_by_loop(list(order)) for order in orders])
    n_Q, r_Q = np.array([n]), np.array([r])
    assert random_recall(n_Q, r_Q, k)[0] == pytest.approx(recall)
    assert random_average_precision(n_Q, r_Q)[0] == pytest.approx(precision)


def test_balanced_classes_of_a_large_gallery() -> None:
    """The rule of thumb for UCF101: 1 - (1 - 1/101)^k, in percent 1.0 4.9 9.5 18.0 39.2."""
    n_Q, r_Q = np.array([101 * 94]), np.array([94])
    shares = [100 * random_recall(n_Q, r_Q, k)[0] for k in (1, 5, 10, 20, 50)]
    assert shares == pytest.approx([1.0, 4.9, 9.5, 18.0, 39.2], abs=0.1)


def test_the_median_rank_against_draws() -> None:
    rng = np.random.default_rng(0)
    n_Q, r_Q = np.array([40, 30, 20]), np.array([1, 3, 2])
    ranks = [
        1 + int(np.flatnonzero(rng.permutation(n) < r)[0])
        for n, r in zip(n_Q, r_Q, strict=True)
        for _ in range(4000)
    ]
    assert random_median_rank(n_Q, r_Q) == pytest.approx(np.median(ranks), abs=1)


def test_queries_that_cannot_be_answered() -> None:
    n_Q, r_Q = np.array([5, 5, 5]), np.array([0, 0, 5])
    assert random_recall(n_Q, r_Q, 9).tolist() == [0.0, 0.0, 1.0]
    assert random_average_precision(n_Q, r_Q).tolist() == [0.0, 0.0, 1.0]
    assert random_median_rank(n_Q, r_Q) == 6.0
