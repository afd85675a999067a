"""Fine-tuning: who learns how fast, what stays as it was, and what a mixed video is worth."""

import math
from dataclasses import replace

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.finetune import Finetune, mix
from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import convert_sync_batchnorm
from cvrl.utils.errors import UserError

NAMES = ["a", "b", "c"]


def finetune(**keywords):
    torch.manual_seed(0)
    return Finetune(build_encoder("r3d_small", width=2), class_names=NAMES, **keywords)


def test_every_layer_learns_at_its_own_rate():
    task = finetune(layer_decay=0.5)
    scale_of = {id(p): g["lr_scale"] for g in task.param_groups(0.1) for p in g["params"]}
    wanted = {"classifier": 1.0, "encoder.res5": 0.5, "encoder.res4": 0.25, "encoder.res3": 0.125}
    wanted |= {"encoder.res2": 0.0625, "encoder.stem": 0.03125}
    for name, parameter in task.named_parameters():
        layer = next(layer for layer in wanted if name.startswith(layer))
        assert scale_of.pop(id(parameter)) == wanted[layer], name
    assert not scale_of


def test_weights_decay_in_every_layer_and_biases_and_norms_do_not():
    for group in finetune(layer_decay=0.5).param_groups(0.1):
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim >= 2 else 0.0)


@pytest.mark.parametrize("synchronised", [False, True])
def test_a_frozen_norm_keeps_its_statistics_to_the_bit(synchronised):
    task = finetune(frozen_bn=True, dropout=0.0)
    if synchronised:
        convert_sync_batchnorm(task)
    before = {name: buffer.clone() for name, buffer in task.encoder.named_buffers()}
    optimizer = torch.optim.SGD(task.param_groups(0.0), lr=0.1)
    for step in range(2):
        task.eval()
        task.train()
        task(make_batch("finetune", seed=step))["loss"].backward()
        optimizer.step()
    for name, buffer in task.encoder.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert task.training and task.encoder.stem.training
    live = finetune(dropout=0.0)
    live(make_batch("finetune"))
    assert not torch.equal(live.encoder.stem[1].running_mean, before["stem.1.running_mean"])


@torch.no_grad()
def test_the_loss_is_the_smoothed_cross_entropy_of_every_clip():
    task = finetune(label_smoothing=0.2, mixup=0.5).double().eval()  # in eval nothing is mixed
    batch = make_batch("finetune", dtype=torch.float64)
    total, count = 0.0, 0
    for video, label in enumerate(batch.labels_B.tolist()):
        for clip in batch.clips_BVCTHW[video]:
            logits = task.classifier(task.encoder(clip[None]))[0].tolist()
            log_z = math.log(sum(map(math.exp, logits)))
            shares = [0.2 / 3 + 0.8 * (k == label) for k in range(3)]
            total -= sum(s * (x - log_z) for s, x in zip(shares, logits, strict=True))
            count += 1
    assert task(batch)["loss"].item() == pytest.approx(total / count, abs=1e-5)


def test_mixed_videos_and_targets_are_blends_with_one_share():
    clips = torch.arange(5.0).reshape(5, 1, 1, 1, 1, 1) ** 2  # no two blends look alike
    torch.manual_seed(7)
    mixed, target = mix(clips, torch.eye(5), alpha=1.0)
    for row in range(5):
        assert target[row].sum().item() == pytest.approx(1.0)
        assert mixed[row].item() == pytest.approx(float(target[row] @ clips.flatten()), rel=1e-5)
    own = {round(float(target[row, row]), 5) for row in range(5)}
    assert len(own - {1.0}) <= 1  # one share for the batch; a video may be mixed with itself


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_share_follows_its_beta(alpha):
    torch.manual_seed(1)
    shares = []
    for _ in range(600):
        clips, _ = mix(
            torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1, 1), torch.eye(2), alpha=alpha
        )
        if clips[0] + clips[1] == 1 and 0 < clips[0] < 1:  # the two were swapped
            shares.append(float(clips[0]))
    shares = torch.tensor(shares)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.1)
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(a, a)
    if alpha == 1.0:
        assert shares.var().item() == pytest.approx(variance, rel=0.2)


def test_a_step_mixes_alike_whenever_it_is_taken():
    task, batch = finetune(mixup=1.0, dropout=0.0), make_batch("finetune")
    losses = []
    for seed in (5, 6, 5):
        torch.manual_seed(seed)
        losses.append(task(batch)["loss"].item())
    assert losses[0] == losses[2] != losses[1]


def test_a_video_mixed_with_itself_is_itself():
    batch = make_batch("finetune", videos=1)
    task = finetune(mixup=1.0, dropout=0.0, frozen_bn=True)
    plain = finetune(dropout=0.0, frozen_bn=True)
    for one in (task, plain):
        one.train()
    torch.testing.assert_close(task(batch)["loss"], plain(batch)["loss"])


def test_the_other_half_of_a_mixed_target_counts():
    task = finetune(mixup=1.0, dropout=0.0, frozen_bn=True).train()
    batch = make_batch("finetune", videos=2)
    found = set()
    for seed in range(6):
        torch.manual_seed(seed)
        found.add(task(replace(batch, labels_B=torch.tensor([0, 1])))["loss"].item())
    assert len(found) > 1


@pytest.mark.parametrize(
    "keywords", [{"layer_decay": 0.0}, {"layer_decay": 1.5}, {"mixup": -1.0}, {"dropout": 1.0}]
)
def test_a_number_out_of_its_range_is_refused(keywords):
    with pytest.raises(UserError, match=rf"method\.{next(iter(keywords))}"):
        finetune(**keywords)


def test_the_classifier_says_how_it_was_trained():
    assert build("finetune").class_head.protocol == "fine-tuned"


def test_what_is_kept_is_the_average_of_the_weights_of_every_step():
    task = finetune(average=0.5, dropout=0.0)
    name = "classifier.weight"
    expected = dict(task.named_parameters())[name].detach().clone()
    optimizer = torch.optim.SGD(task.param_groups(0.0), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        task(make_batch("finetune", seed=step))["loss"].backward()
        optimizer.step()
        task.after_step(step)
        expected = 0.5 * expected + 0.5 * task.classifier.weight.detach()
    torch.testing.assert_close(task.class_head.weight, expected)
    assert not torch.equal(task.class_head.weight, task.classifier.weight)
    kept = task.kept_encoder
    assert kept is not task.encoder and kept.spec == task.encoder.spec
    assert torch.equal(kept.stem[1].running_mean, task.encoder.stem[1].running_mean)
    trained = {id(p) for group in task.param_groups(0.0) for p in group["params"]}
    assert not trained & {id(p) for p in task.average.parameters()}


def test_without_an_average_the_trained_weights_are_kept():
    task = finetune()
    assert task.kept_encoder is task.encoder and task.class_head is task.classifier


def test_the_classifier_learns_alone_at_first():
    task = finetune(head_share=0.5, total_steps=4, dropout=0.0)
    optimizer = torch.optim.SGD(task.param_groups(0.0), lr=0.1)
    changed = []
    for step in range(4):
        before = {name: value.clone() for name, value in task.state_dict().items()}
        task.train()
        optimizer.zero_grad()
        task(make_batch("finetune", seed=step))["loss"].backward()
        assert all(p.grad is not None for p in task.parameters())  # DDP waits for each of them
        optimizer.step()
        task.after_step(step)
        state = task.state_dict().items()
        moved = {n.split(".")[0] for n, v in state if not torch.equal(v, before[n])}
        changed.append("encoder" in moved)
        assert "classifier" in moved
    assert changed == [False, False, True, True]


def test_the_step_is_in_the_checkpoint_where_it_matters():
    assert "step" in finetune(head_share=0.5, total_steps=4).state_dict()
    assert "step" not in finetune().state_dict()  # checkpoints from before stay loadable


def test_the_encoder_learns_slower_than_the_classifier():
    task = finetune(encoder_lr=0.3)
    scales = {g["lr_scale"] for g in task.param_groups(0.0)}
    assert scales == {1.0, 0.3}
