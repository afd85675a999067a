"""The loss on relations against a plain loop, and what it does not look at."""

import math

import pytest
import torch

from cvrl.losses.relational import similarity_regression


def rows(seed, count=5, dim=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def cosine(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


@pytest.mark.parametrize("target_dim", [4, 7])
def test_it_is_the_squared_difference_of_similarities(target_dim):
    z, target = rows(0), rows(1, dim=target_dim)
    errors = [
        (cosine(z[i].tolist(), z[j].tolist()) - cosine(target[i].tolist(), target[j].tolist())) ** 2
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    expected = math.fsum(errors) / len(errors)
    assert float(similarity_regression(z, target)) == pytest.approx(expected, abs=1e-12)


def test_turning_and_scaling_either_side_changes_nothing():
    z, target = rows(0), rows(1)
    turn, _ = torch.linalg.qr(rows(2, count=4))
    expected = similarity_regression(z, target)
    torch.testing.assert_close(similarity_regression(3 * z @ turn, target), expected)
    torch.testing.assert_close(similarity_regression(z, 0.1 * target @ turn), expected)
    assert float(similarity_regression(target @ turn, target)) == pytest.approx(0.0, abs=1e-12)


def test_its_gradient_goes_to_the_embeddings_alone():
    z, target = rows(0).requires_grad_(), rows(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: similarity_regression(z, target), z)
    similarity_regression(z, target).backward()
    assert target.grad is None and z.grad.any()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_clips_teach_nothing(count):
    z = rows(0, count=count).requires_grad_()
    loss = similarity_regression(z, rows(1, count=count))
    loss.backward()
    assert loss.item() == 0.0 and not z.grad.any()


def test_half_precision_is_computed_in_float32():
    z, target = rows(0).float(), rows(1).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert similarity_regression(z.bfloat16(), target).dtype == torch.float32
