"""Labelled videos teach by label, the others by sure guesses of their first clip."""

import math
from dataclasses import replace

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.semi_supervised import SemiSupervised
from cvrl.models.backbones import build_encoder


def task_with(confidence, weight=1.0):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=4, blocks=(1, 1, 1, 1))
    task = SemiSupervised(
        encoder, class_names=["a", "b", "c"], confidence=confidence, unlabelled_weight=weight
    )
    with torch.no_grad():
        task.classifier.weight.mul_(200)  # so that some guesses are sure
    return task.double().eval()


def reference(task, batch):
    """Both terms, a video at a time."""
    supervised, guessed = [], []
    for clips, label in zip(batch.clips_BVCTHW, batch.labels_B.tolist(), strict=True):
        rows = task.classifier(task.encoder(clips)).tolist()
        log_p = []
        for row in rows:
            log_z = math.log(sum(math.exp(v - max(row)) for v in row)) + max(row)
            log_p.append([v - log_z for v in row])
        if label >= 0:
            supervised.append(-sum(row[label] for row in log_p) / len(log_p))
        else:
            best = max(range(3), key=lambda k: log_p[0][k])
            sure = math.exp(log_p[0][best]) > task.confidence
            others = log_p[1:]
            guessed.append(-sum(row[best] for row in others) / len(others) if sure else 0.0)
    return sum(supervised) / len(supervised), sum(guessed) / len(guessed)


@torch.no_grad()
@pytest.mark.parametrize("confidence", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_both_terms_are_those_of_a_loop(confidence, weight):
    task = task_with(confidence, weight)
    batch = make_batch("semi_supervised", dtype=torch.float64)
    supervised, guessed = reference(task, batch)
    losses = task(batch)
    assert losses["supervised_loss"].item() == pytest.approx(supervised, abs=1e-6)
    assert losses["guessed_loss"].item() == pytest.approx(guessed, abs=1e-6)
    assert losses["loss"].item() == pytest.approx(supervised + weight * guessed, abs=1e-6)


def test_no_guess_is_sure_enough_for_a_high_bar():
    task = build("semi_supervised")
    task.confidence = 0.999999
    losses = task(make_batch("semi_supervised"))
    assert losses["sure"].item() == 0 and losses["guessed_loss"].item() == 0


def test_the_guess_itself_gets_no_gradient():
    task = task_with(0.0).train()
    batch = make_batch("semi_supervised", dtype=torch.float64)
    clips = batch.clips_BVCTHW.clone().requires_grad_()
    unlabelled = torch.full_like(batch.labels_B, -1)
    task.eval()  # so that clips do not meet in batch norm
    task(replace(batch, clips_BVCTHW=clips, labels_B=unlabelled))["loss"].backward()
    assert bool((clips.grad[:, 0] == 0).all()) and bool((clips.grad[:, 1] != 0).any())


@pytest.mark.parametrize("label", [-1, 1])
def test_all_or_no_labels_work(label):
    task, batch = build("semi_supervised"), make_batch("semi_supervised")
    losses = task(replace(batch, labels_B=torch.full_like(batch.labels_B, label)))
    assert all(bool(torch.isfinite(value).all()) for value in losses.values())
    losses["loss"].backward()
