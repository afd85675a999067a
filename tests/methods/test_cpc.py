"""The context knows nothing of the future, and every composition learns to tell what comes."""

from dataclasses import replace

import pytest
import torch
from cases import make_batch
from torch import nn
from torch.nn import functional as F

from cvrl.data.clips import ClipSpec
from cvrl.engine.components import build_method, build_views
from cvrl.losses.predictive import prediction_nce, prediction_scores
from cvrl.methods.cpc import CPC
from cvrl.models.backbones import build_encoder
from cvrl.utils.errors import UserError

COMPOSITIONS = [
    (context, prediction)
    for context in ("gru", "conv_gru")
    for prediction in ("per_step", "roll_out")
]


def task_of(**keywords):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=4)
    return CPC(encoder, **{"predict": 2, "dim": 8, "context_dim": 12} | keywords)


def batch_of(videos=4, blocks=4, seed=0):
    batch = make_batch("cpc", videos=videos, seed=seed)
    return replace(batch, clips_BVCTHW=batch.clips_BVCTHW[:, :blocks])


def with_changed_block(batch, block):
    clips = batch.clips_BVCTHW.clone()
    clips[:, block] = torch.rand(clips[:, block].shape, generator=torch.Generator().manual_seed(9))
    return replace(batch, clips_BVCTHW=clips)


def contexts(task, batch):
    """Every state of the context that a forward pass goes through, and every prediction."""
    seen = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
        for module in (task.context, task.predictor)
    ]
    task(batch)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(("context", "prediction"), COMPOSITIONS)
def test_the_future_does_not_reach_the_context_through_batch_norm(context, prediction):
    batch = batch_of()
    for block in (2, 3):
        first, second = (
            contexts(task_of(context=context, prediction=prediction).train(), one)
            for one in (batch, with_changed_block(batch, block))
        )
        assert len(first) == (2 if prediction == "per_step" else 3)
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one, other)  # bit for bit
    assert any(isinstance(m, nn.BatchNorm3d) for m in task_of().modules())


def test_what_is_seen_does():
    batch = batch_of()
    for block in (0, 1):
        first, second = (
            contexts(task_of(), one)[0] for one in (batch, with_changed_block(batch, block))
        )
        assert not torch.equal(first, second)


def test_one_pass_for_all_blocks_would_leak():
    # Shows that the test above can fail: batch norm over all blocks carries the last one back.
    batch = batch_of()
    task = task_of().train()
    first, second = (
        task.context(F.relu(task.embed(one.clips_BVCTHW))[:, :2])
        for one in (batch, with_changed_block(batch, 3))
    )
    assert not torch.equal(first, second)


def test_the_encoder_passes_once_over_the_past_and_once_over_the_future():
    task, rows = task_of(), []
    task.encoder.stem.register_forward_hook(lambda _m, inputs, _o: rows.append(len(inputs[0])))
    task(batch_of(videos=5))
    assert rows == [10, 10]
    counts = {m.num_batches_tracked.item() for m in task.modules() if hasattr(m, "running_mean")}
    assert counts == {2}


@pytest.mark.parametrize(("context", "prediction"), COMPOSITIONS)
@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_the_loss_is_that_of_its_parts(context, prediction, score):
    task = task_of(context=context, prediction=prediction, score=score, temperature=0.5).eval()
    batch = replace(batch_of(), group_id_B=torch.tensor([0, 0, 1, 2]))
    losses = task(batch)
    h = [_map(task, batch.clips_BVCTHW[:, block], context) for block in range(4)]
    z = [_linear(task.projector[0], one) for one in h]
    c = None
    for one in z[:2]:
        c = task.context(F.relu(one)[:, None], c)
    predicted = task.predictor(c, task.context)
    rows = [
        torch.stack([one[:, :, y, x] for one in maps for y, x in _places(one)], dim=1)
        for maps in ([predicted[:, 0], predicted[:, 1]], z[2:])
    ]
    expected = prediction_nce(*prediction_scores(*rows, 0.5, score == "cosine", batch.group_id_B))
    torch.testing.assert_close(losses["loss"], expected)
    assert losses["embedding_ND"].shape == (8, 8)


def _map(task, clips, context):
    if context == "gru":
        return task.encoder(clips)[:, :, None, None]
    return task.encoder.stages(clips)["res5"].mean(dim=2)


def _linear(layer, h_BDHW):
    return torch.einsum("ed,bdhw->behw", layer.weight, h_BDHW) + layer.bias[:, None, None]


def _places(one):
    return [(y, x) for y in range(one.shape[2]) for x in range(one.shape[3])]


def test_dense_predictions_are_of_every_place():
    batch = batch_of(videos=4)
    whole, dense = (task_of(context=context)(batch) for context in ("gru", "conv_gru"))
    assert whole["pretext_chance"].item() == pytest.approx(1 / 8)  # 4 videos, 2 steps
    assert dense["pretext_chance"].item() == pytest.approx(1 / 8)  # 32 pixels are one place
    clips = batch.clips_BVCTHW.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    dense = task_of(context="conv_gru")(replace(batch, clips_BVCTHW=clips))
    assert dense["pretext_chance"].item() == pytest.approx(1 / 32)  # 64 pixels are two by two


def test_videos_of_one_group_are_no_candidates():
    batch = replace(batch_of(videos=4), group_id_B=torch.tensor([5, 5, 5, 5]))
    assert task_of()(batch)["pretext_chance"].item() == pytest.approx(1 / 2)


def test_copying_the_last_block_is_right_where_nothing_changes():
    batch = batch_of(videos=4, blocks=3)
    still = batch.clips_BVCTHW[:, :1].expand(-1, 3, -1, -1, -1, -1)
    task = task_of(predict=1).eval()
    assert task(replace(batch, clips_BVCTHW=still))["pretext_copy"].item() == 1.0
    turned = torch.cat([still[:, :2], still[:, 2:].roll(1, dims=0)], dim=1)
    assert task(replace(batch, clips_BVCTHW=turned))["pretext_copy"].item() == 0.0


def test_copying_keeps_to_its_place():
    # Halves of a picture that change sides: the copy finds each at the wrong place.
    quadrants = torch.rand(3, 3, 8, 2, 2, generator=torch.Generator().manual_seed(0))
    picture = quadrants.repeat_interleave(64, dim=-1).repeat_interleave(64, dim=-2)
    task = task_of(predict=1, context="conv_gru").eval()
    batch = batch_of(videos=3, blocks=3)
    right = {}
    for shift in (0, 64):
        clips = torch.stack([picture, picture, picture.roll(shift, dims=-1)], dim=1)
        right[shift] = task(replace(batch, clips_BVCTHW=clips))["pretext_copy"].item()
    assert right[0] == 1.0 and right[64] < 0.3  # where the frame's border looks alike, it is found


def test_copying_cannot_be_right_at_two_steps():
    batch = batch_of(videos=4)
    still = batch.clips_BVCTHW[:, :1].expand(-1, 4, -1, -1, -1, -1)
    assert task_of().eval()(replace(batch, clips_BVCTHW=still))["pretext_copy"].item() <= 0.5


@pytest.mark.parametrize("stop_gradient", [False, True])
def test_the_gradient_into_what_is_predicted_can_be_stopped(stop_gradient):
    task = task_of(stop_gradient=stop_gradient)
    batch = batch_of()
    clips = batch.clips_BVCTHW.clone().requires_grad_()
    task(replace(batch, clips_BVCTHW=clips))["loss"].backward()
    moved = clips.grad.abs().sum(dim=(0, 2, 3, 4, 5)) > 0
    assert moved.tolist() == [True, True, not stop_gradient, not stop_gradient]


@pytest.mark.parametrize(("context", "prediction"), COMPOSITIONS)
def test_every_composition_learns_which_future_is_whose(context, prediction):
    task = task_of(context=context, prediction=prediction)
    optimizer = torch.optim.AdamW(task.param_groups(0.0), lr=3e-3)
    batch = batch_of(videos=6)
    for _ in range(40):
        losses = task(batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["pretext_top1"] > 2 * losses["pretext_chance"]


def test_the_views_say_how_much_is_predicted():
    views = build_views("future_blocks", {"blocks": 5, "predict": 3}, ClipSpec(8, 1))
    task = build_method("cpc", {}, build_encoder("r3d_small", width=4), {}, views)
    assert task.predict == 3 and len(task.predictor.maps) == 3


def test_beside_other_methods_its_views_say_it_too():
    spec = ClipSpec(8, 1)
    parts = {"pair": {"name": "temporal_pair"}, "next": {"name": "future_blocks", "predict": 2}}
    views = build_views("joint", {"parts": parts}, spec)
    methods = {"pair": {"name": "simclr", "hidden": 16}, "next": {"name": "cpc"}}
    encoder = build_encoder("r3d_small", width=4)
    task = build_method("joint", {"parts": methods}, encoder, {}, views)
    assert task.parts["next"].predict == 2


def test_views_without_a_future_are_refused():
    views = build_views("temporal_pair", {}, ClipSpec(8, 1))
    with pytest.raises(UserError, match="future_blocks"):
        build_method("cpc", {}, build_encoder("r3d_small", width=4), {}, views)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"context": "lstm"}, "method.context.*'lstm'.*gru or conv_gru"),
        ({"prediction": "all"}, "method.prediction.*per_step or roll_out"),
        ({"score": "l2"}, "method.score.*dot or cosine"),
        ({"temperature": 0.0}, "method.temperature = 0.0"),
    ],
)
def test_choices_that_there_are_not_are_refused(keywords, says):
    with pytest.raises(UserError, match=says):
        task_of(**keywords)
