"""SwAV: the loss against a plain loop, who gives codes, and what the prototypes and queue do."""

import math

import pytest
import torch
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.losses.swapped import sinkhorn
from cvrl.methods.swav import SwAV
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


def build(**keywords):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=2, blocks=(1, 1, 1, 1))
    small = {"prototypes": 5, "hidden": 8, "dim": 4, "steps_per_epoch": 0}
    return SwAV(encoder, **{**small, **keywords}).double()


def make_batch(B=4, V=2, S=0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(B, S, 3, 8, 32, 32, generator=generator, dtype=torch.float64)
    return Batch(
        clips_BVCTHW=torch.rand(B, V, 3, 8, 40, 40, generator=generator, dtype=torch.float64),
        labels_B=torch.zeros(B, dtype=torch.int64),
        video_id_B=torch.arange(B) + 10 * seed,
        group_id_B=torch.arange(B),
        time_BV=torch.zeros(B, V),
        order_BV=torch.full((B, V), -1),
        small_BVCTHW=small if S else None,
    )


def embed(task, clips_BVCTHW):
    B, V = clips_BVCTHW.shape[:2]
    z_ND = task.projector(task.encoder(clips_BVCTHW.flatten(0, 1))).detach()
    return F.normalize(z_ND, dim=1).view(B, V, -1).transpose(0, 1)


def loss_by_loop(task, batch, remembered=None):
    z_ABD = embed(task, batch.clips_BVCTHW)
    V = len(z_ABD)
    if batch.small_BVCTHW is not None:
        z_ABD = torch.cat([z_ABD, embed(task, batch.small_BVCTHW)])
    C = task.prototypes.weight.detach()
    extra = None if remembered is None else remembered @ C.T
    losses = []
    for a in range(V):
        code_BK = sinkhorn(z_ABD[a] @ C.T, task.epsilon, task.iterations, extra).tolist()
        for b in range(len(z_ABD)):
            if b == a:
                continue
            for z, code in zip(z_ABD[b].tolist(), code_BK, strict=True):
                scores = [math.fsum(x * c for x, c in zip(z, row, strict=True)) for row in C]
                terms = [math.exp(s / task.temperature) for s in scores]
                logs = [math.log(t / math.fsum(terms)) for t in terms]
                losses.append(-math.fsum(q * x for q, x in zip(code, logs, strict=True)))
    return sum(losses) / len(losses)


class TestLoss:
    @pytest.mark.parametrize(("V", "S"), [(2, 0), (3, 0), (2, 3), (1, 2)])
    def test_every_code_is_predicted_from_every_other_clip(self, V, S):
        task, batch = build(), make_batch(V=V, S=S)
        expected = loss_by_loop(task, batch)
        assert task(batch)["loss"].item() == pytest.approx(expected, abs=1e-6)

    def test_small_clips_give_no_codes(self, monkeypatch):
        calls = []
        monkeypatch.setattr(
            "cvrl.methods.swav.sinkhorn", lambda *a: calls.append(a) or sinkhorn(*a)
        )
        task, batch = build(), make_batch(V=2, S=3)
        task(batch)
        large_VBK = embed(task, batch.clips_BVCTHW) @ task.prototypes.weight.detach().T
        assert len(calls) == 2
        for (scores_BK, *_), expected in zip(calls, large_VBK, strict=True):
            torch.testing.assert_close(scores_BK.detach(), expected)

    def test_gradient_reaches_both_sizes_and_the_prototypes(self):
        task, batch = build(), make_batch(S=2)
        batch.clips_BVCTHW.requires_grad_()
        batch.small_BVCTHW.requires_grad_()
        task(batch)["loss"].backward()
        for tensor in (batch.clips_BVCTHW, batch.small_BVCTHW, task.prototypes.weight):
            assert tensor.grad is not None and tensor.grad.any()

    def test_a_network_that_tells_nothing_costs_log_k(self):
        task = build()
        with torch.no_grad():
            task.prototypes.weight.copy_(task.prototypes.weight[:1].repeat(5, 1))
        losses = task(make_batch())
        assert losses["loss"].item() == pytest.approx(math.log(5), abs=1e-9)
        assert losses["prototype_entropy"].item() == pytest.approx(1.0, abs=1e-6)


class TestPrototypes:
    def test_they_are_of_unit_norm_from_the_start_and_after_each_step(self):
        task = build()
        ones = torch.ones(5).double()
        torch.testing.assert_close(task.prototypes.weight.norm(dim=1), ones, atol=1e-6, rtol=0)
        with torch.no_grad():
            task.prototypes.weight.mul_(3.0).add_(0.1)
        task.after_step(0)
        torch.testing.assert_close(task.prototypes.weight.norm(dim=1), ones, atol=1e-12, rtol=0)

    def test_they_are_frozen_for_the_first_epoch_and_nothing_else_is(self):
        task = build(steps_per_epoch=2, frozen_epochs=1)
        start = task.prototypes.weight.detach().clone()
        optimizer = torch.optim.AdamW(task.param_groups(1e-2), lr=0.01)
        moved = []
        for step in range(4):
            head = task.projector[-1].weight.detach().clone()
            optimizer.zero_grad()
            task(make_batch(seed=step))["loss"].backward()
            task.before_step()
            optimizer.step()
            task.after_step(step)
            assert not torch.equal(task.projector[-1].weight, head)
            moved.append(not torch.allclose(task.prototypes.weight, start, atol=1e-6))
        assert moved == [False, False, True, True]
        assert optimizer.state[task.prototypes.weight]["step"] == 2  # its own count, from the thaw

    def test_none_are_frozen_without_such_epochs(self):
        task = build(steps_per_epoch=5, frozen_epochs=0)
        task(make_batch())["loss"].backward()
        task.before_step()
        assert task.prototypes.weight.grad.any()

    def test_the_thaw_is_remembered_by_a_checkpoint(self):
        task, other = (build(steps_per_epoch=1) for _ in range(2))
        task.after_step(0)
        other.load_state_dict(task.state_dict())
        other(make_batch())["loss"].backward()
        other.before_step()
        assert other.prototypes.weight.grad.any()


class TestQueue:
    def test_embeddings_of_large_clips_enter_after_the_step(self):
        task, batch = build(queue=20), make_batch(S=2)
        z_VBD = embed(task, batch.clips_BVCTHW)
        task(batch)["loss"].backward()
        assert int(task.queue.filled) == 0
        task.after_step(0)
        assert int(task.queue.filled) == 8
        torch.testing.assert_close(task.queue.key_KD[:8], z_VBD.flatten(0, 1))
        task.after_step(1)
        assert int(task.queue.filled) == 8

    def test_it_balances_the_codes_once_full_and_not_before_its_epoch(self):
        task = build(queue=16, steps_per_epoch=1, queue_from_epoch=3, frozen_epochs=0)
        for step in range(5):
            batch = make_batch(seed=step)
            remembered = task.queue.key_KD if step >= 3 else None
            expected = loss_by_loop(task, batch, remembered)
            assert task(batch)["loss"].item() == pytest.approx(expected, abs=1e-6), step
            task.after_step(step)

    def test_one_that_is_not_full_is_not_used(self):
        task, batch = build(queue=100, queue_from_epoch=0), make_batch()
        losses = task(batch)
        assert losses["loss"].item() == pytest.approx(loss_by_loop(task, batch), abs=1e-6)
        assert losses["queue_fill"].item() == 0.0

    def test_without_one_nothing_is_held(self):
        task = build()
        assert "queue_fill" not in task(make_batch())
        assert not any("queue" in name for name in task.state_dict())


def test_scores_are_not_rounded_by_autocast():
    task = build().float()
    z = F.normalize(torch.randn(6, 4), dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = task._scores(z)
    assert torch.equal(found, z @ task.prototypes.weight.T)


def test_a_resumed_run_goes_on_bit_for_bit():
    def steps(task, first, last):
        optimizer = torch.optim.SGD(task.param_groups(0.0), lr=0.05)
        for step in range(first, last):
            loss = task(make_batch(seed=step, S=1))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            task.after_step(step)

    straight, stopped, resumed = (
        build(queue=8, steps_per_epoch=1, queue_from_epoch=1) for _ in range(3)
    )
    steps(straight, 0, 4)
    steps(stopped, 0, 2)
    resumed.load_state_dict(stopped.state_dict())
    steps(resumed, 2, 4)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    "keywords",
    [{"prototypes": 1}, {"temperature": 0.0}, {"epsilon": 0.0}, {"iterations": 0}, {"queue": -1}],
)
def test_bad_keywords_are_refused_by_name(keywords):
    with pytest.raises(UserError, match=f"method.{next(iter(keywords))}"):
        build(**keywords)
