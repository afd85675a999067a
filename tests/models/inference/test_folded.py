"""Frozen encoders: norms folded in, the same features and stages."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.batchnorm import convert_sync_batchnorm
from cvrl.models.inference.folded import Folded, FrozenConv, freeze

NAMES = ["r3d50", "slow_r50", "r3d18", "r2plus1d18", "r3d_small"]


def clips(batch=2, frames=8, size=32):
    return torch.rand(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(0))


def lived_in(encoder: Encoder) -> Encoder:
    """With norms that do something: fresh ones neither scale nor shift, nor does folding them."""
    generator = torch.Generator().manual_seed(1)
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm3d):
            norm.running_mean.uniform_(-0.5, 0.5, generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.uniform_(-0.5, 0.5, generator=generator)
    return encoder.eval()


def small(**keywords) -> Encoder:
    torch.manual_seed(0)
    return lived_in(build_encoder("r3d_small", width=2, **keywords))


def assert_near(ours, theirs, tolerance=1e-5):
    """Close beside the largest value."""
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_features_and_stages_are_the_same(name):
    torch.manual_seed(0)
    encoder = lived_in(build_encoder(name))
    frozen = freeze(encoder)
    for x in (clips(), clips(1, size=48)):  # packed weights serve other sizes too
        assert_near(frozen(x), encoder(x))
        for stage, map_BCTHW in encoder.stages(x).items():
            assert_near(frozen.stages(x)[stage], map_BCTHW)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in frozen.modules())
    assert (frozen.dim, frozen.stage_dims) == (encoder.dim, encoder.stage_dims)
    assert (frozen.strides, frozen.spec) == (encoder.strides, encoder.spec)


def test_the_encoder_is_left_as_it_is():
    encoder = small().train()
    encoder.projector = nn.Sequential(nn.Linear(encoder.dim, 3), nn.BatchNorm1d(3))
    encoder.size = 32
    before = copy.deepcopy(encoder.state_dict())
    frozen = freeze(encoder)
    assert all(m.training for m in encoder.modules())
    assert not frozen.training
    assert not any(p.requires_grad for p in frozen.stem.parameters())
    assert frozen.projector is encoder.projector
    assert frozen.size == 32
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_norms_across_ranks_are_folded_too():
    encoder = small()
    synchronised = convert_sync_batchnorm(copy.deepcopy(encoder))
    assert torch.equal(freeze(synchronised)(clips()), freeze(encoder)(clips()))


def test_double_precision_and_gradients_of_the_input_take_the_plain_form():
    encoder = small()
    frozen = freeze(encoder)
    x = clips().requires_grad_()
    frozen(x).sum().backward()
    ours, x.grad = x.grad, None
    encoder(x).sum().backward()
    assert_near(ours, x.grad, 1e-4)
    torch.testing.assert_close(
        freeze(copy.deepcopy(encoder).double())(clips().double()),
        encoder.double()(clips().double()),
    )


@torch.no_grad()
def test_autocast_takes_the_plain_form():
    encoder = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_near(freeze(encoder)(clips()).float(), encoder(clips()).float(), 0.05)


@torch.no_grad()
def test_copies_and_casts_drop_the_packed_weights():
    frozen = freeze(small())
    frozen(clips())
    assert_near(copy.deepcopy(frozen)(clips()), frozen(clips()))
    before = frozen(clips())
    assert_near(frozen.double()(clips().double()), before)
    assert_near(frozen.float()(clips()), before)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shortcut", [True, False])
@torch.no_grad()
def test_one_convolution_does_it_all(relu, shortcut):
    torch.manual_seed(0)
    x, other, weight, bias = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 4, 4, 3, 3), None, None
    weight, bias = torch.randn(4, 3, 3, 3, 3), torch.randn(4)
    conv = FrozenConv(Folded(weight, bias, (1, 2, 2), (1, 1, 1)), relu=relu)
    expected = F.conv3d(x, weight, bias, (1, 2, 2), 1)
    expected = expected + other if shortcut else expected
    expected = expected.relu() if relu else expected
    torch.testing.assert_close(conv(x, other if shortcut else None), expected, rtol=1e-4, atol=1e-4)


def test_a_norm_without_its_convolution_is_refused():
    encoder = small()
    encoder.stem.insert(0, nn.BatchNorm3d(3))
    with pytest.raises(ValueError, match="a norm follows no convolution of 3 channels"):
        freeze(encoder)


@pytest.mark.parametrize("strange", [nn.Dropout(), nn.Conv3d(2, 2, 1, groups=2)])
def test_what_cannot_be_folded_is_refused(strange):
    encoder = small()
    encoder.stem.append(strange)
    with pytest.raises(ValueError, match=r"cannot be folded|groups"):
        freeze(encoder)


@pytest.mark.slow
@torch.inference_mode()
def test_it_compiles():
    encoder = small()
    frozen = freeze(encoder)
    frozen.compile()
    assert_near(frozen(clips()), encoder(clips()), 1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@torch.inference_mode()
def test_a_gpu_gives_the_same_features():
    encoder = small()
    assert_near(freeze(encoder).cuda()(clips().cuda()).cpu(), encoder(clips()), 1e-3)
