"""The loss across modalities and within them against loops; who is a negative of whom."""

from dataclasses import replace

import pytest
import torch
from cases import build, make_batch
from torch.nn import functional as F

from cvrl.methods.cross_modal import CrossModal
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


def small(**keywords):
    torch.manual_seed(0)
    how = {"clips": 2, "audio_width": 4, "hidden": 16, "dim": 8} | keywords
    return CrossModal(build_encoder("r3d_small", width=4), **how).double().eval()


def a_batch():
    batch = make_batch("cross_modal", dtype=torch.float64)
    order_BV = torch.zeros(6, 2, dtype=torch.int64)
    order_BV[2] = order_BV[4, 0] = -1
    return replace(batch, group_id_B=torch.tensor([0, 1, 2, 3, 4, 1]), order_BV=order_BV)


def by_loop(task, batch):
    """(across, within) for one clip at a time."""
    tau, groups = task.temperature, batch.group_id_B
    V = batch.clips_BVCTHW.shape[1]

    def unit(network, inputs):
        return [[F.normalize(network(one[None])[0], dim=0) for one in video] for video in inputs]

    v = unit(lambda clip: task.projector(task.encoder(clip)), batch.clips_BVCTHW)
    a = unit(lambda sound: task.audio_projector(task.audio_encoder(sound)), batch.sound_BWMF)
    across, within = [], []
    for b in range(6):
        others = [k for k in range(6) if groups[k] != groups[b]]
        for n in range(V):
            sounds = [a[b][n], *(a[k][n] for k in others)]
            if task.hard_negatives:
                hard = [k for k in [b, *others] if batch.order_BV[k, n] >= 0]
                sounds += [a[k][V + n] for k in hard]
            clips = [v[b][n], *(v[k][n] for k in others)]
            for query, keys in ((v[b][n], sounds), (a[b][n], clips)):
                across.append(cross_entropy(query, keys, tau))
            for z in (v, a):
                rest = [z[k][m] for k in others for m in range(2)]
                within.append(cross_entropy(z[b][n], [z[b][1 - n], *rest], tau))
    return sum(across) / len(across), sum(within) / len(within)


def cross_entropy(query, keys, temperature):
    scores = torch.stack([query @ key / temperature for key in keys])
    return scores.exp().sum().log() - scores[0]


@torch.no_grad()
@pytest.mark.parametrize("hard_negatives", [True, False])
@pytest.mark.parametrize("in_modal", [0.0, 0.3])
def test_the_losses_are_those_of_loops(hard_negatives, in_modal):
    task = small(hard_negatives=hard_negatives, in_modal=in_modal)
    batch = a_batch()
    losses = task(batch)
    across, within = by_loop(task, batch)
    torch.testing.assert_close(losses["cross_modal_loss"], across, atol=1e-9, rtol=0)
    torch.testing.assert_close(losses["loss"], across + in_modal * within, atol=1e-9, rtol=0)
    assert ("in_modal_loss" in losses) == bool(in_modal)
    assert losses["unlabelled"].item() == pytest.approx(3 / 12)


@torch.no_grad()
def test_silence_in_place_of_a_misaligned_window_changes_nothing():
    task, batch = small(), a_batch()
    sound = batch.sound_BWMF.clone()
    sound[2, 2:] = sound[4, 2] = 9.0  # windows of the label -1
    assert torch.equal(task(batch)["loss"], task(replace(batch, sound_BWMF=sound))["loss"])
    sound[1, 2] = 9.0
    assert not torch.equal(task(batch)["loss"], task(replace(batch, sound_BWMF=sound))["loss"])


@torch.no_grad()
def test_top1_says_which_sound_is_nearer():
    task, batch = small(), a_batch()
    own = batch.sound_BWMF[:, :2]
    same = replace(batch, sound_BWMF=torch.cat([own, own], dim=1))
    assert task(same)["pretext_top1"].item() == 0.0, "a draw is no answer"
    v, a = task.project_views(batch.clips_BVCTHW), task.hear(batch.sound_BWMF)
    right = [
        F.cosine_similarity(v[n, b], a[n, b], dim=0) > F.cosine_similarity(v[n, b], a[2 + n, b], 0)
        for b in range(6)
        for n in range(2)
        if batch.order_BV[b, n] >= 0
    ]
    assert task(batch)["pretext_top1"].item() == pytest.approx(sum(map(float, right)) / 9)


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"temperature": 0.0}, "method.temperature"),
        ({"in_modal": -1.0}, "method.in_modal"),
        ({"in_modal": 0.5, "clips": 1}, "method.in_modal.*set views.clips=2"),
        ({"audio_width": 0}, "method.audio_width"),
    ],
)
def test_keywords_that_do_not_fit_are_refused(keywords, name):
    with pytest.raises(UserError, match=name):
        small(**keywords)


def test_a_batch_without_sound_is_an_error():
    with pytest.raises(ValueError, match="no sound"):
        build("cross_modal")(replace(make_batch("cross_modal"), sound_BWMF=None))
