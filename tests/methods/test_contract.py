"""What every file in views/ and methods/ keeps, found by listing the folders."""

import importlib

import numpy as np
import pytest
import torch
from cases import CASES, METHODS, VIEWS, build, build_views, make_batch

from cvrl.data.view_base import Views
from cvrl.task import Task

# On features of unit length a linear layer needs long steps; CVRL's own rate is 32.
LR = {"linear_probe@jigsaw_pair": 0.3}


@pytest.mark.parametrize("name", VIEWS)
def test_views_plan_frames_of_the_video(name):
    views = build_views(name)
    for length in (1, 5, 40, 300):
        length *= max(1, views.cameras)
        plan = views.plan(length, 25.0, np.random.default_rng(0))
        rows = views.clips + (views.small.count if views.small else 0)
        assert plan.ticks_VT.shape == (rows, 8) and plan.ticks_VT.dtype == np.int64
        assert plan.start_V.shape == plan.order_V.shape == (rows,)
        assert plan.order_V.max() < max(1, views.order_classes)
        assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
        again = views.plan(length, 25.0, np.random.default_rng(0))
        assert (plan.ticks_VT == again.ticks_VT).all()


@pytest.mark.parametrize("name", VIEWS)
def test_a_method_takes_these_views(name):
    views = build_views(name)
    assert isinstance(views, Views) and views.kinds
    assert any(views.kinds & build(method).accepts for method in METHODS)


@pytest.mark.parametrize("name", CASES)
def test_loss_is_finite_and_gradients_reach_what_is_trained(name):
    task = build(name)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    for _ in range(2):  # residual branches start at 0 and hold their gradients back in the first
        losses = task(make_batch(name))
        assert losses["loss"].ndim == 0 and torch.isfinite(losses["loss"])
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    for parameter_name, parameter in task.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name
        else:
            assert parameter.grad is None, parameter_name
    grouped = [p for group in task.param_groups(0.1) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in task.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_falls_on_a_small_set(name):
    task = build(name)
    optimizer = torch.optim.AdamW(task.param_groups(0.0), lr=LR.get(name, 3e-3))
    batch = make_batch(name)
    losses = []
    for step in range(30):
        loss = task(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.after_step(step)
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize("name", CASES)
def test_saved_and_loaded_the_next_loss_is_the_same(name, tmp_path):
    task, other = build(name), build(name)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    task(make_batch(name))["loss"].backward()
    optimizer.step()
    task.after_step(0)
    torch.save(task.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    batch = make_batch(name, seed=1)
    found = []
    for one in (task, other):
        torch.manual_seed(3)  # dropout
        found.append(one(batch)["loss"])
    assert torch.equal(*found)


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_goes_on_bit_for_bit(name):
    def steps(task, first, last):
        optimizer = torch.optim.SGD(task.param_groups(0.0), lr=0.05)
        for step in range(first, last):
            torch.manual_seed(step)  # dropout, as the loop seeds it
            loss = task(make_batch(name, seed=step))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            task.after_step(step)

    straight, stopped, resumed = (build(name) for _ in range(3))
    steps(straight, 0, 4)
    steps(stopped, 0, 2)
    resumed.load_state_dict(stopped.state_dict())
    steps(resumed, 2, 4)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize("name", CASES)
def test_bf16_and_an_uneven_batch_work(name):
    task = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = task(make_batch(name, videos=5))["loss"]
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    loss.backward()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_where_it_comes_from(name):
    module = importlib.import_module(f"cvrl.methods.{name}")
    assert issubclass(module.METHOD, Task) and module.METHOD.accepts
    assert "arXiv" in module.__doc__ and "Deviation" in module.__doc__
    assert "Example:" in module.METHOD.__doc__
