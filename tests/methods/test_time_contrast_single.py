"""TCN on one camera: near and far by time alone, windows short and long, and what is learned."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cvrl.data.dataset import Batch
from cvrl.losses.metric import semi_hard_triplet
from cvrl.methods.time_contrast_single import TimeContrastSingle, order_top1
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError

B, V, D = 3, 12, 5


class Given(nn.Module):
    """An encoder whose output is what each clip holds."""

    dim = D

    def forward(self, clips_NCTHW):
        return clips_NCTHW.flatten(1)[:, :D]


def task_of(**keywords):
    task = TimeContrastSingle(build_encoder("r3d_small", width=4), hidden=8, dim=D, **keywords)
    task.encoder, task.projector = Given(), nn.Identity()
    return task.double()


def batch_of(seed=0, every=0.1, groups=(0, 1, 1)):
    generator = torch.Generator().manual_seed(seed)
    first_B = torch.tensor([0.0, 3.0, 0.7]).double()
    return Batch(
        clips_BVCTHW=torch.randn(B, V, D, 1, 1, 1, generator=generator, dtype=torch.float64),
        labels_B=torch.full((B,), -1),
        video_id_B=torch.arange(B),
        group_id_B=torch.tensor(groups),
        time_BV=first_B[:, None] + every * torch.arange(V),
        order_BV=torch.full((B, V), -1),
    )


@pytest.mark.parametrize("radius", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("other_videos", [False, True])
def test_positives_within_the_radius_negatives_beyond_twice(radius, other_videos):
    batch = batch_of()
    reach = round(radius / 0.1)  # clips
    near = torch.zeros(B * V, B * V, dtype=torch.bool)
    far = near.clone()
    for i in range(B * V):
        for k in range(B * V):
            (video_i, clip_i), (video_k, clip_k) = divmod(i, V), divmod(k, V)
            apart = abs(clip_i - clip_k)
            if video_i == video_k:
                near[i, k], far[i, k] = 0 < apart <= reach, apart > 2 * reach
            else:
                far[i, k] = other_videos and 0 in (video_i, video_k)  # 1 and 2 share a group
    z_ND = batch.clips_BVCTHW.reshape(B * V, D)
    expected = semi_hard_triplet(z_ND, near, far, margin=0.3)
    found = task_of(radius=radius, margin=0.3, other_videos=other_videos)(batch)["loss"]
    assert found.item() == pytest.approx(expected.item(), abs=1e-12) and found > 0


def test_a_window_too_short_for_a_negative_teaches_nothing():
    batch = batch_of(every=0.03)  # 0.33 s in all
    batch = replace(batch, clips_BVCTHW=batch.clips_BVCTHW.requires_grad_())
    losses = task_of()(batch)
    losses["loss"].backward()
    assert losses["loss"] == 0.0 and (batch.clips_BVCTHW.grad == 0).all()
    assert losses["pretext_top1"] == 0.0
    assert task_of(other_videos=True)(batch)["loss"] > 0.0


def test_the_clock_of_a_video_does_not_matter():
    batch = batch_of()
    shifted = replace(batch, time_BV=batch.time_BV + torch.tensor([[5.0], [0.25], [100.0]]))
    one, other = (task_of()(b)["loss"].item() for b in (batch, shifted))
    assert one == pytest.approx(other)


class TestTop1:
    def test_it_is_the_loop(self):
        batch, right, asked = batch_of(seed=2), 0, 0
        z_BVD = nn.functional.normalize(batch.clips_BVCTHW.reshape(B, V, D), dim=-1)
        z_BVD = z_BVD + 3 * batch.time_BV[..., None] * torch.eye(D)[0]  # some order, not all
        for b in range(B):
            z_VD = nn.functional.normalize(z_BVD[b], dim=-1)
            for v in range(V):
                distance = [float((z_VD[v] - z_VD[u]).norm()) for u in range(V)]
                near = [distance[u] for u in range(V) if 0 < abs(u - v) <= 2]
                far = [distance[u] for u in range(V) if abs(u - v) > 4]
                asked += bool(near and far)
                right += bool(near and far) and max(near) < min(far)
        found = order_top1(z_BVD.reshape(-1, D), batch.time_BV, 0.2)["pretext_top1"]
        assert float(found) == pytest.approx(right / asked) and 0 < right < asked

    def test_its_ends(self):
        angle = torch.linspace(0, 1.5, V).repeat(B)
        z_ND = torch.stack([angle.cos(), angle.sin()], dim=1)
        time_BV = batch_of().time_BV
        assert order_top1(z_ND, time_BV, 0.2)["pretext_top1"] == 1.0
        assert order_top1(torch.ones(B * V, 2), time_BV, 0.2)["pretext_top1"] == 0.0

    def test_its_chance_is_that_of_noise(self):
        """The first clip has two near and one far, the others lack the one or the other."""
        time_BV = torch.tensor([0.0, 0.1, 0.2, 0.5]).expand(3000, 4)
        z_ND = torch.randn(3000 * 4, 8, generator=torch.Generator().manual_seed(0))
        found = order_top1(z_ND, time_BV, 0.2)
        assert float(found["pretext_chance"]) == pytest.approx(1 / 3)
        assert float(found["pretext_top1"]) == pytest.approx(1 / 3, abs=0.03)


def test_a_projection_learns_the_time_among_noise():
    torch.manual_seed(0)
    task = TimeContrastSingle(build_encoder("r3d_small", width=4), margin=0.3)
    task.encoder = Given()
    task.projector = nn.Sequential(nn.Linear(D, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)

    def batch(seed):
        made = batch_of(seed)
        clips = 0.5 * made.clips_BVCTHW.float()
        clips[..., 0, 0, 0, 0] += (made.time_BV - made.time_BV[:, :1]).float()
        return replace(made, clips_BVCTHW=clips)

    def measured():
        found = [task(batch(1000 + i)) for i in range(20)]
        return torch.stack([one["loss"] for one in found]).mean().item()

    before = measured()
    for step in range(200):
        optimizer.zero_grad()
        task(batch(step))["loss"].backward()
        optimizer.step()
    assert measured() < 0.8 * before


@pytest.mark.parametrize("keywords", [{"radius": 0.0}, {"margin": -0.1}])
def test_keywords_that_cannot_be_used(keywords):
    with pytest.raises(UserError, match="radius > 0 and margin >= 0"):
        TimeContrastSingle(build_encoder("r3d_small", width=4), **keywords)
