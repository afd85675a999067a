"""The joint loss is the weighted sum of its parts', each on its own clips."""

from dataclasses import replace

import pytest
import torch
from cases import build, make_batch

from cvrl.methods.joint import Joint
from cvrl.utils.errors import UserError


def shares(batch):
    for name, mine in (("pair", slice(0, 2)), ("one", slice(2, 4))):
        yield (
            name,
            replace(
                batch,
                clips_BVCTHW=batch.clips_BVCTHW[:, mine],
                time_BV=batch.time_BV[:, mine],
                order_BV=batch.order_BV[:, mine],
            ),
        )


@torch.no_grad()
def test_the_loss_is_the_weighted_sum_of_the_parts():
    task = build("joint").double().eval()
    batch = make_batch("joint", dtype=torch.float64)
    losses = task(batch)
    own = {name: task.parts[name](share)["loss"] for name, share in shares(batch)}
    torch.testing.assert_close(losses["loss"], 1.0 * own["pair"] + 0.5 * own["one"])
    for name, loss in own.items():
        torch.testing.assert_close(losses[f"{name}/loss"], loss)


def test_the_parts_share_one_encoder():
    task = build("joint")
    assert task.parts["pair"].encoder is task.encoder is task.parts["one"].encoder
    names = [name for name, _ in task.named_parameters()]
    assert not any(".encoder." in name for name in names)


def test_what_follows_a_step_reaches_every_part():
    task = build("joint")
    seen = []
    for name, part in task.parts.items():
        part.after_step = lambda step, name=name: seen.append((name, step))
    task.after_step(7)
    assert seen == [("pair", 7), ("one", 7)]
    task.parts["one"].is_ready = lambda: False
    assert not task.is_ready()


def test_labels_are_needed_where_a_part_needs_them():
    assert build("joint").needs_labels


@pytest.mark.parametrize(
    ("clips_of", "weights"), [({"pair": 2, "lost": 2}, None), ({"pair": 2}, {"lost": 1.0})]
)
def test_every_part_needs_views_and_a_method(clips_of, weights):
    pair = build("joint").parts["pair"]
    with pytest.raises(UserError, match=r"method\.parts\.lost"):
        Joint(pair.encoder, parts={"pair": pair}, clips_of=clips_of, weights=weights)
