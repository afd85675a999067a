"""Weights of CVRL's code: their spread, their bounds, and that nothing begins switched off."""

import math

import pytest
import torch
from torch import nn

from cvrl.methods.simclr import SimCLR
from cvrl.models.backbones import build_encoder
from cvrl.models.initial_weights import CUT_STD, draw_weights, init_as_keras
from cvrl.utils.errors import UserError


def test_convolutions_are_normal_cut_off_with_variance_one_over_fan_in() -> None:
    torch.manual_seed(0)
    layer = nn.Conv3d(32, 512, 3)
    init_as_keras(layer)
    unit = layer.weight.detach() * math.sqrt(32 * 27)
    assert unit.mean().item() == pytest.approx(0, abs=0.01)
    assert unit.std().item() == pytest.approx(1, abs=0.01)
    assert unit.abs().max().item() == pytest.approx(2 / CUT_STD, abs=0.01)
    assert layer.bias is not None and not layer.bias.any()


def test_linear_layers_are_glorots() -> None:
    layer = nn.Linear(300, 500)
    init_as_keras(layer)
    bound = math.sqrt(6 / 800)
    assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not layer.bias.any()


@pytest.mark.parametrize("name", ["r3d50", "r3d_small"])
def test_no_branch_of_an_encoder_begins_switched_off(name: str) -> None:
    encoder = build_encoder(name, init="cvrl")
    norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm3d)]
    assert all(bool((norm.weight == 1).all()) and not norm.bias.any() for norm in norms)
    assert encoder.spec["init"] == "cvrl"
    again = build_encoder(**encoder.spec)
    assert again.spec == encoder.spec
    assert "init" not in build_encoder("r3d_small").spec


def test_the_head_of_simclr_is_drawn_alike() -> None:
    last = SimCLR(build_encoder("r3d_small", init="cvrl"), hidden=64, dim=32).projector[-1]
    assert isinstance(last, nn.Linear) and not last.bias.any()
    assert SimCLR(build_encoder("r3d_small"), hidden=64, dim=32).projector[-1].bias.any()


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"encoder\.init = he: is not known; use library or cvrl"):
        build_encoder("r3d_small", init="he")
    with pytest.raises(UserError, match="suits 3D ResNets only"):
        draw_weights(nn.Linear(2, 2), "cvrl")
