"""Fast batch norm: plain batch norm's numbers, its buffers, and closer to the truth."""

import copy

import pytest
import torch
from torch import nn

from cvrl.models.training_speed.fast_norm import FEW_ROWS, FastBatchNorm3d


def maps(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=dtype) + 3
    return x.contiguous(memory_format=torch.channels_last_3d)


def lived_in(width):
    torch.manual_seed(1)
    norm = nn.BatchNorm3d(width)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.uniform_(0.5, 2.0)
    return norm


def passed(norm, x):
    """Result, gradients and buffers of a forward and a backward pass."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = norm(x)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    return [y.detach(), x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()]


@pytest.mark.parametrize("shape", [(2, 3, 8, 20, 20), (1, 5, 3, 41, 43), (3, 1, 2, 64, 33)])
def test_results_gradients_and_statistics_are_plain(shape):
    norm = lived_in(shape[1]).double()
    fast = FastBatchNorm3d.of(copy.deepcopy(norm))
    x = maps(*shape, dtype=torch.float64)
    assert x.numel() > FEW_ROWS * x.shape[1]
    for ours, theirs in zip(passed(fast, x), passed(norm, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_running_statistics_are_kept_as_torch_keeps_them(momentum):
    norm = lived_in(3)
    norm.momentum = momentum
    fast = FastBatchNorm3d.of(copy.deepcopy(norm))
    for step in range(1, 4):
        x = step * maps(2, 3, 8, 20, 20)
        fast(x)
        norm(x.contiguous())
        assert int(fast.num_batches_tracked) == step
    torch.testing.assert_close(fast.running_mean, norm.running_mean)
    torch.testing.assert_close(fast.running_var, norm.running_var)


def test_it_is_nearer_the_truth_than_torch_in_this_layout():
    x = maps(16, 4, 8, 48, 48)
    exact = passed(lived_in(4).double(), x.double())
    theirs = passed(lived_in(4), x)
    ours = passed(FastBatchNorm3d.of(lived_in(4)), x)
    errors = [
        max(float((a - b).norm() / b.norm()) for a, b in zip(found[:4], exact[:4], strict=True))
        for found in (ours, theirs)
    ]
    assert errors[0] < 1e-5
    assert errors[0] < errors[1] / 3


def test_parameters_and_buffers_are_shared():
    norm = lived_in(3)
    fast = FastBatchNorm3d.of(norm)
    assert fast.weight is norm.weight and fast.running_var is norm.running_var
    assert list(fast.state_dict()) == list(norm.state_dict())


@pytest.mark.parametrize("case", ["evaluation", "small", "layout", "bf16"])
def test_elsewhere_it_is_plain(case, monkeypatch):
    import cvrl.models.training_speed.fast_norm as module

    monkeypatch.setattr(module, "_Normalise", None)  # would fail if it were asked
    norm = lived_in(3)
    fast = FastBatchNorm3d.of(copy.deepcopy(norm))
    x = maps(2, 3, 8, 20, 20)
    if case == "evaluation":
        fast.eval()
        norm.eval()
    elif case == "small":
        x = maps(1, 3, 2, 4, 4)
    elif case == "layout":
        x = x.contiguous()
    else:
        x = x.bfloat16()
    torch.testing.assert_close(fast(x), norm(x))


def test_maps_of_two_sizes_in_one_step_have_a_way_back():
    norm = lived_in(3)
    fast = FastBatchNorm3d.of(copy.deepcopy(norm))
    small, large = maps(1, 3, 2, 4, 4).requires_grad_(), maps(2, 3, 8, 20, 20).requires_grad_()
    for one in (norm, fast):
        (one(small).square().sum() + one(large).square().sum()).backward()
    torch.testing.assert_close(fast.weight.grad, norm.weight.grad, rtol=1e-4, atol=0)
    torch.testing.assert_close(fast.running_mean, norm.running_mean)
