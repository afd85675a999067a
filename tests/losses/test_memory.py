"""Losses against remembered negatives: plain loops with the papers' own N and Z, limits, masks."""

import math

import pytest
import torch
from torch.nn import functional as F

from cvrl.losses.memory import (
    are_negatives,
    memory_info_nce,
    memory_nce,
    memory_scores,
    memory_top1,
    nce_log_constant,
)


def unit(rows, dim=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=dtype))


def dot(x, y):
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def case(B=5, K=7, seed=0):
    """Queries (not of unit norm), positives, entries, and who is a negative of whom."""
    q_BD = 3.0 * unit(B, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    is_negative_BK = torch.rand(B, K, generator=generator) < 0.7
    is_negative_BK[:, 0] = True
    return q_BD, unit(B, seed=seed + 1), unit(K, seed=seed + 2), is_negative_BK


def scores_by_loop(q_BD, positive_BD, entry_KD, is_negative_BK, temperature):
    """One row a query: the positive's score, then those of its negatives and of no others."""
    rows = []
    for b, q in enumerate(q_BD.tolist()):
        q = [x / math.sqrt(dot(q, q)) for x in q]
        negatives = [k for k, is_one in enumerate(is_negative_BK[b]) if is_one]
        cosines = [dot(q, positive_BD[b].tolist())]
        cosines += [dot(q, entry_KD[k].tolist()) for k in negatives]
        rows.append([cosine / temperature for cosine in cosines])
    return rows


class TestNegatives:
    def test_equals_the_double_loop(self):
        video, group = [0, 1, 2, 3], [0, 0, 1, -1]
        video_K, group_K = [3, 0, -1, 9, 1], [-1, 0, -1, 1, 0]
        found = are_negatives(*(torch.tensor(ids) for ids in (video, group, video_K, group_K)))
        for b in range(4):
            for k in range(5):
                own = video[b] == video_K[k]
                kin = group[b] == group_K[k] and group[b] >= 0
                assert bool(found[b, k]) == (not own and not kin)


class TestScores:
    @pytest.mark.parametrize("temperature", [0.07, 1.0])
    def test_equal_the_loop(self, temperature):
        scores_BS = memory_scores(*case(), temperature)
        for row, expected in zip(scores_BS, scores_by_loop(*case(), temperature), strict=True):
            kept = row[row > -math.inf]
            torch.testing.assert_close(kept.tolist(), expected, atol=1e-9, rtol=0)

    def test_the_norm_of_a_query_does_not_count(self):
        q_BD, *rest = case()
        torch.testing.assert_close(
            memory_scores(q_BD, *rest, 0.1), memory_scores(9 * q_BD, *rest, 0.1)
        )

    def test_half_precision_and_autocast_are_computed_in_float32(self):
        q, positive, entry, mask = case()
        single = memory_scores(q.float(), positive.float(), entry.float(), mask, 0.07)
        with torch.autocast("cpu", torch.bfloat16):
            inside = memory_scores(q.float(), positive.float(), entry.float(), mask, 0.07)
            half = memory_scores(q.bfloat16(), positive.float(), entry.float(), mask, 0.07)
        assert torch.equal(inside, single)
        assert half.dtype == torch.float32
        assert memory_scores(q, positive, entry, mask, 0.07).dtype == torch.float64


class TestInfoNCE:
    @pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
    def test_equals_the_loop(self, temperature):
        rows = scores_by_loop(*case(), temperature)
        expected = [-s[0] + math.log(math.fsum(math.exp(x) for x in s)) for s in rows]
        found = memory_info_nce(memory_scores(*case(), temperature))
        assert float(found) == pytest.approx(sum(expected) / len(expected), abs=1e-9)

    def test_derivative(self):
        q, positive, entry, mask = case()
        q.requires_grad_()
        assert torch.autograd.gradcheck(
            lambda q: memory_info_nce(memory_scores(q, positive, entry, mask, 0.5)), q
        )
        memory_info_nce(memory_scores(q, positive, entry, mask, 0.5)).backward()
        assert bool((q.grad.norm(dim=1) > 0).all())

    def test_a_query_without_negatives_costs_and_teaches_nothing(self):
        q, positive, entry, mask = case()
        q.requires_grad_()
        mask = mask.clone()
        mask[1] = False
        loss = memory_info_nce(memory_scores(q, positive, entry, mask, 0.1))
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(q.grad).all()
        assert not q.grad[1].any() and q.grad[0].any()

    def test_a_sharp_temperature_does_not_overflow(self):
        q, positive, entry, mask = (t.float() if t.is_floating_point() else t for t in case())
        assert torch.isfinite(memory_info_nce(memory_scores(q, positive, entry, mask, 1e-3)))


def nce_by_loop(rows, Z, N):
    """Equations 4 to 7 of NPID with a bank of N, word for word."""
    losses = []
    for scores in rows:
        m, noise = len(scores) - 1, 1 / N
        P = [math.exp(s) / Z for s in scores]
        h = [p / (p + m * noise) for p in P]
        losses.append(-math.log(h[0]) - math.fsum(math.log(1 - x) for x in h[1:]))
    return sum(losses) / len(losses)


class TestNCE:
    @pytest.mark.parametrize("N", [10, 1000, 240_000])
    def test_equals_the_papers_equations_for_every_size_of_the_bank(self, N):
        rows = scores_by_loop(*case(), 0.2)
        negatives = [math.exp(s) for row in rows for s in row[1:]]
        Z = N * math.fsum(negatives) / len(negatives)
        scores_BS = memory_scores(*case(), 0.2)
        log_constant = nce_log_constant(scores_BS)
        assert float(log_constant) == pytest.approx(math.log(Z / N), abs=1e-9)
        found = memory_nce(scores_BS, log_constant)
        assert float(found) == pytest.approx(nce_by_loop(rows, Z, N), abs=1e-6)

    def test_a_constant_of_another_batch(self):
        rows = scores_by_loop(*case(seed=5), 0.5)
        found = memory_nce(memory_scores(*case(seed=5), 0.5), torch.tensor(1.3))
        assert float(found) == pytest.approx(nce_by_loop(rows, 50 * math.exp(1.3), 50), abs=1e-6)

    def test_derivative(self):
        q, positive, entry, mask = case()
        constant = torch.tensor(0.7)
        assert torch.autograd.gradcheck(
            lambda q: memory_nce(memory_scores(q, positive, entry, mask, 0.5), constant),
            q.requires_grad_(),
        )

    def test_scores_far_out_stay_finite(self):
        scores_BS = torch.tensor([[900.0, -900.0], [-900.0, 900.0], [0.0, -math.inf]])
        scores_BS.requires_grad_()
        loss = memory_nce(scores_BS, torch.tensor(0.0))
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(scores_BS.grad).all()
        assert loss.item() == pytest.approx(1800 / 3)
        assert not scores_BS.grad[2].any()

    def test_the_constant_of_no_negatives_is_harmless(self):
        scores_BS = torch.tensor([[1.0, -math.inf, -math.inf]])
        assert float(nce_log_constant(scores_BS)) == 0.0
        assert float(memory_nce(scores_BS, nce_log_constant(scores_BS))) == 0.0

    def test_the_constant_takes_no_part_in_the_gradient(self):
        scores_BS = memory_scores(*case(), 0.2).requires_grad_()
        assert not nce_log_constant(scores_BS).requires_grad


def test_top1_counts_positives_above_all_negatives():
    scores_BS = torch.tensor(
        [[1.0, 0.5, -math.inf], [0.2, 0.5, 0.1], [3.0, 2.9, 0.0], [0.0, 1.0, 2.0]]
    )
    assert float(memory_top1(scores_BS)) == 0.5
