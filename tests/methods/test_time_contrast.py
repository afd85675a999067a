"""TCN on several cameras: which clips count as what, and that moments are found by what moves."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cvrl.data.dataset import Batch
from cvrl.losses.metric import n_pairs, semi_hard_triplet
from cvrl.methods.time_contrast import TimeContrast, moment_top1, partners
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError

B, M, D = 3, 4, 5
V = 2 * M


class Given(nn.Module):
    """An encoder whose output is what each clip holds."""

    dim = D
    projector = None

    def forward(self, clips_NCTHW):
        return clips_NCTHW.flatten(1)[:, :D]


def task_of(**keywords):
    task = TimeContrast(build_encoder("r3d_small", width=4), hidden=8, dim=D, **keywords).double()
    task.encoder, task.projector = Given(), nn.Identity()
    return task


def batch_of(seed=0, times=(0.0, 0.1, 0.5, 0.9), groups=(0, 1, 2)):
    """Clips whose embeddings are given; moments 0 and 1 lie 0.1 s apart."""
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(B, V, D, 1, 1, 1, generator=generator, dtype=torch.float64)
    camera_M2 = torch.tensor([[0, 1], [1, 0], [0, 1], [1, 0]])
    return Batch(
        clips_BVCTHW=clips,
        labels_B=torch.full((B,), -1),
        video_id_B=torch.tensor([7, 3, 5]),
        group_id_B=torch.tensor(groups),
        time_BV=torch.tensor(times).double().repeat_interleave(2).expand(B, V),
        order_BV=camera_M2.flatten().expand(B, V),
    )


def masks_by_loop(batch, gap, other_events):
    """Who belongs with whom, one pair of clips at a time."""
    positive = torch.zeros(B * V, B * V, dtype=torch.bool)
    negative = positive.clone()
    for i in range(B * V):
        for k in range(B * V):
            (event_i, clip_i), (event_k, clip_k) = divmod(i, V), divmod(k, V)
            if event_i == event_k:
                positive[i, k] = clip_i // 2 == clip_k // 2 and i != k
                apart = float((batch.time_BV[0, clip_i] - batch.time_BV[0, clip_k]).abs())
                negative[i, k] = apart > gap + 1e-6
            else:
                same_group = batch.group_id_B[event_i] == batch.group_id_B[event_k]
                negative[i, k] = other_events and not same_group
    return positive, negative


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("other_events", [False, True])
@pytest.mark.parametrize("loss", ["n_pairs", "triplet"])
def test_the_loss_is_over_moments_beyond_the_gap(gap, other_events, loss):
    batch = batch_of(groups=(0, 1, 1))
    found = task_of(loss=loss, gap=gap, other_events=other_events)(batch)["loss"]
    z_ND = batch.clips_BVCTHW.reshape(B * V, D)
    masks = masks_by_loop(batch, gap, other_events)
    if loss == "n_pairs":
        expected = n_pairs(z_ND, *masks, norm_weight=0.001)
    else:
        expected = semi_hard_triplet(z_ND, *masks, margin=0.2)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


def test_moments_within_the_gap_do_not_touch_each_other():
    """Moments 0 and 1 of the first event are the only ones: there is nothing to learn."""
    task = task_of(gap=0.2, norm_weight=0.0)
    batch = batch_of(times=(0.0, 0.1, 0.15, 0.2))
    assert task(batch)["loss"].item() == 0.0
    assert task(batch_of(times=(0.0, 0.1, 0.15, 0.3)))["loss"].item() > 0.0


def test_events_are_told_apart_by_their_id_and_not_by_time_alone():
    """The code numbers moments within each event: equal numbers of two events are one class."""
    batch = batch_of()
    task = task_of()
    joint = task(batch)["loss"]
    alone = [task(replace_rows(batch, [row]))["loss"] for row in range(B)]
    assert joint.item() == pytest.approx(torch.stack(alone).mean().item())


def replace_rows(batch, rows):
    names = ("clips_BVCTHW", "labels_B", "video_id_B", "group_id_B", "time_BV", "order_BV")
    return replace(batch, **{name: getattr(batch, name)[rows] for name in names})


def test_the_order_of_the_two_cameras_makes_no_difference():
    batch = batch_of()
    swap = torch.arange(V) ^ 1
    swapped = replace(
        batch, clips_BVCTHW=batch.clips_BVCTHW[:, swap], order_BV=batch.order_BV[:, swap]
    )
    for loss in ("n_pairs", "triplet"):
        one, other = (task_of(loss=loss)(b) for b in (batch, swapped))
        assert one["loss"].item() == pytest.approx(other["loss"].item())
        assert one["pretext_top1"] == other["pretext_top1"]


def test_partners():
    assert partners(torch.zeros(6, 1)).nonzero().tolist() == [
        [0, 1], [1, 0], [2, 3], [3, 2], [4, 5], [5, 4]
    ]  # fmt: skip


class TestTop1:
    def test_it_is_the_loop(self):
        batch = batch_of(seed=3)
        z_BVD = batch.clips_BVCTHW.reshape(B, V, D)
        right = []
        for b in range(B):
            camera = batch.order_BV[b].tolist()
            for v in range(V):
                there = [u for u in range(V) if camera[u] == camera[v ^ 1]]
                nearest = min(there, key=lambda u: float((z_BVD[b, v] - z_BVD[b, u]).norm()))
                right.append(nearest == v ^ 1)
        found = moment_top1(z_BVD.reshape(-1, D), batch.order_BV)["pretext_top1"]
        assert float(found) == pytest.approx(sum(right) / len(right))

    def test_a_camera_that_sees_its_own_alike_is_not_asked(self):
        """All clips of one camera are equal: only the other camera's are compared."""
        phase = torch.arange(M).float().repeat_interleave(2)
        camera = torch.tensor([0, 1] * M)
        z = torch.stack([phase, 100.0 * camera], dim=1)
        assert moment_top1(z, camera[None])["pretext_top1"] == 1.0

    def test_by_chance_it_is_one_in_m(self):
        z = torch.randn(400 * V, D, generator=torch.Generator().manual_seed(0))
        camera = torch.tensor([0, 1] * M).expand(400, V)
        found = moment_top1(z, camera)
        assert float(found["pretext_chance"]) == pytest.approx(1 / M)
        assert float(found["pretext_top1"]) == pytest.approx(1 / M, abs=0.03)

    def test_with_more_cameras_there_are_fewer_to_choose_from(self):
        camera = torch.tensor([[0, 1, 1, 2, 0, 2]])  # camera 0, 1 and 2 see two moments each
        assert float(moment_top1(torch.randn(6, D), camera)["pretext_chance"]) == 0.5


@pytest.mark.parametrize("loss", ["n_pairs", "triplet"])
def test_a_projection_learns_what_two_cameras_share(loss):
    """Each camera shows the phase in another place, among noise of its own."""
    torch.manual_seed(0)
    task = TimeContrast(
        build_encoder("r3d_small", width=4), loss=loss, hidden=32, dim=4, normalise=True,
        temperature=0.1,
    )  # fmt: skip
    task.encoder = Given()
    task.projector = nn.Sequential(nn.Linear(D, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)

    def batch(seed):
        made = batch_of(seed)
        clips = 0.1 * made.clips_BVCTHW.float()
        phase_BV = made.time_BV.float()
        clips[..., 0, 0, 0, 0] += torch.where(made.order_BV == 0, phase_BV, -1.0)
        clips[..., 1, 0, 0, 0] += torch.where(made.order_BV == 1, phase_BV, -1.0)
        return replace(made, clips_BVCTHW=clips)

    def top1():
        return torch.stack([task(batch(1000 + i))["pretext_top1"] for i in range(20)]).mean()

    before = top1()
    for step in range(200):
        optimizer.zero_grad()
        task(batch(step))["loss"].backward()
        optimizer.step()
    assert top1() > 0.6 > before + 0.1


def test_keywords_reach_the_loss():
    batch = batch_of()
    losses = {
        name: task_of(**keywords)(batch)["loss"].item()
        for name, keywords in {
            "plain": {},
            "warm": {"temperature": 2.0},
            "cosine": {"normalise": True},
            "free": {"norm_weight": 0.0},
            "triplet": {"loss": "triplet"},
            "wide": {"loss": "triplet", "margin": 1.0},
            "all": {"other_events": True},
        }.items()
    }
    assert len(set(losses.values())) == len(losses)


@pytest.mark.parametrize(
    "keywords",
    [{"temperature": 0.0}, {"gap": -0.1}, {"margin": -1.0}, {"norm_weight": -1.0}, {"loss": "l2"}],
)
def test_keywords_that_cannot_be_used(keywords):
    with pytest.raises(UserError, match="method"):
        TimeContrast(build_encoder("r3d_small", width=4), **keywords)
