"""Fast convolutions: the same numbers, names and parameters."""

import copy

import pytest
import torch
from torch import nn

from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.training_speed.fast_conv import FEW_PLACES, FastConv3d, accelerate

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
    return encoder


@pytest.fixture(scope="module", params=NAMES)
def encoder(request):
    torch.manual_seed(0)
    return lived_in(build_encoder(request.param)).eval()


def gradients(encoder, x):
    encoder.zero_grad()
    encoder(x).square().sum().backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters()}


def assert_near(ours, theirs, tolerance):
    """Close beside the largest value."""
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@torch.no_grad()
def test_features_are_the_same(encoder):
    fast = accelerate(copy.deepcopy(encoder))
    assert_near(fast(clips()), encoder(clips()), 1e-5)
    for name, ours in fast.stages(clips(1)).items():
        assert_near(ours, encoder.stages(clips(1))[name], 1e-5)


def test_gradients_are_the_same(encoder):
    ours = gradients(accelerate(copy.deepcopy(encoder)), clips(1))
    for name, theirs in gradients(copy.deepcopy(encoder), clips(1)).items():
        assert_near(ours[name], theirs, 1e-4)


def test_every_convolution_is_exchanged_and_the_state_dict_is_not(encoder):
    fast = accelerate(copy.deepcopy(encoder))
    convolutions = [m for m in fast.modules() if isinstance(m, nn.Conv3d)]
    assert convolutions
    assert all(type(m) is FastConv3d for m in convolutions)
    assert list(fast.state_dict()) == list(encoder.state_dict())
    fresh = build_encoder(**encoder.spec)
    fresh.load_state_dict(fast.state_dict())
    for name, value in encoder.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


def test_an_optimiser_keeps_its_parameters():
    encoder = build_encoder("r2plus1d18")
    before = [id(p) for p in encoder.parameters()]
    assert [id(p) for p in accelerate(encoder).parameters()] == before


def test_batch_statistics_and_their_gradients_are_the_same():
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=2, stem_kernel=(1, 7, 7)).double().train()
    fast = accelerate(copy.deepcopy(encoder))
    ours, theirs = (gradients(net, clips().double()) for net in (fast, encoder))
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-9, atol=1e-12)
    for (name, value), other in zip(fast.named_buffers(), encoder.buffers(), strict=True):
        torch.testing.assert_close(value, other, msg=name)


@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 1, 1), (3, 3, 3), (1, 1, 3)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize("padded", [True, False])
def test_every_form_is_the_convolution(kernel, stride, padded):
    torch.manual_seed(0)
    padding = tuple(size // 2 for size in kernel) if padded else 0
    conv = nn.Conv3d(3, 5, kernel, stride, padding).double()
    x = torch.rand(2, 3, 5, 6, 7, dtype=torch.float64)
    fast = FastConv3d.of(conv)
    torch.testing.assert_close(fast(x), conv(x))
    conv, fast = conv.float(), fast.float()
    torch.testing.assert_close(fast(x.float()), conv(x.float()), rtol=1e-4, atol=1e-5)


def test_odd_paddings_of_thin_kernels_are_kept():
    x = torch.rand(2, 3, 4, 5, 5)
    for padding in [(1, 0, 0), (0, 1, 1), (1, 1, 1)]:
        conv = nn.Conv3d(3, 4, 1, padding=padding)
        torch.testing.assert_close(FastConv3d.of(conv)(x), conv(x), rtol=1e-4, atol=1e-5)


def test_grouped_and_dilated_convolutions_are_left_alone():
    encoder = build_encoder("r3d_small", width=2)
    encoder.stem.add_module("grouped", nn.Conv3d(2, 2, 1, groups=2))
    encoder.stem.add_module("dilated", nn.Conv3d(2, 2, 3, dilation=2, padding="same"))
    accelerate(encoder)
    assert type(encoder.stem.grouped) is nn.Conv3d
    assert type(encoder.stem.dilated) is nn.Conv3d
    assert type(encoder.stem[0]) is FastConv3d


def test_autocast_takes_the_plain_form():
    encoder = build_encoder("r3d_small", width=2).eval()
    fast = accelerate(copy.deepcopy(encoder))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert_near(fast(clips()).float(), encoder(clips()).float(), 0.05)


def test_a_map_of_few_places_is_gathered(monkeypatch):
    torch.manual_seed(0)
    gathered = []
    gather = FastConv3d._gathered
    monkeypatch.setattr(FastConv3d, "_gathered", lambda *a: gathered.append(a) or gather(*a))
    for kernel, stride, padding in [((3, 1, 1), 1, (1, 0, 0)), ((1, 3, 3), (1, 2, 2), (0, 1, 1))]:
        conv = nn.Conv3d(FEW_PLACES, 3, kernel, stride, padding, bias=False).double()
        fast = FastConv3d.of(copy.deepcopy(conv))
        ours, theirs = (torch.rand(1, FEW_PLACES, 2, 4, 5).double() for _ in range(2))
        theirs.copy_(ours)
        results = []
        for net, x in ((fast, ours.requires_grad_()), (conv, theirs.requires_grad_())):
            y = net(x)
            y.square().sum().backward()
            results.append((y, x.grad, net.weight.grad))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other)
    assert len(gathered) == 2


def test_a_clip_too_short_for_the_kernel_is_refused():
    conv = FastConv3d.of(nn.Conv3d(FEW_PLACES, 3, (3, 1, 1)))
    with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
        conv(torch.rand(1, FEW_PLACES, 2, 4, 4))


def test_sums_and_activations_write_over_what_is_not_needed_again():
    encoder = accelerate(build_encoder("slow_r50"))
    assert all(m.inplace for m in encoder.modules() if isinstance(m, nn.ReLU))
    shortcut, branch = torch.ones(2), torch.ones(2)
    assert encoder.res2.res_blocks[0].branch_fusion(shortcut, branch) is branch
    assert shortcut.tolist() == [1, 1]
    assert branch.tolist() == [2, 2]


@pytest.mark.slow
def test_it_compiles():
    torch.manual_seed(0)
    encoder = lived_in(build_encoder("r3d_small", width=2)).train()
    fast = accelerate(copy.deepcopy(encoder))
    fast.compile()
    theirs = gradients(encoder, clips())
    for name, ours in gradients(fast, clips()).items():
        assert_near(ours, theirs[name], 1e-3)
    assert list(fast.state_dict()) == list(encoder.state_dict())
