"""Every pair of views counts; a shuffled copy repels and never attracts."""

from itertools import combinations

import pytest
import torch
from cases import build, make_batch
from torch.nn import functional as F

from cvrl.losses import info_nce
from cvrl.methods.simclr import SimCLR, contrast_top1
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


def embeddings(task, batch):
    B, V = batch.clips_BVCTHW.shape[:2]
    return task.projector(task.encoder(batch.clips_BVCTHW.flatten(0, 1))).view(B, V, -1)


@torch.no_grad()
def test_with_three_views_the_loss_is_the_mean_over_the_pairs():
    task = build("simclr").double().eval()
    batch = make_batch("order", dtype=torch.float64)  # any three clips of a video
    z = embeddings(task, batch)
    groups, pairs = batch.group_id_B, combinations(range(3), 2)
    expected = [info_nce(z[:, a], z[:, b], 0.1, groups) for a, b in pairs]
    torch.testing.assert_close(task(batch)["loss"], sum(expected) / 3)


@torch.no_grad()
def test_the_shuffled_copy_is_among_the_negatives_only():
    task = build("simclr@shuffled_pair").double().eval()
    batch = make_batch("simclr@shuffled_pair", dtype=torch.float64)
    z = F.normalize(embeddings(task, batch), dim=2)
    terms = []
    for video in range(6):
        for view, other in ((0, 1), (1, 0)):
            anchor = z[video, view]
            keys = [z[k, v] for k in range(6) for v in range(3) if (k, v) != (video, view)]
            total = torch.stack([(anchor @ key / 0.1).exp() for key in keys]).sum()
            terms.append(-(anchor @ z[video, other] / 0.1) + total.log())
    torch.testing.assert_close(task(batch)["loss"], torch.stack(terms).mean(), atol=1e-6, rtol=0)


@torch.no_grad()
def test_pairwise_nce_takes_the_next_video_or_the_shuffled_copy():
    for case in ("simclr@jigsaw_pair", "simclr@shuffled_pair"):
        task = build(case).double().eval()
        task.loss_of = task._nce_pair
        batch = make_batch(case, dtype=torch.float64)
        z = F.normalize(embeddings(task, batch), dim=2)
        terms = []
        for video in range(6):
            for view, other in ((0, 1), (1, 0)):
                negative = z[video, 2] if task.negatives else z[(video + 1) % 6, other]
                scores = [
                    z[video, view] @ key / task.temperature for key in (z[video, other], negative)
                ]
                terms.append(-torch.stack(scores).log_softmax(0)[0])
        torch.testing.assert_close(
            task(batch)["loss"], torch.stack(terms).mean(), atol=1e-6, rtol=0
        )


def test_a_step_moves_the_copy_away_from_its_clip():
    task = build("simclr@shuffled_pair")
    batch = make_batch("simclr@shuffled_pair")
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)

    def closeness():
        with torch.no_grad():
            z = F.normalize(embeddings(task, batch), dim=2)
        return (z[:, 0] * z[:, 2]).sum(dim=1).mean().item()

    before = closeness()
    for _ in range(30):
        optimizer.zero_grad()
        task(batch)["loss"].backward()
        optimizer.step()
    assert closeness() < before - 0.1


def separate(**keywords):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=4)
    how = {"hidden": 16, "hidden_layers": 1, "dim": 8, "key_encoder": "separate"}
    return SimCLR(encoder, **how, **keywords).double().eval()


@torch.no_grad()
@pytest.mark.parametrize("views", ["simclr", "simclr@shuffled_pair", "simclr@multi_crop"])
def test_with_two_networks_queries_meet_keys_only(views):
    batch = make_batch(views, dtype=torch.float64)
    negatives = int(views == "simclr@shuffled_pair")
    task = separate(negatives=negatives)
    for parameter in task.key_network.parameters():  # as after some steps
        parameter += 0.05 * torch.randn(parameter.shape, dtype=parameter.dtype)

    def unit(network, clips):
        return [[F.normalize(network(clip[None])[0], dim=0) for clip in video] for video in clips]

    query_network = torch.nn.Sequential(task.encoder, task.projector)
    q, k = unit(query_network, batch.clips_BVCTHW), unit(task.key_network, batch.clips_BVCTHW)
    small = [[]] * 6 if batch.small_BVCTHW is None else unit(query_network, batch.small_BVCTHW)
    terms = []
    for b in range(6):
        for a, query in enumerate([*q[b][:2], *small[b]]):
            for v in (0, 1):
                if a == v:
                    continue
                keys = [k[j][v] for j in range(6)] + [k[j][2] for j in range(6) if negatives]
                scores = torch.stack([query @ key / 0.1 for key in keys])
                terms.append(scores.exp().sum().log() - query @ k[b][v] / 0.1)
    torch.testing.assert_close(task(batch)["loss"], torch.stack(terms).mean(), atol=1e-9, rtol=0)


def test_the_key_network_starts_as_a_copy_and_is_trained_apart():
    task = separate().train()
    mine = [*task.encoder.parameters(), *task.projector.parameters()]
    theirs = list(task.key_network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    task(make_batch("simclr", dtype=torch.float64))["loss"].backward()
    optimizer.step()
    assert all(a is not b for a, b in zip(mine, theirs, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert task.kept_encoder is task.encoder


def test_another_key_encoder_is_refused():
    with pytest.raises(UserError, match="key_encoder = momentum: is neither; use shared or sep"):
        SimCLR(build_encoder("r3d_small", width=4), key_encoder="momentum")


def test_pairwise_nce_is_refused_where_it_is_not_defined():
    encoder = build_encoder("r3d_small", width=4)
    with pytest.raises(UserError, match=r"separate: does not go with method\.loss=nce_pair"):
        SimCLR(encoder, key_encoder="separate", loss="nce_pair")
    task = SimCLR(encoder, hidden=16, hidden_layers=1, dim=8, loss="nce_pair")
    with pytest.raises(UserError, match="nce_pair: does not compare small clips"):
        task(make_batch("simclr@multi_crop"))


def test_top1_compares_the_two_views():
    z = torch.eye(4)
    assert contrast_top1(z, z).item() == 1
    assert contrast_top1(z, z.roll(1, dims=0)).item() == 0


def test_the_head_is_cvrls_by_default():
    task = SimCLR(build_encoder("r3d_small", width=4))
    shapes = [tuple(p.shape) for p in task.projector.parameters() if p.ndim == 2]
    assert shapes == [(2048, 32), (2048, 2048), (2048, 2048), (128, 2048)]
