"""Stages that see one frame at a time: found from the kernels, run once a frame, same features."""

import pytest
import torch
from torch import nn

from cvrl.models.backbones import STAGES, Encoder, build_encoder
from cvrl.models.inference.overlapping import encode_frames, gather_clips, is_still, still_stages

OVERLAPPING = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4], [3, 4, 5, 6], [6, 0, 6, 0], [7, 7, 7, 7]])


@pytest.fixture(scope="module")
def slow() -> Encoder:
    """Slow R50 with norms that are not those of a fresh network, whose blocks do nothing."""
    torch.manual_seed(0)
    encoder = build_encoder("slow_r50").eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.running_mean, std=0.1)
    return encoder


@pytest.mark.parametrize(
    ("name", "still"),
    [
        ("slow_r50", ("stem", "res2", "res3")),
        ("r3d50", ()),
        ("r3d18", ()),
        ("r2plus1d18", ()),
        ("r3d_small", ()),
    ],
)
def test_the_still_stages_of_every_encoder(name, still):
    assert still_stages(build_encoder(name)) == still


@pytest.mark.parametrize(
    ("layer", "still"),
    [
        (nn.Conv3d(2, 2, (1, 3, 3), padding=(0, 1, 1)), True),
        (nn.Conv3d(2, 2, 1), True),
        (nn.Conv3d(2, 2, (1, 3, 3), padding="same"), True),
        (nn.Conv3d(2, 2, (2, 1, 1)), False),
        (nn.Conv3d(2, 2, 1, stride=(2, 1, 1)), False),
        (nn.Conv3d(2, 2, 1, padding=(1, 0, 0)), False),
        (nn.MaxPool3d((1, 3, 3), (1, 2, 2)), True),
        (nn.MaxPool3d(3), False),
        (nn.AvgPool3d((1, 2, 2)), True),
        (nn.AdaptiveAvgPool3d(1), False),
        (nn.InstanceNorm3d(2), False),
        (nn.Sequential(nn.Conv3d(2, 2, 1), nn.BatchNorm3d(2), nn.ReLU()), True),
        (nn.Sequential(nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 3)), False),
    ],
)
def test_layers(layer, still):
    assert is_still(layer) is still


@pytest.mark.parametrize("until", ["res2", "res3", "res4", "res5", "pooled"])
@pytest.mark.parametrize("at_once", [2, 16])
def test_the_features_are_those_of_the_clips(slow, until, at_once):
    frames = torch.rand(8, 3, 32, 32)
    with torch.inference_mode():
        parts = list(encode_frames(slow, frames, OVERLAPPING, until=until, at_once=at_once))
        expected = slow.stages(gather_clips(frames, OVERLAPPING))[until]
    assert max(map(len, parts)) <= at_once
    torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-5, atol=1e-5)


def test_an_encoder_without_still_stages_sees_clips():
    encoder = build_encoder("r3d_small", width=2).eval()
    frames, places = torch.rand(11, 3, 32, 32), torch.arange(8)[None] + torch.arange(4)[:, None]
    with torch.inference_mode():
        (h_ND,) = encode_frames(encoder, frames, places)
        torch.testing.assert_close(h_ND, encoder(gather_clips(frames, places)))


def test_still_stages_run_once_a_frame(slow):
    seen: dict[str, int] = {}
    hooks = [
        getattr(slow, name).register_forward_hook(
            lambda module, inputs, y, name=name: seen.update(
                {name: seen.get(name, 0) + y.shape[0] * y.shape[2]}
            )
        )
        for name in ("stem", *STAGES)
    ]
    with torch.inference_mode():
        list(encode_frames(slow, torch.rand(8, 3, 32, 32), OVERLAPPING, at_once=1))
    for hook in hooks:
        hook.remove()
    assert seen == {"stem": 8, "res2": 8, "res3": 8, "res4": 20, "res5": 20}
