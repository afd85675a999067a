"""MoCo: the loss against a plain loop, what enters the queue when, and who normalises with whom."""

import math
from itertools import permutations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.methods.moco import MoCo
from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import SyncBatchNorm, convert_sync_batchnorm
from cvrl.utils import dist
from cvrl.utils.errors import UserError


def build(**keywords):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=2, blocks=(1, 1, 1, 1))
    small = {"queue": 10, "bn_groups": 1, "hidden": 8, "dim": 4, "total_steps": 10}
    return MoCo(encoder, **{**small, **keywords}).double()


def make_batch(B=4, V=2, seed=0, video=None, group=None):
    generator = torch.Generator().manual_seed(seed)
    video_B = torch.arange(B) + 100 * seed if video is None else torch.tensor(video)
    return Batch(
        clips_BVCTHW=torch.rand(B, V, 3, 8, 32, 32, generator=generator, dtype=torch.float64),
        labels_B=torch.zeros(B, dtype=torch.int64),
        video_id_B=video_B,
        group_id_B=video_B if group is None else torch.tensor(group),
        time_BV=torch.zeros(B, V),
        order_BV=torch.full((B, V), -1),
    )


def fill(task, video, group):
    """Known keys in the queue."""
    K = len(task.queue.key_KD)
    key_KD = F.normalize(torch.randn(K, 4, generator=torch.Generator().manual_seed(9)).double())
    task.queue.push(key_KD, torch.tensor(video), torch.tensor(group))


def embed(network, clips_BVCTHW, views_together):
    """Unit rows (V, B, D) of a network in training mode."""
    B, V = clips_BVCTHW.shape[:2]
    if views_together:
        z_VBD = network(clips_BVCTHW.flatten(0, 1)).view(B, V, -1).transpose(0, 1)
    else:
        z_VBD = torch.stack([network(clips_BVCTHW[:, v]) for v in range(V)])
    return F.normalize(z_VBD.detach(), dim=-1).tolist()


def loss_by_loop(task, batch):
    q = embed(nn.Sequential(task.encoder, task.projector), batch.clips_BVCTHW, True)
    k = embed(task.key_network.module, batch.clips_BVCTHW, False)
    queue, losses = task.queue, []
    for a, b in permutations(range(batch.clips_BVCTHW.shape[1]), 2):
        for i, (video, group) in enumerate(zip(batch.video_id_B, batch.group_id_B, strict=True)):
            rows = [k[b][i]]
            for key, other, kin in zip(queue.key_KD, queue.video_K, queue.group_K, strict=True):
                if other != video and not (kin == group and group >= 0):
                    rows.append(key.tolist())
            scores = [math.fsum(x * y for x, y in zip(q[a][i], row, strict=True)) for row in rows]
            terms = [math.exp(s / task.temperature) for s in scores]
            losses.append(-math.log(terms[0] / math.fsum(terms)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("V", [2, 3, 4])
def test_the_loss_is_the_mean_over_ordered_pairs_of_clips(V):
    task, batch = build(), make_batch(V=V, group=[7, 7, -1, 8])
    fill(task, video=[0, 1, 2, 3, 50, 51, 52, 53, 54, 55], group=[7, 7, -1, 8, 7, 8, -1, 9, 9, 9])
    assert float(task(batch)["loss"].detach()) == pytest.approx(loss_by_loop(task, batch), abs=1e-6)


def test_keys_of_the_own_video_and_group_do_not_count():
    batch = make_batch(video=[0, 1, 2, 3], group=[7, 7, 7, 7])
    losses = []
    for seed in range(2):
        task = build()
        fill(task, video=[0, 1, 2, 3, *range(50, 56)], group=[-1] * 4 + [7] * 3 + [9] * 3)
        kin_4D = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)).double()
        task.queue.key_KD[4:7] = F.normalize(kin_4D)
        losses.append(task(batch)["loss"].detach())
    assert torch.equal(*losses)


def test_an_anchor_whose_queue_holds_only_kin_is_harmless():
    task = build()
    fill(task, video=[50] * 10, group=[7] * 10)
    loss = task(make_batch(group=[7] * 4))["loss"]
    loss.backward()
    assert loss.item() == 0.0
    assert all(torch.isfinite(p.grad).all() for p in task.parameters() if p.requires_grad)


# --- the queue ------------------------------------------------------------------------------------


def test_keys_enter_after_the_step_and_not_before():
    task, batch = build(), make_batch(group=[5, 5, 6, 6])
    before = {name: value.clone() for name, value in task.queue.state_dict().items()}
    k_VBD = embed(task.key_network.module, batch.clips_BVCTHW, False)
    task(batch)["loss"].backward()
    assert all(torch.equal(task.queue.state_dict()[name], before[name]) for name in before)
    task.after_step(0)
    assert task.queue.video_K.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, -1, -1]
    assert task.queue.group_K.tolist() == [5, 5, 6, 6, 5, 5, 6, 6, -1, -1]
    expected = torch.tensor(k_VBD, dtype=torch.float64).flatten(0, 1)
    torch.testing.assert_close(task.queue.key_KD[:8], expected, atol=1e-9, rtol=0)


def test_every_part_of_an_accumulated_step_enters():
    task = build(queue=20)
    for part in range(2):
        task(make_batch(seed=part))["loss"].backward()
    task.after_step(0)
    assert int(task.queue.filled) == 16
    assert task.queue.video_K[8:16].tolist() == [100, 101, 102, 103] * 2
    task.after_step(1)
    assert int(task.queue.filled) == 16, "a key enters once"


def test_it_is_ready_when_the_queue_is_full_of_real_keys():
    task = build(queue=20)
    ready = []
    for step in range(4):
        losses = task(make_batch(seed=step))
        assert torch.isfinite(losses["loss"])
        ready.append((round(float(losses["queue_fill"]), 3), task.is_ready()))
        task.after_step(step)
    assert ready == [(0.0, False), (0.4, False), (0.8, False), (1.0, True)]


def test_positives_are_the_current_keys_not_the_queue():
    """With a full queue of other videos, a perfect match gives a loss near 0."""
    task = build(temperature=0.01)
    fill(task, video=list(range(50, 60)), group=[-1] * 10)
    with torch.no_grad():
        task.queue.key_KD.copy_(-F.normalize(torch.ones(10, 4)))
        for parameter in task.projector[-1].parameters():
            parameter.zero_()
        task.projector[-1].bias.fill_(1.0)
    task.key_network.update(nn.Sequential(task.encoder, task.projector), 0.0)
    losses = task(make_batch())
    assert losses["loss"].item() == pytest.approx(0.0, abs=1e-6)
    assert losses["contrast_top1"].item() == 1.0


# --- the key encoder ------------------------------------------------------------------------------


def test_it_follows_by_the_momentum_of_the_step():
    task = build(momentum=0.5, final_momentum=1.0, total_steps=2)
    weight, bias = task.projector[-1].weight, task.key_network.module[1][-1].weight
    start = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    task.after_step(0)  # 0.5
    torch.testing.assert_close(bias, start + 0.5)
    task.after_step(1)  # 0.75 old, half of a way of 0.5
    torch.testing.assert_close(bias, start + 0.625)
    task.after_step(2)  # 1 from the end on
    torch.testing.assert_close(bias, start + 0.625)


def test_no_gradient_reaches_it_and_its_statistics_are_the_encoders():
    task = build(bn_groups=2)
    task(make_batch())["loss"].backward()
    assert all(p.grad is None for p in task.key_network.parameters())
    task.after_step(0)
    for mine, theirs in zip(
        task.key_network.module[0].buffers(), task.encoder.buffers(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_its_batch_norms_are_its_own():
    task = convert_sync_batchnorm(build())
    norms = {type(m) for m in task.encoder.modules() if "BatchNorm" in type(m).__name__}
    assert norms == {SyncBatchNorm}
    assert not any(isinstance(m, SyncBatchNorm) for m in task.key_network.modules())


# --- shuffled batch norm --------------------------------------------------------------------------


def groups_of(task, count, view):
    """Which rows are normalised together: those that a change of row r moves."""
    clips = make_batch(B=count).clips_BVCTHW[:, 0]
    plain = task._keys(clips, view)
    groups = set()
    for r in range(count):
        changed = clips.clone()
        changed[r] = 1.0 - changed[r]
        moved = (task._keys(changed, view) != plain).any(dim=1)
        groups.add(tuple(moved.nonzero().flatten().tolist()))
    return groups


def test_a_group_is_normalised_by_itself():
    task = build(bn_groups=3)
    groups = groups_of(task, 8, view=0)
    assert sorted(len(group) for group in groups) == [2, 3, 3]
    assert sorted(row for group in groups for row in group) == list(range(8))


def test_groups_are_drawn_anew_for_every_step_and_view_and_are_their_function():
    task, again = build(bn_groups=2), build(bn_groups=2)
    drawn = []
    for step in range(3):
        for view in range(2):
            drawn.append(groups_of(task, 6, view))
            assert groups_of(again, 6, view) == drawn[-1]
        task.after_step(step)
        again.after_step(step)
    assert len({frozenset(groups) for groups in drawn}) > 2


def test_keys_come_back_in_the_order_of_their_clips():
    task = build(bn_groups=2).eval()  # without batch statistics, groups make no difference
    task.key_network.eval()
    clips = make_batch(B=5).clips_BVCTHW[:, 0]
    expected = F.normalize(task.key_network(clips), dim=1)
    torch.testing.assert_close(task._keys(clips, 0), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_share_the_groups_out_and_change_nothing(ranks, monkeypatch):
    task = build(bn_groups=3)
    clips = make_batch(B=8).clips_BVCTHW[:, 0]
    expected = task._keys(clips, 0)
    shares = []

    def gather(rows):
        if rows.ndim == 5:
            return clips
        shares.append(rows)
        return expected  # of the right shape

    monkeypatch.setattr(dist, "world_size", lambda: ranks)
    monkeypatch.setattr(dist, "gather", gather)
    for rank in range(ranks):
        monkeypatch.setattr(dist, "rank", lambda rank=rank: rank)
        task._keys(clips[:1], 0)
    shuffled = torch.cat(shares)
    assert [len(share) for share in shares].count(0) == max(0, ranks - 3)
    assert sorted(map(tuple, shuffled.tolist())) == sorted(map(tuple, expected.tolist()))


def test_a_batch_too_small_for_its_groups_is_refused():
    with pytest.raises(UserError, match=r"method\.bn_groups = 3.*4 videos.*method\.bn_groups=1"):
        build(bn_groups=3)(make_batch(B=4))


# --- the run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keywords",
    [{"temperature": 0.0}, {"momentum": 1.5}, {"final_momentum": -1.0}, {"bn_groups": 0}],
)
def test_bad_keywords_are_refused_by_name(keywords):
    with pytest.raises(UserError, match=f"method.{next(iter(keywords))}"):
        build(**keywords)
