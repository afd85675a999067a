"""Distillation: the loss against a plain loop, its targets, and what of a teacher is left out."""

import math
from itertools import combinations

import pytest
import torch

from cvrl.data.dataset import Batch
from cvrl.losses.regression import cosine_regression
from cvrl.losses.relational import similarity_regression
from cvrl.methods.distil import Distil, principal_components
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError

VIDEOS = 8


def features(seed=3):
    return torch.randn(VIDEOS, 6, generator=torch.Generator().manual_seed(seed))


def build(feature_WE=None, **keywords):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=2, blocks=(1, 1, 1, 1))
    taught = features() if feature_WE is None else feature_WE
    small = {"teacher": "any", "clips": 2, "hidden": 8, "components": 3, "relation": 1.0}
    return Distil(encoder, teach=lambda teacher, clips: taught, **{**small, **keywords}).double()


def make_batch(video_ids, V=2, seed=0):
    B = len(video_ids)
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        clips_BVCTHW=torch.rand(B, V, 3, 8, 32, 32, generator=generator, dtype=torch.float64),
        labels_B=torch.full((B,), -1),
        video_id_B=torch.tensor(video_ids),
        group_id_B=torch.arange(B),
        time_BV=torch.zeros(B, V),
        order_BV=torch.full((B, V), -1),
    )


def unit(row):
    return [x / math.hypot(*row) for x in row]


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("V", [1, 2, 3])
def test_the_loss_compares_each_clip_with_the_target_of_its_video(V):
    task, batch = build(clips=V, cosine=0.5, relation=2.0), make_batch([6, 1, 4], V)
    z_NE = task.projector(task.encoder(batch.clips_BVCTHW.flatten(0, 1))).tolist()
    z = [unit(row) for row in z_NE]
    t = [unit(task.target_WD[video].tolist()) for video in (6, 1, 4) for _ in range(V)]
    cosine = sum(2 - 2 * dot(a, b) for a, b in zip(z, t, strict=True)) / len(z)
    pairs = [(dot(z[i], z[j]) - dot(t[i], t[j])) ** 2 for i, j in combinations(range(len(z)), 2)]
    expected = 0.5 * cosine + 2.0 * sum(pairs) / len(pairs)
    losses = task(batch)
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-6)
    assert losses["cosine_loss"].item() == pytest.approx(cosine, rel=1e-6)


def test_contrast_is_added_by_its_weight():
    alone, both = (build(contrast=weight)(make_batch([0, 5, 2])) for weight in (0.0, 0.3))
    assert "contrast_loss" not in alone
    added = both["loss"] - alone["loss"]
    torch.testing.assert_close(added, 0.3 * both["contrast_loss"].double(), rtol=1e-5, atol=1e-6)


def test_a_video_without_a_target_teaches_nothing():
    missing = features()
    missing[4] = torch.nan
    task, batch = build(missing), make_batch([6, 4, 1])
    loss = task(batch)["loss"]
    z_VBD = task.project_views(batch.clips_BVCTHW)[:, [0, 2]]
    target_VBD = task.target_WD[[6, 1]].expand(2, -1, -1)
    z_ND, target_ND = z_VBD.flatten(0, 1), target_VBD.flatten(0, 1)
    expected = cosine_regression(z_ND, target_ND) + similarity_regression(z_ND, target_ND)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in task.parameters() if p.grad is not None)
    nothing = build(missing)(make_batch([4, 4]))["loss"]
    nothing.backward()
    assert nothing.item() == 0.0


def test_whitened_targets_are_uncorrelated_and_keep_the_leading_directions():
    generator = torch.Generator().manual_seed(0)
    feature_WE = torch.randn(200, 5, generator=generator) * torch.tensor([9.0, 3.0, 1.0, 0.1, 0.0])
    feature_WE = feature_WE + 7.0
    target_WD = principal_components(feature_WE, components=3)
    assert target_WD.shape == (200, 3)
    torch.testing.assert_close(target_WD.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(target_WD.T.cov(), torch.eye(3), atol=1e-4, rtol=0)
    own_WD = principal_components(feature_WE, components=3, whiten=0.0)
    ratio_D = own_WD.std(dim=0) / own_WD.std(dim=0)[0]
    torch.testing.assert_close(ratio_D, torch.tensor([9.0, 3.0, 1.0]) / 9, atol=0.05, rtol=0)
    assert float(own_WD.var(dim=0).mean()) == pytest.approx(1.0, abs=1e-4)
    together = torch.corrcoef(torch.cat([target_WD, feature_WE[:, :3]], dim=1).T)[:3, 3:]
    assert (together.abs().diagonal() > 0.9).all()
    assert principal_components(feature_WE, components=64).shape == (
        200,
        4,
    )  # the last varies nowhere


def test_missing_rows_do_not_move_the_axes():
    feature_WE = features()
    some = principal_components(feature_WE[1:], components=2)
    feature_WE[0] = torch.nan
    every = principal_components(feature_WE, components=2)
    assert torch.isnan(every[0]).all()
    torch.testing.assert_close(every[1:], some)


def test_targets_come_back_with_the_checkpoint():
    """A machine with other axes of whitening goes on with those the run began with."""
    task, other = build(features(3)), build(features(5))
    other.load_state_dict(task.state_dict())
    assert torch.equal(other.target_WD, task.target_WD)
    assert not any(p is task.target_WD for p in task.parameters())


def test_what_cannot_work_is_refused():
    with pytest.raises(UserError, match=r"method.contrast = 1: .*; set views.clips=2"):
        build(clips=1, contrast=1.0)
    with pytest.raises(UserError, match=r"method.relation = -1"):
        build(relation=-1.0)
