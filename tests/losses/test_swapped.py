"""Sinkhorn's codes are balanced, and the swapped prediction is the cross entropy it should be."""

import math

import pytest
import torch
from torch.nn import functional as F

from cvrl.losses.swapped import sinkhorn, swapped_prediction, usage_entropy


def cosines(B, K, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    z, c = (
        F.normalize(torch.randn(n, 6, generator=generator, dtype=torch.float64)) for n in (B, K)
    )
    return (z @ c.T).to(dtype)


def sinkhorn_by_loop(scores, epsilon, iterations):
    """The published form: exponentials, one sum and one division at a time."""
    B, K = len(scores), len(scores[0])
    Q = [[math.exp(s / epsilon) for s in row] for row in scores]
    for _ in range(iterations):
        for k in range(K):
            total = math.fsum(Q[b][k] for b in range(B))
            for b in range(B):
                Q[b][k] /= total * K
        for b in range(B):
            total = math.fsum(Q[b])
            Q[b] = [q / (total * B) for q in Q[b]]
    return [[q * B for q in row] for row in Q]


@pytest.mark.parametrize(("B", "K"), [(1, 3), (8, 3), (5, 20), (16, 16)])
@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_it_equals_the_published_form(B, K, iterations):
    scores_BK = cosines(B, K)
    expected = sinkhorn_by_loop(scores_BK.tolist(), 0.05, iterations)
    found = sinkhorn(scores_BK, 0.05, iterations)
    torch.testing.assert_close(found.tolist(), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("B", "K"), [(32, 4), (6, 11)])
def test_rows_sum_to_one_and_prototypes_share_alike(B, K):
    code_BK = sinkhorn(cosines(B, K), epsilon=0.1, iterations=300)
    assert (code_BK > 0).all()
    torch.testing.assert_close(code_BK.sum(dim=1), torch.ones(B).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        code_BK.sum(dim=0), torch.full((K,), B / K).double(), atol=1e-4, rtol=0
    )


def test_three_rounds_balance_what_would_collapse():
    scores_BK = cosines(64, 4)
    scores_BK[:, 0] += 1.0  # every row likes the first best
    share_K = sinkhorn(scores_BK).mean(dim=0)
    assert float(share_K.max()) < 0.4


def test_rows_and_prototypes_can_be_permuted():
    scores_BK = cosines(9, 5)
    rows, columns = torch.randperm(9), torch.randperm(5)
    code_BK = sinkhorn(scores_BK)
    torch.testing.assert_close(sinkhorn(scores_BK[rows]), code_BK[rows])
    torch.testing.assert_close(sinkhorn(scores_BK[:, columns]), code_BK[:, columns])


def test_rows_that_are_alike_get_codes_that_are_even():
    scores_BK = cosines(1, 7).repeat(5, 1)
    torch.testing.assert_close(sinkhorn(scores_BK), torch.full((5, 7), 1 / 7).double())


def test_remembered_rows_are_balanced_with_and_not_returned():
    scores_BK = cosines(12, 4)
    together = sinkhorn(scores_BK)
    torch.testing.assert_close(sinkhorn(scores_BK[:5], remembered_QK=scores_BK[5:]), together[:5])
    assert not torch.allclose(sinkhorn(scores_BK[:5]), together[:5])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_no_precision_overflows(dtype):
    scores_BK = cosines(16, 50, dtype=dtype)
    code_BK = sinkhorn(scores_BK, epsilon=0.002)
    assert code_BK.dtype == torch.float32 and torch.isfinite(code_BK).all()
    torch.testing.assert_close(code_BK.sum(dim=1), torch.ones(16))


def test_codes_have_no_gradient():
    assert not sinkhorn(cosines(4, 3).requires_grad_()).requires_grad


def test_prediction_equals_the_loop():
    scores_BK, code_BK = cosines(6, 5), sinkhorn(cosines(6, 5, seed=1))
    total = 0.0
    for scores, code in zip(scores_BK.tolist(), code_BK.tolist(), strict=True):
        norm = math.fsum(math.exp(s / 0.1) for s in scores)
        total -= math.fsum(
            q * math.log(math.exp(s / 0.1) / norm) for s, q in zip(scores, code, strict=True)
        )
    found = swapped_prediction(scores_BK, code_BK, 0.1)
    assert float(found) == pytest.approx(total / 6, abs=1e-9)


def test_prediction_is_least_for_the_code_itself():
    code_BK = sinkhorn(cosines(6, 5), epsilon=0.5)
    entropy = float(torch.special.entr(code_BK).sum(dim=1).mean())
    assert float(swapped_prediction(code_BK.log(), code_BK, 1.0)) == pytest.approx(entropy)
    assert float(swapped_prediction(cosines(6, 5, 3), code_BK, 1.0)) > entropy


def test_derivative_and_precision():
    scores_BK, code_BK = cosines(3, 4).requires_grad_(), sinkhorn(cosines(3, 4, seed=1))
    assert torch.autograd.gradcheck(lambda s: swapped_prediction(s, code_BK, 0.3), scores_BK)
    with torch.autocast("cpu", torch.bfloat16):
        assert swapped_prediction(scores_BK.bfloat16(), code_BK.float(), 0.1).dtype == torch.float32


def test_usage_entropy_says_how_many_prototypes_are_used():
    one_hot = torch.eye(8)
    assert float(usage_entropy(one_hot, 1e-2)) == pytest.approx(1.0, abs=1e-4)
    assert float(usage_entropy(one_hot[:1].repeat(8, 1), 1e-2)) == pytest.approx(0.0, abs=1e-4)
    half = one_hot[:4].repeat(2, 1)
    assert float(usage_entropy(half, 1e-2)) == pytest.approx(math.log(4) / math.log(8), abs=1e-4)
    assert float(usage_entropy(one_hot.bfloat16(), 0.1)) <= 1.0
