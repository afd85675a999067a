"""Every pair of views counts; a shuffled copy repels and never attracts."""

from itertools import combinations

import torch
from cases import build, make_batch
from torch.nn import functional as F

from cvrl.losses import info_nce
from cvrl.methods.simclr import SimCLR, contrast_top1
from cvrl.models.backbones import build_encoder


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


def test_top1_compares_the_two_views():
    z = torch.eye(4)
    assert contrast_top1(z, z).item() == 1
    assert contrast_top1(z, z.roll(1, dims=0)).item() == 0


def test_the_head_is_cvrls_by_default():
    task = SimCLR(build_encoder("r3d_small", width=4))
    shapes = [tuple(p.shape) for p in task.projector.parameters() if p.ndim == 2]
    assert shapes == [(2048, 32), (2048, 2048), (2048, 2048), (128, 2048)]
