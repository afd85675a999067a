"""Optimisers step as their papers say, and decay only what should decay."""

import pytest
import torch
from torch import nn

from cvrl.engine.optim import build_optimizer
from cvrl.task import Task
from cvrl.utils.errors import UserError


class Toy(Task):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_weights_decay_and_biases_and_norms_do_not():
    task = Toy()
    decayed, plain = task.param_groups(weight_decay=0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert [tuple(p.shape) for p in plain["params"]] == [(4,), (4,), (4,)]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def step_once(name, weight, gradient, *, decay, lr=0.1, momentum=0.9):
    p = nn.Parameter(weight.clone())
    group = {"name": "decayed", "params": [p], "weight_decay": decay}
    optimizer = build_optimizer([group], name, lr=lr, momentum=momentum)
    p.grad = gradient.clone()
    optimizer.step()
    return p.detach()


def test_sgd_step():
    w, g = torch.randn(3, 3), torch.randn(3, 3)
    expected = w - 0.1 * (g + 0.01 * w)
    torch.testing.assert_close(step_once("sgd", w, g, decay=0.01), expected)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_lars_step_has_the_length_of_the_weights(decay):
    w, g = torch.randn(4, 4), torch.randn(4, 4)
    moved = (step_once("lars", w, g, decay=decay, momentum=0.0) - w).norm()
    trust = 0.001 * w.norm() / (g.norm() + decay * w.norm())
    assert moved == pytest.approx(float(0.1 * trust * (g + decay * w).norm()), rel=1e-3)


def test_lars_steps_biases_as_sgd_does():
    b, g = nn.Parameter(torch.ones(3)), torch.tensor([1.0, 2.0, 3.0])
    optimizer = build_optimizer(
        [{"name": "plain", "params": [b], "weight_decay": 0.0}], "lars", lr=0.1, momentum=0.0
    )
    b.grad = g
    optimizer.step()
    torch.testing.assert_close(b.detach(), torch.ones(3) - 0.1 * g)


def test_adamw_first_step_has_unit_length_and_decoupled_decay():
    w, g = torch.ones(2, 2), torch.full((2, 2), 5.0)
    torch.testing.assert_close(
        step_once("adamw", w, g, decay=0.5),
        torch.full((2, 2), 1 - 0.1 * 0.5 - 0.1),
        atol=1e-5,
        rtol=0,
    )


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UserError, match="sgd, lars, adamw"):
        build_optimizer([{"params": [nn.Parameter(torch.ones(1))]}], "adam", lr=0.1)
