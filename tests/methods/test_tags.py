"""Labels of several tags: how they are cut, and both losses against loops."""

import math
from dataclasses import replace

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.tags import Tags, binary_cross_entropy, multi_hot, soft_cross_entropy
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError

HAS = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.float64)


def logits(seed=0):
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_labels_are_cut_into_tags():
    tags, has = multi_hot(["sea + surf", "surf", "sun+sea+surf", ""])
    assert tags == ["sea", "sun", "surf"]
    assert has.tolist() == [[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]]


def test_softmax_spreads_the_target_over_the_tags():
    for row, has, loss in zip(logits(), HAS, soft_cross_entropy(logits(), HAS), strict=True):
        log_z = math.log(sum(math.exp(value) for value in row.tolist()))
        own = [float(value) - log_z for value, there in zip(row, has, strict=True) if there]
        assert loss.item() == pytest.approx(-sum(own) / len(own), abs=1e-9)


def test_binary_asks_of_every_tag():
    for row, has, loss in zip(logits(), HAS, binary_cross_entropy(logits(), HAS), strict=True):
        terms = []
        for value, there in zip(row.tolist(), has.tolist(), strict=True):
            p = 1 / (1 + math.exp(-value))
            terms.append(-math.log(p if there else 1 - p))
        assert loss.item() == pytest.approx(sum(terms) / 4, abs=1e-9)


@pytest.mark.parametrize("loss", ["softmax", "binary"])
def test_a_video_is_taught_all_its_tags(loss):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=4, blocks=(1, 1, 1, 1))
    task = Tags(encoder, class_names=["a", "a+b", "c"], loss=loss, dropout=0.0)
    batch = make_batch("tags")
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(60):
        losses = task(batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    logits_NH = task.classifier(encoder(batch.clips_BVCTHW.flatten(0, 1)))
    best_two = logits_NH.view(6, 2, 3)[batch.labels_B == 1].topk(2, dim=2).indices.sort().values
    assert losses["train_hit1"].item() == 1
    assert bool((best_two == torch.tensor([0, 1])).all())  # a and b, not c


def test_hit1_counts_any_tag_of_the_video():
    task = build("tags").eval()
    with torch.no_grad():
        task.classifier.weight.zero_()
        task.classifier.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))  # always tag a
    batch = replace(make_batch("tags"), labels_B=torch.tensor([0, 1, 2, 2, 2, 2]))
    assert task(batch)["train_hit1"].item() == pytest.approx(2 / 6)


def test_unknown_losses_and_data_without_tags_are_refused():
    encoder = build_encoder("r3d_small", width=4)
    with pytest.raises(UserError, match=r"method\.loss"):
        Tags(encoder, class_names=["a"], loss="hinge")
    with pytest.raises(UserError, match="no tags"):
        Tags(encoder, class_names=[])
