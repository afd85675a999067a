"""TCLR's three losses against loops, and videos without different pieces."""

from dataclasses import replace
from math import exp, log

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.tclr import TCLR, global_local, local_local, piece_top1
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError

TAU = 0.2


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def h(a, b, tau=TAU):
    return exp(cosine(a, b) / tau)


def reference_local(one, other, tau=TAU):
    """L_LL of one video."""
    N, terms = len(one), []
    for z, w in ((one, other), (other, one)):
        for n in range(N):
            rest = sum(h(z[n], z[m], tau) for m in range(N) if m != n)
            rest += sum(h(z[n], w[m], tau) for m in range(N))
            terms.append(-log(h(z[n], w[n], tau) / rest))
    return sum(terms) / len(terms)


def reference_global(z, s, tau=TAU):
    """L_GL of one video."""
    N, terms = len(z), []
    for n in range(N):
        own = h(z[n], s[n], tau)
        terms.append(-log(own / sum(h(z[n], s[m], tau) for m in range(N))))
        terms.append(-log(own / sum(h(s[n], z[m], tau) for m in range(N))))
    return sum(terms) / len(terms)


def reference_instance(one, other, group, tau):
    """L_IC between two views of the videos."""
    terms = []
    for a, b in ((one, other), (other, one)):
        for i in range(len(a)):
            others = [k for k in range(len(a)) if group[k] != group[i]]
            rest = sum(h(a[i], a[k], tau) + h(a[i], b[k], tau) for k in others)
            terms.append(-log(h(a[i], b[i], tau) / (h(a[i], b[i], tau) + rest)))
    return sum(terms) / len(terms)


def test_the_temporal_losses_are_those_of_loops():
    one, other = torch.randn(2, 5, 4, 8, dtype=torch.float64)
    local, whole = local_local(one, other, TAU), global_local(one, other, TAU)
    for b in range(5):
        assert local[b].item() == pytest.approx(reference_local(one[b], other[b]), abs=1e-9)
        assert whole[b].item() == pytest.approx(reference_global(one[b], other[b]), abs=1e-9)


def projections(task, batch):
    """What the clips and the slices of the two global ones become, clip by clip."""
    z, s = [], []
    for clips_VCTHW in batch.clips_BVCTHW:
        maps = task.encoder.stages(clips_VCTHW)
        z.append(task.projector(maps["pooled"]))
        steps = maps["res5"][:2].mean(dim=(-2, -1))
        per = steps.shape[2] // task.pieces
        slices = [steps[..., n * per : (n + 1) * per].mean(-1) for n in range(task.pieces)]
        s.append([task.projector(torch.stack(row)) for row in zip(*slices, strict=True)])
    return torch.stack(z), s


@torch.no_grad()
def test_the_loss_is_the_weighted_sum_of_its_terms():
    task = build("tclr").double().eval()
    batch = make_batch("tclr", videos=4, dtype=torch.float64)
    short_BV = batch.order_BV.index_fill(0, torch.tensor([1]), -1)
    batch = replace(batch, order_BV=short_BV, group_id_B=torch.tensor([0, 1, 2, 0]))
    z, s = projections(task, batch)
    N, tau = task.pieces, task.temperature
    one, other = z[:, 2 : 2 + N], z[:, 2 + N :]
    seen = [0, 2, 3]
    local = sum(reference_local(one[b], other[b], tau) for b in seen) / 3
    whole = [
        reference_global(v[b], s[b][g], tau) for b in seen for v in (one, other) for g in (0, 1)
    ]
    pairs = [(one[:, n], other[:, m]) for n in range(N) for m in range(N)]
    group = batch.group_id_B.tolist()
    pieces = [reference_instance(a, b, group, tau) for a, b in pairs]
    instance = reference_instance(z[:, 0], z[:, 1], group, tau) / 2 + sum(pieces) / len(pieces) / 2
    losses = task(batch)
    assert losses["instance_loss"].item() == pytest.approx(instance, abs=1e-8)
    assert losses["local_loss"].item() == pytest.approx(local, abs=1e-8)
    assert losses["global_loss"].item() == pytest.approx(sum(whole) / len(whole), abs=1e-8)
    expected = instance + 0.5 * local + 2.0 * sum(whole) / len(whole)
    assert losses["loss"].item() == pytest.approx(expected, abs=1e-8)
    assert losses["unlabelled"].item() == pytest.approx(1 / 4)


def test_top1_counts_pieces_that_find_their_own_copy():
    z = torch.eye(4)[None]
    assert piece_top1(z, z).tolist() == [1.0]
    assert piece_top1(z, z[:, [1, 0, 2, 3]]).tolist() == [0.5]


def test_an_encoder_with_too_few_time_steps_is_refused():
    task = TCLR(build_encoder("r3d_small", width=4), order_classes=4)
    with pytest.raises(UserError, match=r"makes 1 time steps .*time_strides"):
        task(make_batch("tclr", videos=2))


@pytest.mark.parametrize("key", ["local_weight", "global_weight", "temperature"])
def test_numbers_out_of_range_are_refused(key):
    with pytest.raises(UserError, match=f"method.{key}"):
        TCLR(build_encoder("r3d_small", width=4), order_classes=4, **{key: -1.0})
