"""The pairwise head against loops, and tuples without a label."""

from dataclasses import replace

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.order import Order, top1
from cvrl.models.backbones import build_encoder


def reference_loss(task, batch):
    """VCOP's head for one tuple at a time, in float64."""
    terms = []
    for clips_VCTHW, order in zip(batch.clips_BVCTHW, batch.order_BV[:, 0].tolist(), strict=True):
        if order < 0:
            continue
        h = task.encoder(clips_VCTHW)
        joined = []
        for i in range(len(h)):
            for j in range(i + 1, len(h)):
                linear = task.pair[0]
                pair = linear.weight @ torch.cat([h[i], h[j]]) + linear.bias
                joined.append(pair.clamp(min=0))
        logits = task.classifier.weight @ torch.cat(joined) + task.classifier.bias
        terms.append(-(logits[order] - logits.exp().sum().log()))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("case", ["order", "order@relative_patch"])
def test_the_loss_is_that_of_a_loop_over_tuples(case):
    task = build(case).double().eval()
    batch = make_batch(case, dtype=torch.float64)
    batch = replace(batch, order_BV=batch.order_BV.index_fill(0, torch.tensor([2]), -1))
    with torch.no_grad():
        losses = task(batch)
        expected = reference_loss(task, batch)
    torch.testing.assert_close(losses["loss"].double(), expected.double(), atol=1e-6, rtol=1e-6)
    assert losses["unlabelled"].item() == pytest.approx(1 / 6)


def test_every_pair_goes_through_one_layer():
    task = Order(build_encoder("r3d_small", width=4), clips=4, order_classes=24, hidden=10)
    assert len(task.pairs) == 6 and task.classifier.in_features == 60
    assert task.pair[0].in_features == 2 * task.encoder.dim


def test_a_batch_without_any_label_teaches_nothing_and_is_no_nan():
    task = build("order")
    batch = make_batch("order")
    losses = task(replace(batch, order_BV=torch.full_like(batch.order_BV, -1)))
    losses["loss"].backward()
    assert losses["loss"].item() == 0 and losses["pretext_top1"].item() == 0
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in task.parameters())


def test_top1_counts_rows():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 5.0]])
    assert top1(logits, torch.tensor([0, 1, 1, 1])).item() == 0.75
    assert top1(logits[:0], torch.tensor([], dtype=torch.long)).item() == 0
