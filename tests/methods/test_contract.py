"""What every file in views/ and methods/ keeps, found by listing the folders."""

import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

import cvrl
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import Batch
from cvrl.models.backbones import build_encoder
from cvrl.task import Task

PACKAGE = Path(inspect.getfile(cvrl)).parent
VIEWS = sorted(file.stem for file in (PACKAGE / "views").glob("[a-z]*.py"))
METHODS = sorted(file.stem for file in (PACKAGE / "methods").glob("[a-z]*.py"))
FACTS = {"classes": 3, "videos": 6, "total_steps": 10}
SMALL = {"hidden": 16, "hidden_layers": 1, "dim": 8}


def build_views(name):
    return importlib.import_module(f"cvrl.views.{name}").VIEWS(ClipSpec(frames=8, stride=2))


def build_method(name):
    factory = importlib.import_module(f"cvrl.methods.{name}").METHOD
    asked = inspect.signature(factory).parameters
    keywords = {k: v for k, v in {**FACTS, **SMALL}.items() if k in asked}
    torch.manual_seed(0)
    return factory(build_encoder("r3d_small", width=4, blocks=(1, 1, 1, 1)), **keywords)


def make_batch(videos=6, views=2, seed=0):
    """Videos that can be told apart: clips of one share a pattern."""
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.rand(videos, 1, 3, 1, 32, 32, generator=generator)
    noise = torch.rand(videos, views, 3, 8, 32, 32, generator=generator)
    return Batch(
        clips_BVCTHW=0.7 * pattern + 0.3 * noise,
        labels_B=torch.arange(videos) % 3,
        video_id_B=torch.arange(videos),
        group_id_B=torch.arange(videos),
        time_BV=torch.zeros(videos, views, dtype=torch.float64),
        order_B=torch.full((videos,), -1),
    )


@pytest.mark.parametrize("name", VIEWS)
def test_views_plan_frames_of_the_video(name):
    views = build_views(name)
    for length in (1, 5, 40, 300):
        plan = views.plan(length, 25.0, np.random.default_rng(0))
        assert plan.ticks_VT.shape == (views.clips, 8) and plan.ticks_VT.dtype == np.int64
        assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
        again = views.plan(length, 25.0, np.random.default_rng(0))
        assert (plan.ticks_VT == again.ticks_VT).all()


@pytest.mark.parametrize("name", VIEWS)
def test_a_method_takes_these_views(name):
    kind = build_views(name).kind
    assert any(kind in build_method(method).accepts for method in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_loss_is_finite_and_gradients_reach_what_is_trained(name):
    task = build_method(name)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    for _ in range(2):  # residual branches start at 0 and hold their gradients back in the first
        losses = task(make_batch())
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


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_falls_on_a_small_set(name):
    task = build_method(name)
    optimizer = torch.optim.AdamW(task.param_groups(0.0), lr=3e-3)
    batch = make_batch()
    losses = []
    for step in range(30):
        loss = task(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.after_step(step)
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize("name", METHODS)
def test_saved_and_loaded_the_next_loss_is_the_same(name, tmp_path):
    task, other = build_method(name), build_method(name)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    task(make_batch())["loss"].backward()
    optimizer.step()
    task.after_step(0)
    torch.save(task.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    batch = make_batch(seed=1)
    found = []
    for one in (task, other):
        torch.manual_seed(3)  # dropout
        found.append(one(batch)["loss"])
    assert torch.equal(*found)


@pytest.mark.parametrize("name", METHODS)
def test_bf16_and_an_uneven_batch_work(name):
    task = build_method(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = task(make_batch(videos=5))["loss"]
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    loss.backward()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_where_it_comes_from(name):
    module = importlib.import_module(f"cvrl.methods.{name}")
    assert issubclass(module.METHOD, Task) and module.METHOD.accepts
    assert "arXiv" in module.__doc__ and "Deviation" in module.__doc__
    assert "Example:" in module.METHOD.__doc__
