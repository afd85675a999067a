"""BYOL: the loss against a plain loop, where the gradient goes, and how the target follows."""

import math
from itertools import permutations

import pytest
import torch

from cvrl.data.dataset import Batch
from cvrl.methods.byol import BYOL
from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import SyncBatchNorm, convert_sync_batchnorm
from cvrl.utils.errors import UserError


def build(**keywords):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=2, blocks=(1, 1, 1, 1))
    small = {"hidden": 8, "dim": 4, "total_steps": 10}
    return BYOL(encoder, **{**small, **keywords}).double()


def make_batch(B=4, V=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        clips_BVCTHW=torch.rand(B, V, 3, 8, 32, 32, generator=generator, dtype=torch.float64),
        labels_B=torch.zeros(B, dtype=torch.int64),
        video_id_B=torch.arange(B),
        group_id_B=torch.arange(B),
        time_BV=torch.zeros(B, V),
        order_BV=torch.full((B, V), -1),
    )


def unit(row):
    return [x / math.hypot(*row) for x in row]


@pytest.mark.parametrize("V", [2, 3, 4])
def test_the_loss_is_the_mean_over_ordered_pairs_of_clips(V):
    task, batch = build(), make_batch(V=V)
    clips_NCTHW = batch.clips_BVCTHW.flatten(0, 1)
    p = task.predictor(task.projector(task.encoder(clips_NCTHW))).detach().view(4, V, -1).tolist()
    t = task.target(clips_NCTHW).view(4, V, -1).tolist()
    losses = []
    for b in range(4):
        for a, c in permutations(range(V), 2):
            pairs = zip(unit(p[b][a]), unit(t[b][c]), strict=True)
            losses.append(math.fsum((x - y) ** 2 for x, y in pairs))
    assert task(batch)["loss"].item() == pytest.approx(sum(losses) / len(losses), abs=1e-6)


def test_gradient_goes_online_and_not_to_the_target():
    task = build()
    for step in range(2):  # residual branches start at 0 and hold their gradients back
        task.zero_grad()
        task(make_batch(seed=step))["loss"].backward()
        with torch.no_grad():
            for parameter in task.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.1 * parameter.grad)
    for part in (task.encoder, task.projector, task.predictor):
        assert all(p.grad is not None and p.grad.any() for p in part.parameters())
    assert all(p.grad is None and not p.requires_grad for p in task.target.parameters())


def test_the_target_moves_after_the_step_by_its_momentum():
    task = build(momentum=0.5, total_steps=2)
    online, target = task.projector[-1].weight, task.target.module[1][-1].weight
    start = online.detach().clone()
    with torch.no_grad():
        online.add_(1.0)
    loss = task(make_batch())
    loss["loss"].backward()
    assert torch.equal(target, start) and loss["momentum"].item() == 0.5
    expected = [0.5, 0.625, 0.625]  # momentum 0.5, 0.75, then 1
    for step, way in enumerate(expected):
        task.after_step(step)
        torch.testing.assert_close(target, start + way)
    assert task(make_batch())["momentum"].item() == 1.0


def test_the_target_starts_as_the_online_network_and_has_no_predictor():
    task = build()
    online = [*task.encoder.parameters(), *task.projector.parameters()]
    for mine, theirs in zip(task.target.parameters(), online, strict=True):
        assert torch.equal(mine, theirs)


def test_its_statistics_are_those_of_all_ranks_and_of_the_online_network():
    task = convert_sync_batchnorm(build())
    norms = [m for m in task.modules() if "BatchNorm" in type(m).__name__]
    assert {type(norm) for norm in norms} == {SyncBatchNorm}
    task(make_batch())["loss"].backward()
    task.after_step(0)
    online = [*task.encoder.buffers(), *task.projector.buffers()]
    for mine, theirs in zip(task.target.buffers(), online, strict=True):
        assert torch.equal(mine, theirs)


def test_there_are_no_negatives():
    """Two videos in a batch do not meet but through batch norm, here held still."""
    task, batch = build().eval(), make_batch(B=2)
    other = make_batch(B=2)
    other.clips_BVCTHW[1] = 0.5
    z, z_other = (
        task.predictor(task.projector(task.encoder(b.clips_BVCTHW[:1].flatten(0, 1))))
        for b in (batch, other)
    )
    assert torch.equal(z, z_other)
    alone = make_batch(B=2)
    halves = []
    for row in range(2):
        part = Batch(
            **{
                name: getattr(alone, name)[row : row + 1]
                for name in ("clips_BVCTHW", "labels_B", "video_id_B", "group_id_B")
            },
            time_BV=alone.time_BV[row : row + 1],
            order_BV=alone.order_BV[row : row + 1],
        )
        halves.append(task(part)["loss"].item())
    assert task(alone)["loss"].item() == pytest.approx(sum(halves) / 2, abs=1e-9)


def test_the_defaults_are_those_of_the_large_scale_study():
    encoder = build_encoder("r3d_small", width=2)
    task = BYOL(encoder, total_steps=10)
    assert task.projector.spec["hidden"] == task.predictor.spec["hidden"] == 4096
    assert task.projector.spec["dim_out"] == task.predictor.spec["dim_in"] == 256
    assert (task.momentum.start, task.momentum.end) == (0.996, 1.0)


@pytest.mark.parametrize("keywords", [{"momentum": 1.5}, {"final_momentum": -1.0}])
def test_bad_keywords_are_refused_by_name(keywords):
    with pytest.raises(UserError, match=f"method.{next(iter(keywords))}"):
        build(**keywords)
