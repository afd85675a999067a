"""Multiply-adds are those that torch's own counter finds."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cvrl.engine.profiling.macs import count_macs
from cvrl.models.backbones import build_encoder


def counted_by_torch(net, *inputs):
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net.eval()(*inputs)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("name", ["r3d_small", "r3d18", "r2plus1d18", "r3d50", "slow_r50"])
def test_encoders(name):
    encoder, clip = build_encoder(name), torch.zeros(1, 3, 8, 64, 64)
    assert count_macs(encoder, clip) == counted_by_torch(encoder, clip)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(6, 18)

    def forward(self, x_NLD):
        q, k, v = self.qkv(x_NLD).chunk(3, dim=-1)
        other = F.scaled_dot_product_attention(query=q[None], key=k[None], value=v[None])[0]
        return F.scaled_dot_product_attention(q[None], k[None], v[None])[0] @ other.mT


def test_attention_and_products():
    net, x_NLD = Attention(), torch.zeros(2, 7, 6)
    assert count_macs(net, x_NLD) == counted_by_torch(net, x_NLD)


def test_the_mode_is_as_before():
    net = nn.Linear(2, 2)
    assert count_macs(net.train(), torch.zeros(1, 2)) == 4 and net.training
    count_macs(net.eval(), torch.zeros(1, 2))
    assert not net.training
