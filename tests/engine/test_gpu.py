"""What a GPU does for speed changes no number; where there is none, these wait."""

import pytest
import torch
from torch import nn

from cvrl.config import TrainConfig
from cvrl.data.dataset import Batch
from cvrl.engine.devices import build_accelerator
from cvrl.engine.optim import build_optimizer
from cvrl.models.backbones import build_encoder

pytestmark = pytest.mark.cuda
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_without_a_gpu_tf32_changes_nothing():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    before = torch.get_float32_matmul_precision()
    build_accelerator(TrainConfig(tf32=True))
    assert torch.get_float32_matmul_precision() == before


@needs_gpu
@pytest.mark.parametrize(("tf32", "precision"), [(True, "high"), (False, "highest")])
def test_tf32_is_a_choice(tf32, precision):
    build_accelerator(TrainConfig(tf32=tf32))
    assert torch.get_float32_matmul_precision() == precision
    assert torch.backends.cuda.matmul.allow_tf32 == tf32


@needs_gpu
@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_one_kernel_for_all_weights_steps_alike(name):
    torch.manual_seed(0)
    start, gradient = torch.randn(5, 7), torch.randn(5, 7)
    ends = []
    for fused in (True, False):
        weight = nn.Parameter(start.cuda())
        groups = [{"name": "decayed", "params": [weight], "weight_decay": 0.01}]
        optimizer = build_optimizer(groups, name, lr=0.1, fused=fused)
        for _ in range(3):
            weight.grad = gradient.cuda()
            optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends)


@needs_gpu
def test_page_locked_batches_arrive_as_they_were():
    clips = torch.rand(2, 2, 3, 4, 8, 8)
    rows = torch.arange(2)
    batch = Batch(clips, rows, rows, rows, torch.zeros(2, 2), torch.zeros(2, 2))
    there = batch.pin_memory().to(torch.device("cuda"), non_blocking=True)
    torch.cuda.synchronize()
    assert torch.equal(there.clips_BVCTHW.cpu(), clips)


@needs_gpu
@pytest.mark.parametrize("last", [False, True])
def test_gradients_are_those_of_the_cpu(last):
    build_accelerator(TrainConfig())
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=4).eval()
    clips = torch.rand(2, 3, 8, 32, 32)
    encoder(clips).square().sum().backward()
    theirs = [p.grad.clone() for p in encoder.parameters()]
    encoder.zero_grad()
    encoder.cuda()
    if last:
        encoder.to(memory_format=torch.channels_last_3d)
    encoder(clips.cuda()).square().sum().backward()
    for p, their in zip(encoder.parameters(), theirs, strict=True):
        assert (p.grad.cpu() - their).norm() <= 1e-3 * their.norm()


@needs_gpu
def test_bf16_comes_near():
    torch.manual_seed(0)
    encoder, clips = build_encoder("r3d_small", width=4).cuda().eval(), torch.rand(2, 3, 8, 32, 32)
    with torch.inference_mode():
        exact = encoder(clips.cuda())
        with build_accelerator(TrainConfig(precision="bf16")).autocast():
            near = encoder(clips.cuda())
    assert (near.float() - exact).norm() <= 0.05 * exact.norm()
