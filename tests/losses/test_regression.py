"""BYOL's regression against a plain loop, and where its gradient goes."""

import math

import pytest
import torch

from cvrl.losses.regression import cosine_regression


def rows(seed, count=5, dim=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def test_it_is_the_squared_distance_of_unit_vectors():
    total = 0.0
    for p, t in zip(rows(0).tolist(), rows(1).tolist(), strict=True):
        p, t = ([x / math.hypot(*v) for x in v] for v in (p, t))
        total += sum((a - b) ** 2 for a, b in zip(p, t, strict=True))
    assert float(cosine_regression(rows(0), rows(1))) == pytest.approx(total / 5, abs=1e-9)


def test_its_range():
    p = rows(0)
    assert float(cosine_regression(p, 7 * p)) == pytest.approx(0.0, abs=1e-12)
    assert float(cosine_regression(p, -p)) == pytest.approx(4.0)


def test_derivative_goes_to_the_prediction_alone():
    p, target = rows(0).requires_grad_(), rows(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: cosine_regression(p, target), p)
    cosine_regression(p, target).backward()
    assert target.grad is None and p.grad.any()


def test_autocast_and_half_precision_are_computed_in_float32():
    p, target = rows(0).float(), rows(1).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cosine_regression(p, target), cosine_regression(p, target))
        assert cosine_regression(p.bfloat16(), target).dtype == torch.float32
    assert cosine_regression(p.double(), target).dtype == torch.float64
