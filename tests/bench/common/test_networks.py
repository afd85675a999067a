"""Peers' networks have our weights and give our features; work is counted as it is."""

import pytest
import torch
from torch import nn

from cvrl.bench.common import networks
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


@pytest.mark.parametrize("name", networks.PEER_OF)
@torch.no_grad()
def test_a_peer_gives_the_same_features(name):
    torch.manual_seed(0)
    x = networks.smooth_clips(2, 8, 32)
    encoder = networks.settle(build_encoder(name), x)
    ours, theirs = encoder(x), networks.peer_network(encoder)(x)
    assert (ours - theirs).norm() <= 1e-5 * ours.norm()


def test_settled_norms_know_their_inputs():
    torch.manual_seed(0)
    x = networks.smooth_clips(4, 8, 32)
    encoder = networks.settle(build_encoder("r3d_small", width=2), x)
    assert not encoder.training
    norm = next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm3d))
    seen = {}
    norm.register_forward_hook(lambda _, inputs, __: seen.update(mean=inputs[0].mean((0, 2, 3, 4))))
    encoder(x)
    torch.testing.assert_close(norm.running_mean, seen["mean"], rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1


def test_operations_of_a_convolution():
    conv = nn.Conv3d(3, 5, 3, padding=1, bias=False)
    x = torch.rand(2, 3, 4, 6, 6)
    assert networks.gflops(conv, x) == pytest.approx(2 * 2 * 4 * 6 * 6 * 5 * 3 * 27 / 1e9)


def test_unknown_encoders_are_refused():
    with pytest.raises(UserError, match="r3d99"):
        networks.check_names(["r3d50", "r3d99"])
