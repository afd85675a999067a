"""Every method computes on a GPU what it computes on the CPU."""

from dataclasses import fields

import pytest
import torch
from cases import CASES, build, make_batch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_the_cpu(name):
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    losses, gradients = [], []
    for device in ("cpu", "cuda"):
        task = build(name).double().to(device)
        for module in task.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # draws differ by device
        batch = make_batch(name, dtype=torch.float64).to(torch.device(device))
        torch.manual_seed(0)
        loss = task(batch)["loss"]
        loss.backward()
        losses.append(loss.detach().cpu().double())
        trained = [p for p in task.parameters() if p.requires_grad and p.grad is not None]
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in trained]))
    torch.testing.assert_close(losses[1], losses[0], atol=1e-5, rtol=1e-4)
    assert (gradients[1] - gradients[0]).norm() <= 1e-3 * gradients[0].norm() + 1e-8


@pytest.mark.parametrize("name", CASES)
def test_a_step_in_bf16_is_finite(name):
    task = build(name).cuda()
    batch = make_batch(name).to(torch.device("cuda"))
    assert any(
        tensor.is_cuda
        for tensor in (getattr(batch, f.name) for f in fields(batch))
        if isinstance(tensor, torch.Tensor)
    )
    with torch.autocast("cuda", torch.bfloat16):
        loss = task(batch)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
