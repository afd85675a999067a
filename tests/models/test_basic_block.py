"""The block is torchvision's: names, outputs and gradients."""

import pytest
import torch
from torch import nn
from torchvision.models.video.resnet import BasicBlock as Reference
from torchvision.models.video.resnet import Conv3DSimple

from cvrl.models.basic_block import BasicBlock


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
def test_outputs_and_gradients_are_torchvisions(stride):
    def shortcut():
        conv = nn.Conv3d(4, 6, 1, stride, bias=False)
        return nn.Sequential(conv, nn.BatchNorm3d(6))

    torch.manual_seed(0)
    block, reference = (
        BasicBlock(4, 6, stride, shortcut()),
        Reference(4, 6, Conv3DSimple, stride, shortcut()),
    )
    reference.load_state_dict(block.state_dict())
    results = []
    for net in (block, reference):
        x = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        x.requires_grad_()
        y = net(x)
        y.square().sum().backward()
        results.append([y, x.grad, *(p.grad for p in net.parameters())])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*results, strict=True))


def test_without_a_shortcut_the_input_is_added():
    block, reference = BasicBlock(4, 4).eval(), Reference(4, 4, Conv3DSimple).eval()
    reference.load_state_dict(block.state_dict())
    x = torch.randn(1, 4, 2, 6, 6)
    assert torch.equal(block(x), reference(x))
