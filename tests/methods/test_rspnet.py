"""RSPNet's two losses against loops, and videos without two speeds."""

from dataclasses import replace

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.rspnet import RSPNet, speed_gap
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


def unit(z):
    return z / z.square().sum().sqrt()


def reference_losses(task, batch):
    """L_m and L_a for one video at a time, over the projections of all clips."""
    B, V = batch.clips_BVCTHW.shape[:2]
    h = task.encoder(batch.clips_BVCTHW.flatten(0, 1))
    a, m = (
        [[unit(z) for z in video] for video in head(h).view(B, V, -1)]
        for head in (task.projector, task.speed_projector)
    )
    speed, appearance = [], []
    for b in range(B):
        if batch.order_BV[b, 0] >= 0:
            gap = m[b][0] @ m[b][1] - m[b][0] @ m[b][2]
            speed.append(max(0.0, task.margin - gap.item()))
        for v in (1, 2):
            for one, other in ((0, v), (v, 0)):
                score = a[b][one] @ a[b][other] / task.temperature
                rest = [
                    a[b][one] @ a[k][u] / task.temperature
                    for k in range(B)
                    if batch.group_id_B[k] != batch.group_id_B[b]
                    for u in (0, v)
                ]
                appearance.append(-score + torch.stack([score, *rest]).exp().sum().log())
    return sum(speed) / len(speed), (sum(appearance) / len(appearance)).item()


@torch.no_grad()
def test_the_losses_are_those_of_loops():
    task = build("rspnet").double().eval()
    task.speed_weight = 0.3
    batch = make_batch("rspnet", dtype=torch.float64)
    batch = replace(
        batch,
        order_BV=batch.order_BV.index_fill(0, torch.tensor([2]), -1),
        group_id_B=torch.tensor([0, 1, 2, 3, 4, 1]),
    )
    losses = task(batch)
    speed, appearance = reference_losses(task, batch)
    assert losses["speed_loss"].item() == pytest.approx(speed, abs=1e-9)
    assert losses["appearance_loss"].item() == pytest.approx(appearance, abs=1e-9)
    assert losses["loss"].item() == pytest.approx(0.3 * speed + 0.7 * appearance, abs=1e-9)
    assert losses["unlabelled"].item() == pytest.approx(1 / 6)


def test_videos_without_speeds_teach_the_appearance_only():
    task = build("rspnet")
    batch = make_batch("rspnet")
    losses = task(replace(batch, order_BV=torch.full_like(batch.order_BV, -1)))
    losses["loss"].backward()
    assert losses["speed_loss"].item() == 0 and losses["pretext_top1"].item() == 0
    assert all(not p.grad.any() for p in task.speed_projector.parameters())
    assert any(p.grad.any() for p in task.projector.parameters())


def test_the_gap_has_no_scale_and_changes_sign_with_the_pair():
    m_VBD = torch.randn(3, 5, 4)
    torch.testing.assert_close(speed_gap(m_VBD), speed_gap(7 * m_VBD))
    torch.testing.assert_close(speed_gap(m_VBD), -speed_gap(m_VBD[[0, 2, 1]]))


@pytest.mark.parametrize(
    "keywords", [{"margin": -0.1}, {"margin": 3.0}, {"speed_weight": 2.0}, {"temperature": 0.0}]
)
def test_numbers_out_of_range_are_refused(keywords):
    with pytest.raises(UserError, match=f"method.{next(iter(keywords))}"):
        RSPNet(build_encoder("r3d_small", width=4), **keywords)
