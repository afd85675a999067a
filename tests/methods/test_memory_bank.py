"""Memory bank: the loss against a plain loop, who is drawn, and what is written when."""

import math

import pytest
import torch
from torch.nn import functional as F

from cvrl.data.dataset import Batch
from cvrl.methods.memory_bank import MemoryBank
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


def build(**keywords):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=2, blocks=(1, 1, 1, 1))
    small = {"videos": 12, "dim": 4, "temperature": 0.2}
    return MemoryBank(encoder, **{**small, **keywords}).double()


def make_batch(B=4, V=2, seed=0, video=None, group=None):
    generator = torch.Generator().manual_seed(seed)
    video_B = torch.arange(B) if video is None else torch.tensor(video)
    return Batch(
        clips_BVCTHW=torch.rand(B, V, 3, 8, 32, 32, generator=generator, dtype=torch.float64),
        labels_B=torch.zeros(B, dtype=torch.int64),
        video_id_B=video_B,
        group_id_B=video_B if group is None else torch.tensor(group),
        time_BV=torch.zeros(B, V),
        order_BV=torch.full((B, V), -1),
    )


def views(task, batch):
    """Unit z (V, B, D)."""
    B, V = batch.clips_BVCTHW.shape[:2]
    z_ND = task.projector(task.encoder(batch.clips_BVCTHW.flatten(0, 1))).detach()
    return F.normalize(z_ND, dim=1).view(B, V, -1).transpose(0, 1)


def scores_by_loop(task, batch):
    """Of every view and video: the own entry's score, then those of its negatives."""
    entries, groups = task.bank.entry_ND.tolist(), task.bank.group_N.tolist()
    drawn = task._draw().tolist()
    rows = []
    for z_BD in views(task, batch):
        rows.append([])
        for i, z in enumerate(z_BD.tolist()):
            video, group = int(batch.video_id_B[i]), int(batch.group_id_B[i])
            kept = [n for n in drawn if n != video and not (groups[n] == group and group >= 0)]
            row = [
                math.fsum(x * y for x, y in zip(z, entries[n], strict=True)) / task.temperature
                for n in [video, *kept]
            ]
            rows[-1].append(row)
    return rows


def info_nce(row):
    return -math.log(math.exp(row[0]) / math.fsum(math.exp(s) for s in row))


def nce(row, Z_over_N, N=12):
    m, P = len(row) - 1, [math.exp(s) / (Z_over_N * N) for s in row]
    h = [p / (p + m / N) for p in P]
    return -math.log(h[0]) - math.fsum(math.log(1 - x) for x in h[1:])


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


def weighted(losses_V, weight):
    return (1 - weight) * losses_V[0] + weight * mean(losses_V[1:])


class TestLoss:
    @pytest.mark.parametrize("weight", [0.0, 0.5, 0.8])
    @pytest.mark.parametrize("V", [2, 3])
    def test_both_branches_are_told_by_the_own_entry(self, V, weight):
        task, batch = build(view_weight=weight), make_batch(V=V, group=[7, 7, -1, 3])
        task.bank.group_N[5:8] = torch.tensor([7, 3, -1])
        expected = [mean(map(info_nce, rows)) for rows in scores_by_loop(task, batch)]
        found = task(batch)["loss"].item()
        assert found == pytest.approx(weighted(expected, weight), abs=1e-6)

    def test_with_one_clip_it_is_instance_discrimination(self):
        task, batch = build(), make_batch(V=1)
        expected = mean(map(info_nce, scores_by_loop(task, batch)[0]))
        assert task(batch)["loss"].item() == pytest.approx(expected, abs=1e-6)

    def test_nce_with_the_constant_of_the_first_batch_for_good(self):
        task, batch, later = build(loss="nce"), make_batch(), make_batch(seed=1)
        rows = scores_by_loop(task, batch)
        constant = mean(math.exp(s) for view in rows for row in view for s in row[1:])
        expected = [mean(nce(row, constant) for row in view) for view in rows]
        assert task(batch)["loss"].item() == pytest.approx(weighted(expected, 0.5), abs=1e-6)
        task.after_step(0)
        assert task.log_constant.item() == pytest.approx(math.log(constant), abs=1e-9)
        rows = scores_by_loop(task, later)
        expected = [mean(nce(row, constant) for row in view) for view in rows]
        assert task(later)["loss"].item() == pytest.approx(weighted(expected, 0.5), abs=1e-6)
        task.after_step(1)
        assert task.log_constant.item() == pytest.approx(math.log(constant), abs=1e-9)

    def test_the_parts_of_an_accumulated_first_step_share_a_constant(self):
        task = build(loss="nce")
        constants = []
        for seed in range(2):
            batch = make_batch(seed=seed)
            rows = scores_by_loop(task, batch)
            constants.append(mean(math.exp(s) for view in rows for row in view for s in row[1:]))
            task(batch)
        task.after_step(0)
        assert task.log_constant.item() == pytest.approx(math.log(mean(constants)), abs=1e-9)

    def test_no_gradient_goes_to_the_bank(self):
        task = build()
        task(make_batch())["loss"].backward()
        assert not any(buffer.requires_grad for buffer in task.buffers())


class TestDraws:
    def test_different_videos_as_many_as_asked_or_all(self):
        for asked, given in ((5, 5), (12, 12), (4096, 12)):
            drawn = build(negatives_drawn=asked)._draw().tolist()
            assert len(drawn) == len(set(drawn)) == given
            assert set(drawn) <= set(range(12))

    def test_they_are_a_function_of_the_step(self):
        task, again = build(negatives_drawn=5), build(negatives_drawn=5)
        drawn = []
        for step in range(4):
            torch.manual_seed(step)  # other draws do not count
            drawn.append(task._draw().tolist())
            assert again._draw().tolist() == drawn[-1] == task._draw().tolist()
            task.after_step(step)
            again.after_step(step)
        assert len({tuple(rows) for rows in drawn}) == 4

    def test_every_video_is_drawn_alike(self):
        task, counts = build(negatives_drawn=3), torch.zeros(12)
        for step in range(1200):
            counts[task._draw()] += 1
            task.step.fill_(step + 1)
        assert (counts / 1200 - 0.25).abs().max() < 0.06

    def test_the_own_entry_and_the_groups_are_never_negatives(self):
        """Whatever stands in them, the scores do not show it."""
        batch = make_batch(group=[7, 7, 8, 9])
        losses = []
        for sign in (1.0, -1.0):
            task = build()
            task.bank.group_N[4] = 7
            task.bank.entry_ND[4] *= sign
            task.loss_of = torch.stack  # the scores themselves
            task._branches = losses.append
            task(batch)
        losses = [scores_VBS[:, :2] for scores_VBS in losses]  # videos 0 and 1, of group 7
        assert torch.equal(*losses)
        assert (losses[0] == -math.inf).sum(dim=2).unique().tolist() == [2]  # own entry, and 4's


class TestBank:
    def test_it_is_written_from_view_0_after_the_step_alone(self):
        task, batch = build(), make_batch(video=[2, 5, 7, 9], group=[1, 1, 2, 3])
        before = task.bank.entry_ND.clone()
        z_BD = views(task, batch)[0]
        task(batch)["loss"].backward()
        assert torch.equal(task.bank.entry_ND, before)
        assert (task.bank.group_N == -1).all()
        task.after_step(0)
        expected = before.clone()
        expected[[2, 5, 7, 9]] = F.normalize(0.5 * before[[2, 5, 7, 9]] + 0.5 * z_BD, dim=1)
        torch.testing.assert_close(task.bank.entry_ND, expected, atol=1e-9, rtol=0)
        assert task.bank.group_N.tolist() == [-1, -1, 1, -1, -1, 1, -1, 2, -1, 3, -1, -1]

    def test_it_follows_by_its_momentum(self):
        task, batch = build(momentum=0.0), make_batch(V=1)
        z_BD = views(task, batch)[0]
        task(batch)
        task.after_step(0)
        torch.testing.assert_close(task.bank.entry_ND[:4], z_BD, atol=1e-9, rtol=0)

    def test_every_part_of_an_accumulated_step_is_written_once(self):
        task = build(momentum=0.0)
        for part in range(2):
            task(make_batch(V=1, seed=part, video=[4 * part + i for i in range(4)]))
        task.after_step(0)
        assert (task.bank.group_N >= 0).sum() == 8
        entries = task.bank.entry_ND.clone()
        task.after_step(1)
        assert torch.equal(task.bank.entry_ND, entries)

    def test_a_video_twice_in_a_batch_is_written_as_its_mean(self):
        task, batch = build(momentum=0.0), make_batch(V=1, video=[3, 6, 3, 8])
        z_BD = views(task, batch)[0]
        task(batch)
        task.after_step(0)
        expected = F.normalize(z_BD[0] + z_BD[2], dim=0)
        torch.testing.assert_close(task.bank.entry_ND[3], expected, atol=1e-9, rtol=0)


def test_top1_is_reported_for_each_branch():
    losses = build()(make_batch(V=3))
    for v in range(3):
        assert 0.0 <= losses[f"contrast_top1_view{v}"].item() <= 1.0


@pytest.mark.parametrize(
    "keywords",
    [{"temperature": 0.0}, {"momentum": 1.5}, {"negatives_drawn": 0}, {"view_weight": 2.0}],
)
def test_bad_keywords_are_refused_by_name(keywords):
    with pytest.raises(UserError, match=f"method.{next(iter(keywords))}"):
        build(**keywords)
