"""Encoders in bytes: near the features in floats, exact where exactness can be asked for."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvrl.models.backbones import build_encoder
from cvrl.models.inference.folded import Folded, FrozenConv
from cvrl.models.inference.int8 import BytePool, Grid, Int8Conv, Int8Encoder, quantise
from cvrl.utils.errors import UserError

NAMES = ["r3d50", "slow_r50", "r3d18", "r2plus1d18", "r3d_small"]


def clips(batch=4, frames=8, size=48):
    """Smooth and different from each other, as videos are."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, 3, 4, 4, generator=generator)
    return F.interpolate(coarse, size=(frames, size, size), mode="trilinear")


def encoder_of(name, **keywords):
    """With norms that know their inputs, and branches that refine what the shortcuts carry."""
    torch.manual_seed(0)
    encoder = build_encoder(name, **keywords)
    for where, norm in encoder.named_modules():
        if isinstance(norm, nn.BatchNorm3d):
            norm.momentum = 1.0
            refines = where.endswith(("norm_c", "conv2.1"))
            nn.init.uniform_(norm.weight, 0.1 if refines else 0.5, 0.2 if refines else 1.5)
    with torch.no_grad():
        encoder.train()(clips())
    return encoder.eval()


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_features_and_stages_are_near(name):
    encoder = encoder_of(name)
    made = quantise(encoder, clips())
    assert isinstance(made, Int8Encoder)
    x = clips().flip(3)  # other clips than those that were measured
    assert F.cosine_similarity(made(x), encoder(x)).min() > 0.99
    stages = made.stages(x)
    for stage, map_BCTHW in encoder.stages(x).items():
        assert stages[stage].shape == map_BCTHW.shape
        near = F.cosine_similarity(stages[stage].flatten(1), map_BCTHW.flatten(1))
        assert near.min() > 0.98, stage
    assert torch.equal(stages["pooled"], made(x))


@torch.inference_mode()
def test_other_sizes_than_those_measured_work():
    encoder = encoder_of("r3d_small")
    made = quantise(encoder, clips())
    for x in (clips(1, 8, 32), clips(3, 16, 64), clips()):
        assert F.cosine_similarity(made(x), encoder(x)).min() > 0.98


def test_the_encoder_is_left_as_it_is():
    encoder = encoder_of("r3d_small", width=2)
    encoder.projector = nn.Linear(encoder.dim, 3)
    before = copy.deepcopy(encoder.state_dict())
    made = quantise(encoder, clips())
    assert made.projector is encoder.projector
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert not any(p.requires_grad for p in made.stem.parameters())


def test_bytes_stand_for_what_they_were_made_of():
    x = torch.linspace(-1.0, 4.1, 52).view(1, 1, 1, 4, 13)
    grid = Grid.over(-1.0, 4.1)
    back = grid.floats_of(grid.bytes_of(x))
    torch.testing.assert_close(back, x, rtol=0, atol=grid.scale / 2 + 1e-6)
    assert grid.bytes_of(torch.tensor([[[[[-9.0, 9.0]]]]])).flatten().tolist() == [0, 255]
    assert Grid.over(0.0, 0.0) == (1.0, 0)


def exact_conv(kernel, stride, padding):
    """A convolution whose weights and bias are whole numbers, which bytes hold without loss."""
    weight = torch.randint(-3, 4, (5, 4, *kernel)).float()
    weight[:, 0, 0, 0, 0] = 127
    return FrozenConv(
        Folded(weight, torch.randint(-9, 9, (5,)).float(), stride, padding), relu=True
    )


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3)])
@pytest.mark.parametrize("zero", [0, 100])
@pytest.mark.parametrize("shortcut", [None, 0, 90])
@torch.inference_mode()
def test_every_form_rounds_the_exact_sum_once(kernel, zero, shortcut):
    torch.manual_seed(0)
    padding = tuple(size // 2 for size in kernel)
    conv = exact_conv(kernel, (1, 1, 1), padding)
    takes, gives = Grid(0.5, zero), Grid(200.0, 0)
    adds = None if shortcut is None else Grid(60.0, shortcut)
    q = torch.randint(0, 256, (2, 4, 3, 6, 7), dtype=torch.uint8)
    q = q.contiguous(memory_format=torch.channels_last_3d)
    other = torch.randint(0, 256, (2, 5, 3, 6, 7), dtype=torch.uint8)
    other = other.contiguous(memory_format=torch.channels_last_3d)
    x = takes.floats_of(q).double()
    exact = F.conv3d(x, conv.weight.double(), conv.bias.double(), 1, padding)
    if adds is not None:
        exact = exact + adds.floats_of(other)
    result = Int8Conv(conv, takes, gives, adds)(q, None if adds is None else other)
    expected = (exact / gives.scale).round().clamp(0, 255)
    assert (result.double() - expected).abs().max() <= 1  # halves round either way
    assert (result != expected).double().mean() < 0.02


@pytest.mark.parametrize("size", [(7, 8), (8, 5)])
@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        nn.MaxPool3d((1, 2, 2), (1, 2, 2)),
        nn.MaxPool3d((1, 3, 2), (1, 1, 3), (0, 0, 1)),
    ],
)
def test_pooling_of_bytes_is_that_of_floats(pool, size):
    q = torch.randint(0, 256, (2, 3, 2, *size), dtype=torch.uint8)
    assert torch.equal(BytePool(pool)(q).float(), pool(q.float()))


def test_pooling_over_frames_is_refused():
    with pytest.raises(ValueError, match="several frames"):
        BytePool(nn.MaxPool3d(3, 2, 1))


def test_no_clips_to_measure_on_is_refused():
    with pytest.raises(UserError, match="there are no clips to measure ranges on"):
        quantise(encoder_of("r3d_small", width=2), clips()[:0])


@torch.inference_mode()
def test_a_dead_network_gives_zeros():
    encoder = encoder_of("r3d_small", width=2)
    for parameter in encoder.parameters():
        parameter.zero_()
    assert torch.equal(quantise(encoder, clips())(clips()), torch.zeros(4, encoder.dim))
