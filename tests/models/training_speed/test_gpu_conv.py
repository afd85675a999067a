"""Convolutions in their form for GPUs compute what plain ones do; the arithmetic runs anywhere."""

import copy

import pytest
import torch
from torch import nn

from cvrl.models.backbones import build_encoder
from cvrl.models.training_speed.gpu_conv import GpuConv3d, GpuMaxPool3d, accelerate_on_gpu

CASES = [
    # kernel, stride, padding, channels
    ((1, 1, 1), (1, 1, 1), (0, 0, 0), 24),
    ((1, 1, 1), (2, 2, 2), (0, 0, 0), 24),
    ((1, 3, 3), (1, 2, 2), (0, 1, 1), 24),
    ((1, 3, 3), (2, 1, 1), (0, 1, 1), 24),
    ((1, 1, 1), (1, 1, 1), (1, 1, 1), 24),
    ((3, 1, 1), (1, 1, 1), (1, 0, 0), 24),
    ((3, 1, 1), (2, 1, 1), (1, 0, 0), 24),
    ((3, 1, 1), (1, 2, 2), (1, 0, 0), 24),
    ((5, 7, 7), (2, 2, 2), (2, 3, 3), 3),
    ((3, 7, 7), (1, 2, 2), (1, 3, 3), 9),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1), 24),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "channels"), CASES)
@pytest.mark.parametrize("last", [True, False])
def test_values_and_gradients_are_those_of_a_plain_convolution(
    kernel, stride, padding, channels, last
):
    conv = nn.Conv3d(channels, 5, kernel, stride, padding).double()
    fast = GpuConv3d.of(copy.deepcopy(conv))
    x = torch.rand(2, channels, 7, 11, 10, dtype=torch.float64)
    if last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    found = []
    for one in (conv, fast):
        given = x.clone().requires_grad_()
        y = one(given)
        y.square().sum().backward()
        found.append([y, given.grad, one.weight.grad, one.bias.grad])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_pooling_over_frames():
    pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    fast = GpuMaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    x = torch.rand(2, 4, 3, 9, 8)
    assert torch.equal(fast(x), pool(x))


@pytest.mark.parametrize("name", ["r3d50", "r2plus1d18", "r3d_small"])
def test_an_encoder_keeps_its_parameters_and_its_features(name):
    encoder = build_encoder(name).eval()
    clips = torch.rand(1, 3, 8, 32, 32)
    before, names = encoder(clips), list(encoder.state_dict())
    held = list(encoder.parameters())
    accelerate_on_gpu(encoder)
    assert all(a is b for a, b in zip(held, encoder.parameters(), strict=True))
    assert list(encoder.state_dict()) == names
    assert any(isinstance(module, GpuConv3d) for module in encoder.modules())
    torch.testing.assert_close(encoder(clips), before, atol=1e-4, rtol=1e-4)


def test_a_pool_over_several_frames_stays():
    network = nn.Sequential(nn.MaxPool3d(2), nn.MaxPool3d((1, 2, 2), (1, 2, 2)))
    accelerate_on_gpu(network)
    assert [type(module) for module in network] == [nn.MaxPool3d, GpuMaxPool3d]
