"""Small clips are queries of SimCLR, MoCo and BYOL, and never targets."""

from dataclasses import replace

import pytest
import torch
from cases import build, make_batch
from torch.nn import functional as F

CASES = ["simclr@multi_crop", "moco@multi_crop", "byol@multi_crop"]


def build_and_batch(case):
    task = build(case).double().eval()
    batch = make_batch(case, dtype=torch.float64)
    return task, replace(batch, group_id_B=torch.tensor([0, 1, 2, 3, 4, 1]))


def embed(task, clips_BVCTHW, head=None):
    """Unit rows, [video][clip]."""
    network = head or (lambda clips: task.projector(task.encoder(clips)))
    return [
        [F.normalize(network(clip[None])[0], dim=0) for clip in video] for video in clips_BVCTHW
    ]


def allowed(batch, query, key):
    return batch.group_id_B[query] != batch.group_id_B[key]


def simclr_loss(task, batch):
    large, small = embed(task, batch.clips_BVCTHW), embed(task, batch.small_BVCTHW)
    terms = []
    for b in range(6):
        for anchor, other in ((0, 1), (1, 0)):  # the other large clip; negatives of both views
            keys = [large[k][v] for k in range(6) if allowed(batch, b, k) for v in (0, 1)]
            terms.append(cross_entropy(large[b][anchor], large[b][other], keys, task.temperature))
        for z in small[b]:  # every large clip; negatives of that view
            for v in (0, 1):
                keys = [large[k][v] for k in range(6) if allowed(batch, b, k)]
                terms.append(cross_entropy(z, large[b][v], keys, task.temperature))
    return sum(terms) / len(terms)


def moco_loss(task, batch):
    key_network = task.key_network.module.eval()
    large, small = embed(task, batch.clips_BVCTHW), embed(task, batch.small_BVCTHW)
    target = embed(task, batch.clips_BVCTHW, key_network)
    keys, terms = list(task.queue.key_KD), []
    for b in range(6):
        for a, q in enumerate([*large[b], *small[b]]):
            for v in (0, 1):
                if a != v:
                    terms.append(cross_entropy(q, target[b][v], keys, task.temperature))
    return sum(terms) / len(terms)


def byol_loss(task, batch):
    def online(clips):
        return task.predictor(task.projector(task.encoder(clips)))

    large, small = (
        embed(task, clips, online) for clips in (batch.clips_BVCTHW, batch.small_BVCTHW)
    )
    target = embed(task, batch.clips_BVCTHW, task.target.module.eval())
    terms = [
        (p - target[b][v]).square().sum()
        for b in range(6)
        for a, p in enumerate([*large[b], *small[b]])
        for v in (0, 1)
        if a != v
    ]
    return sum(terms) / len(terms)


def cross_entropy(query, positive, negatives, temperature):
    scores = torch.stack([query @ key / temperature for key in [positive, *negatives]])
    return scores.exp().sum().log() - scores[0]


def fill_queue(task):
    """Keys of other videos, known to the loop."""
    key_KD = torch.randn(12, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ids = torch.arange(12) + 100
    task.queue.push(F.normalize(key_KD), ids, ids)


LOOPS = dict(zip(CASES, (simclr_loss, moco_loss, byol_loss), strict=True))


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_every_clip_is_compared_with_every_other_large_clip(case):
    task, batch = build_and_batch(case)
    if "moco" in case:
        fill_queue(task)
    torch.testing.assert_close(task(batch)["loss"], LOOPS[case](task, batch), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_a_small_clip_changes_the_loss_of_its_own_video_only(case):
    """As a key it would be a negative of the other videos."""
    task, batch = build_and_batch(case)
    small = batch.small_BVCTHW.clone().requires_grad_()
    task.train(False)
    z_before = task(replace(batch, small_BVCTHW=small[:, :1]))
    loss = {}
    for changed in (0, 1):
        other = small.detach()[:, :1].clone()
        other[changed] = 1 - other[changed]
        loss[changed] = task(replace(batch, small_BVCTHW=other))["loss"] - z_before["loss"]
    both = small.detach()[:, :1].clone()
    both[:2] = 1 - both[:2]
    together = task(replace(batch, small_BVCTHW=both))["loss"] - z_before["loss"]
    torch.testing.assert_close(together, loss[0] + loss[1], atol=1e-9, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_gradient_reaches_both_sizes(case):
    task, batch = build_and_batch(case)
    if "moco" in case:
        fill_queue(task)
    batch.clips_BVCTHW.requires_grad_()
    batch.small_BVCTHW.requires_grad_()
    task(batch)["loss"].backward()
    assert batch.clips_BVCTHW.grad.any() and batch.small_BVCTHW.grad.any()


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_without_small_clips_it_is_the_method_on_two_clips(case):
    task, batch = build_and_batch(case)
    assert torch.isfinite(task(replace(batch, small_BVCTHW=None))["loss"])
    assert len(task(batch)["embedding_ND"]) == 12, "the monitors see large clips only"


def test_moco_enqueues_large_clips_only():
    task, batch = build_and_batch("moco@multi_crop")
    task(batch)
    task.after_step(0)
    assert task.queue.video_K.tolist() == [*range(6), *range(6)]
