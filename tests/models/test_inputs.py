"""Inputs of an encoder: exact differences, and the same features in every form of the encoder."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from cvrl.data.clips import ClipSpec
from cvrl.explain.grad_cam import along, grad_cam
from cvrl.models.backbones import build_encoder
from cvrl.models.inference.folded import freeze
from cvrl.models.inference.int8 import quantise
from cvrl.models.inference.overlapping import encode_frames, gather_clips, still_stages
from cvrl.models.inputs import INPUTS, ORDERS, SCALE, Alternating, channels_of, derivative
from cvrl.models.training_speed.fast_conv import accelerate
from cvrl.pretrained import input_of, load_encoder, save_model
from cvrl.utils.errors import UserError

CHANGED = [name for name in INPUTS if name != "rgb"]


def encoder_of(name: str, **keywords):
    return build_encoder("r3d_small", width=4, input=name, **keywords).eval()


def clips_of(count: int = 3, frames: int = 8):
    return torch.rand(count, 3, frames, 32, 32)


@given(st.integers(0, 2), st.integers(3, 9))
def test_a_derivative_is_numpys_difference(order, frames):
    clip = torch.rand(2, 3, frames, 2, 2, dtype=torch.float64)
    found = derivative(clip, order)
    assert found.shape == clip.shape
    expected = SCALE**order * np.diff(clip.numpy(), n=order, axis=2)
    # the first frames - order values are the plain differences; what follows repeats
    assert np.allclose(found[:, :, : frames - order].numpy(), expected)


@pytest.mark.parametrize("order", [1, 2])
def test_a_still_clip_has_derivative_zero(order):
    still = torch.rand(2, 3, 1, 4, 4).expand(-1, -1, 6, -1, -1)
    assert not derivative(still, order).any()


def test_one_frame_has_no_difference():
    with pytest.raises(UserError, match=r"clip\.frames = 1"):
        derivative(torch.rand(1, 3, 1, 4, 4), 1)


def test_an_unknown_input_is_refused():
    with pytest.raises(UserError, match=r"clip\.input = flow"):
        build_encoder("r3d_small", input="flow")


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("encoder", ["r3d_small", "r3d18", "r2plus1d18", "slow_r50"])
def test_every_encoder_takes_every_input(encoder, name):
    with torch.device("meta"):
        made = build_encoder(encoder, input=name).eval()
        feature = made(torch.rand(2, 3, 8, 32, 32))
        first = next(m for m in made.stem.modules() if isinstance(m, torch.nn.Conv3d))
    assert feature.shape == (2, made.dim)
    assert first.in_channels == channels_of(name)


def test_the_spec_of_an_rgb_encoder_is_as_before():
    assert "input" not in encoder_of("rgb").spec


@pytest.mark.parametrize("name", CHANGED)
def test_the_encoder_is_that_of_the_changed_clips(name):
    encoder, clips = encoder_of(name), clips_of()
    bare = build_encoder(**encoder.spec).eval()
    bare.load_state_dict(encoder.state_dict())
    bare.input = torch.nn.Identity()
    bare._check = lambda clips: None
    assert torch.equal(encoder(clips), bare(encoder.input(clips)))
    if name != "alternating":
        still = clips[:, :, :1].expand(-1, -1, 8, -1, -1)
        assert not torch.allclose(encoder(clips), encoder(still))


@pytest.mark.parametrize("name", CHANGED)
def test_folded_and_fast_forms_agree(name):
    encoder, clips = encoder_of(name), clips_of()
    assert torch.allclose(freeze(encoder)(clips), encoder(clips), atol=1e-5)
    expected = encoder(clips)
    accelerate(encoder)
    assert torch.allclose(encoder(clips), expected, atol=1e-5)


@pytest.mark.parametrize("name", CHANGED)
def test_int8_agrees(name):
    encoder, clips = encoder_of(name), clips_of(8)
    near = F.cosine_similarity(quantise(encoder, clips)(clips), encoder(clips))
    assert bool((near > 0.98).all())


@pytest.mark.parametrize("name", INPUTS)
def test_clips_that_share_frames_are_encoded_as_clips(name):
    encoder = encoder_of(name, stem_kernel=(1, 7, 7))
    frames_FCHW = torch.rand(10, 3, 32, 32)
    place_NT = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [2, 3, 4, 5, 6, 7, 8, 9]])
    [shared] = encode_frames(encoder, frames_FCHW, place_NT)
    assert torch.allclose(shared, encoder(gather_clips(frames_FCHW, place_NT)), atol=1e-5)
    assert still_stages(encoder) == (("stem",) if name == "rgb" else ())


@pytest.mark.parametrize("name", CHANGED)
def test_grad_cam_explains_it(name):
    encoder, clips = encoder_of(name), clips_of()
    target = along(encoder(clips).detach().mean(dim=0))
    heat = grad_cam(encoder, clips, target)
    assert heat is not None


@pytest.mark.parametrize("name", CHANGED)
def test_recomputing_activations_gives_the_same_gradient(name):
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        encoder, clips = encoder_of(name).train(), clips_of(6)
        encoder.recompute_blocks = recompute
        torch.manual_seed(1)
        encoder(clips).square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


def test_alternating_holds_every_order_equally_often():
    clips = clips_of(6).double()
    found = Alternating().train()(clips)
    orders = [
        next(k for k in range(ORDERS) if torch.equal(one[None], derivative(clip[None], k)))
        for one, clip in zip(found, clips, strict=True)
    ]
    assert sorted(orders) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", INPUTS)
def test_a_model_file_keeps_its_input(name, tmp_path):
    encoder, clips = encoder_of(name), clips_of()
    save_model(tmp_path / "model.safetensors", encoder, clip=ClipSpec(8, 2), size=32)
    loaded = load_encoder(tmp_path)
    assert torch.equal(loaded(clips), encoder(clips))
    assert input_of(tmp_path) == name
