"""Alignment against plain loops and known answers; warping against every possible path."""

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from cvrl.data.manifest import make_manifest
from cvrl.evaluation.features.extraction import Features
from cvrl.evaluation.protocols import alignment as al
from cvrl.utils.errors import UserError


def film(length: int, seed: int = 0, dim: int = 3) -> torch.Tensor:
    return torch.randn(length, dim, generator=torch.Generator().manual_seed(seed))


def phase(length: int) -> torch.Tensor:
    return torch.linspace(0, 1, length)[:, None]


def nearest_by_loop(a: torch.Tensor, b: torch.Tensor) -> list[int]:
    squares = [[math.dist(x, y) for y in b.tolist()] for x in a.tolist()]
    return [row.index(min(row)) for row in squares]


class TestAlignmentError:
    @settings(max_examples=30, deadline=None)
    @given(length=st.integers(1, 30), seed=st.integers(0, 1000))
    def test_it_is_the_loop(self, length: int, seed: int) -> None:
        a, b = film(length, seed), film(length, seed + 1)
        off = [abs(i - j) for i, j in enumerate(nearest_by_loop(a, b))]
        expected = math.fsum(off) / length / length
        assert al.alignment_error(a, b) == pytest.approx(expected)

    def test_perfect_and_constant(self) -> None:
        assert al.alignment_error(phase(50), phase(50)) == 0.0
        constant = torch.full((50, 4), 0.3)
        assert al.alignment_error(constant, constant) == al.constant_match_error(50, 0) == 0.49

    def test_a_shift_of_some_frames_is_their_share(self) -> None:
        shifted = torch.arange(100.0)[:, None] + 3
        assert al.alignment_error(torch.arange(100.0)[:, None], shifted) == pytest.approx(
            (97 * 3 + 2 + 1) / 100 / 100, abs=3e-4
        )

    def test_noise_is_a_third(self) -> None:
        errors = [al.alignment_error(film(60, s), film(60, s + 999)) for s in range(80)]
        assert np.mean(errors) == pytest.approx(al.random_match_error(60), abs=0.01)

    def test_the_directions_differ(self) -> None:
        a = torch.tensor([[0.0], [0.0], [0.0], [3.0]])
        assert al.alignment_error(a, phase(4)) != al.alignment_error(phase(4), a)

    @pytest.mark.parametrize(("n", "m"), [(3, 4), (0, 0)])
    def test_films_that_cannot_be_compared(self, n: int, m: int) -> None:
        with pytest.raises(ValueError, match="cannot be aligned"):
            al.alignment_error(film(n), film(m))


class TestAnchors:
    @pytest.mark.parametrize("length", [1, 2, 7, 40])
    def test_they_are_the_average_over_all_answers(self, length: int) -> None:
        every = [abs(i - j) for i in range(length) for j in range(length)]
        assert al.random_match_error(length) == pytest.approx(np.mean(every) / length)
        for answer in range(length):
            off = np.mean([abs(i - answer) for i in range(length)]) / length
            assert al.constant_match_error(length, answer) == pytest.approx(off)

    def test_their_limits(self) -> None:
        assert al.random_match_error(10_000) == pytest.approx(1 / 3)
        assert al.constant_match_error(10_000, 0) == pytest.approx(1 / 2, abs=1e-4)
        assert al.constant_match_error(10_000, 5_000) == pytest.approx(1 / 4)

    def test_the_middle_is_the_best_constant(self) -> None:
        errors = [al.constant_match_error(31, answer) for answer in range(31)]
        assert int(np.argmin(errors)) == 15


class TestKendall:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, 5), min_size=2, max_size=25))
    def test_it_is_scipys(self, ranks: list[int]) -> None:
        theirs = kendalltau(range(len(ranks)), ranks).statistic
        expected = 0.0 if math.isnan(theirs) else theirs
        assert al.kendall_tau(np.array(ranks)) == pytest.approx(expected)

    def test_no_frames_and_one_frame(self) -> None:
        assert al.kendall_tau(np.array([], np.int64)) == al.kendall_tau(np.array([3])) == 0.0

    @settings(max_examples=20, deadline=None)
    @given(lengths=st.lists(st.integers(2, 12), min_size=2, max_size=4), seed=st.integers(0, 99))
    def test_over_ordered_pairs(self, lengths: list[int], seed: int) -> None:
        films = [film(length, seed + i) for i, length in enumerate(lengths)]
        taus = []
        for i, a in enumerate(films):
            for j, b in enumerate(films):
                if i != j:
                    tau = kendalltau(range(len(a)), nearest_by_loop(a, b)).statistic
                    taus.append(0.0 if math.isnan(tau) else tau)
        assert al.phase_tau(films) == pytest.approx(math.fsum(taus) / len(taus))

    def test_the_phase_is_found_at_any_speed(self) -> None:
        assert al.phase_tau([phase(20), phase(20)]) == 1.0
        assert al.phase_tau([phase(20), phase(35), phase(61)]) > 0.95
        assert al.phase_tau([phase(20), phase(20).flip(0)]) == -1.0

    def test_a_collapsed_film_counts_as_0(self) -> None:
        """Leaving it out would make this 1."""
        collapsed = torch.zeros(20, 1)
        assert al.phase_tau([phase(20), phase(20), collapsed]) == pytest.approx(2 / 6)

    def test_one_film(self) -> None:
        with pytest.raises(ValueError, match="two"):
            al.phase_tau([phase(3)])


class TestScores:
    def test_pairs_events_and_directions(self) -> None:
        events = [[film(9, 1), film(9, 2), film(9, 3)], [film(7, 4), film(7, 5), film(7, 6)]]
        found = al.score_alignment(events)
        forward, backward = [], []
        for cameras in events:
            for a in range(3):
                for b in range(a + 1, 3):
                    forward.append(al.alignment_error(cameras[a], cameras[b]))
                    backward.append(al.alignment_error(cameras[b], cameras[a]))
        assert found.forward == pytest.approx(np.mean(forward))
        assert found.backward == pytest.approx(np.mean(backward))
        assert found.error == pytest.approx((found.forward + found.backward) / 2)
        assert (found.n_events, found.n_pairs, found.lengths) == (2, 6, [9, 7])
        assert found.kendall_tau == pytest.approx(al.phase_tau(events[0] + events[1]))

    def test_films_are_compared_over_the_shortest(self) -> None:
        longer = torch.cat([phase(10), torch.full((3, 1), 9.0)])
        assert al.score_alignment([[phase(10), longer]]).error == 0.0

    @pytest.mark.parametrize("films", [[], [[film(3)]], [[film(3), film(3)], [film(3)]]])
    def test_too_few_films(self, films: list[list[torch.Tensor]]) -> None:
        with pytest.raises(ValueError, match="two cameras"):
            al.score_alignment(films)

    def test_films_are_sorted_into_their_events(self) -> None:
        """Events need not lie together in the list, and films differ in length."""
        columns = {
            "path": ["x/0.mp4", "y/0.mp4", "x/1.mp4", "y/1.mp4"],
            "event": ["x", "y", "x", "y"],
        }
        index = torch.tensor([0, 0, 1, 2, 2, 2, 3])
        vectors = torch.arange(7.0)[:, None]
        features = Features(vectors, index, torch.zeros(7), torch.zeros(7), 4)
        found = al.films_by_event(features, make_manifest(columns, root="/"))
        shown = [[film[:, 0].tolist() for film in event] for event in found]
        assert shown == [[[0.0, 1.0], [3.0, 4.0, 5.0]], [[2.0], [6.0]]]

    def test_lists_without_events(self) -> None:
        with pytest.raises(UserError, match=r"does not name events .* data\.cameras"):
            al.check_events(make_manifest({"path": ["a.mp4"]}, root="/"))
        columns = {"path": ["x/0.mp4", "y/0.mp4", "x/1.mp4"], "event": ["x", "y", "x"]}
        with pytest.raises(UserError, match="event y: has one film"):
            al.check_events(make_manifest(columns, root="/"))


def paths(t: int, n: int) -> Iterator[list[tuple[int, int]]]:
    """Every path from (0, 0) to (t, n)."""
    if (t, n) == (0, 0):
        yield [(0, 0)]
        return
    for dt, dn in ((1, 1), (1, 0), (0, 1)):
        if t >= dt and n >= dn:
            for before in paths(t - dt, n - dn):
                yield [*before, (t, n)]


class TestWarping:
    @settings(max_examples=40, deadline=None)
    @given(t=st.integers(1, 4), n=st.integers(1, 4), seed=st.integers(0, 1000))
    def test_no_path_is_cheaper(self, t: int, n: int, seed: int) -> None:
        cost = np.random.default_rng(seed).random((t, n))
        found = [tuple(step) for step in al.dtw(cost).tolist()]
        every = list(paths(t - 1, n - 1))
        assert found in every
        cheapest = min(sum(cost[step] for step in path) for path in every)
        assert sum(cost[step] for step in found) == pytest.approx(cheapest)

    def test_against_the_recursion(self) -> None:
        cost = np.random.default_rng(0).random((20, 31))

        @cache
        def total(t: int, n: int) -> float:
            if min(t, n) < 0:
                return math.inf
            if t == n == 0:
                return float(cost[0, 0])
            return float(cost[t, n]) + min(total(t - 1, n - 1), total(t - 1, n), total(t, n - 1))

        path = al.dtw(cost)
        assert cost[path[:, 0], path[:, 1]].sum() == pytest.approx(total(19, 30))

    def test_equal_sequences_go_straight(self) -> None:
        cost = al.distances(phase(9), phase(9)).numpy()
        assert al.dtw(cost).tolist() == [[i, i] for i in range(9)]
        assert al.dtw(np.zeros((4, 4))).tolist() == [[i, i] for i in range(4)]

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
    def test_an_empty_sequence(self, shape: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="empty"):
            al.dtw(np.zeros(shape))


class TestReward:
    def test_it_is_the_formula(self) -> None:
        v, w = film(6, 1), film(6, 2)
        found = al.imitation_reward(v, w, alpha=0.3, beta=0.7, gamma=0.01)
        for t in range(6):
            square = math.fsum(
                (x - y) ** 2 for x, y in zip(v[t].tolist(), w[t].tolist(), strict=True)
            )
            assert found[t] == pytest.approx(-0.3 * square - 0.7 * math.sqrt(0.01 + square))

    def test_the_most_it_can_be(self) -> None:
        shown = film(5)
        for match in ("time", "dtw"):
            found = al.imitation_reward(shown, shown, match=match)  # type: ignore[arg-type]
            np.testing.assert_allclose(found, -0.5 * math.sqrt(1e-3))

    def test_pace_does_not_count_under_warping(self) -> None:
        shown = film(6)
        slow = shown.repeat_interleave(3, dim=0)
        best = -0.5 * math.sqrt(1e-3)
        np.testing.assert_allclose(al.imitation_reward(shown, slow, match="dtw"), best)
        np.testing.assert_allclose(al.imitation_reward(slow, shown, match="dtw"), best)
        late = torch.cat([shown[:1], shown[:-1]])
        by_time, warped = (
            al.imitation_reward(shown, late, match=m).sum()  # type: ignore[arg-type]
            for m in ("time", "dtw")
        )
        assert warped > by_time

    def test_order_does_count(self) -> None:
        shown = phase(8)
        forward = al.imitation_reward(shown, shown, match="dtw").sum()
        assert al.imitation_reward(shown, shown.flip(0), match="dtw").sum() < forward

    def test_nearer_is_better(self) -> None:
        shown = torch.zeros(1, 2)
        rewards = [
            float(al.imitation_reward(shown, torch.tensor([[d, 0.0]]))[0]) for d in (0, 0.1, 1, 5)
        ]
        assert rewards == sorted(rewards, reverse=True)

    def test_what_cannot_be_matched(self) -> None:
        with pytest.raises(ValueError, match="match='dtw'"):
            al.imitation_reward(film(3), film(4))
        with pytest.raises(ValueError, match="'time' or 'dtw'"):
            al.imitation_reward(film(3), film(3), match="luck")  # type: ignore[arg-type]
