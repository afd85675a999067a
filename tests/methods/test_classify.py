"""Which clips are classified, by which label, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.classify import Classify
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError


def reference_loss(task, clips, labels, smoothing=0.0):
    total, classes = 0.0, len(task.classifier(task.encoder(clips[0][None]))[0])
    for clip, label in zip(clips, labels, strict=True):
        logits = task.classifier(task.encoder(clip[None]))[0].tolist()
        log_z = math.log(sum(math.exp(value) for value in logits))
        target = [smoothing / classes] * classes
        target[label] += 1 - smoothing
        total += -sum(share * (value - log_z) for share, value in zip(target, logits, strict=True))
    return total / len(labels)


@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_clip_has_the_label_of_its_video(smoothing):
    task = build("classify").double().eval()
    task.label_smoothing = smoothing
    batch = make_batch("classify", dtype=torch.float64)
    clips, labels = [], []
    for video in range(6):
        for view in range(2):
            clips.append(batch.clips_BVCTHW[video, view])
            labels.append(int(batch.labels_B[video]))
    expected = reference_loss(task, clips, labels, smoothing)
    assert task(batch)["loss"].item() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("case", ["classify@rotated", "classify@jigsaw_pair", "classify@pace"])
def test_only_clips_that_carry_an_arrangement_are_classified(case):
    task = build(case).double().eval()
    batch = make_batch(case, dtype=torch.float64)
    kept = [(b, v) for b, row in enumerate(batch.order_BV) for v, o in enumerate(row) if o >= 0]
    clips = [batch.clips_BVCTHW[b, v] for b, v in kept]
    labels = [int(batch.order_BV[b, v]) for b, v in kept]
    assert len(kept) == (12 if case == "classify@pace" else 6)
    expected = reference_loss(task, clips, labels)
    assert task(batch)["loss"].item() == pytest.approx(expected, abs=1e-6)


def test_the_arrangement_needs_no_labels_of_the_data():
    task = build("classify@rotated")
    batch = make_batch("classify@rotated")
    losses = task(replace(batch, labels_B=torch.full_like(batch.labels_B, -1)))
    assert not task.needs_labels and "pretext_top1" in losses
    assert build("classify").needs_labels


def test_a_video_without_a_label_is_an_error():
    task, batch = build("classify"), make_batch("classify")
    with pytest.raises(ValueError, match="needs a label"):
        task(replace(batch, labels_B=torch.full_like(batch.labels_B, -1)))


@pytest.mark.parametrize(
    ("target", "remedy"), [("arrangement", "views.role=predict"), ("colour", "arrangement")]
)
def test_a_target_that_is_not_there_is_refused(target, remedy):
    encoder = build_encoder("r3d_small", width=4)
    with pytest.raises(UserError, match=r"method\.target") as caught:
        Classify(encoder, class_names=["a"], order_classes=0, target=target)
    assert remedy in str(caught.value)
