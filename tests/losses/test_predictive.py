"""The loss of predictions against loops in plain Python, and what it ignores."""

import math

import pytest
import torch

from cvrl.losses.predictive import chance, prediction_nce, prediction_scores, prediction_top1


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_loops(predicted, target, temperature, cosine, group):
    """(mean loss, top-1, chance), a prediction at a time."""

    def score(a, b):
        found = sum(x * y for x, y in zip(a, b, strict=True))
        if cosine:
            found /= math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
        return found / temperature

    losses, hits, chances = [], [], []
    videos, questions = len(predicted), len(predicted[0])
    for video in range(videos):
        for question in range(questions):
            own, others = None, []
            for b in range(videos):
                for q in range(questions):
                    found = score(predicted[video][question], target[b][q])
                    if (b, q) == (video, question):
                        own = found
                    elif b == video or group[b] != group[video] or group[b] < 0:
                        others.append(found)
            total = math.exp(own) + sum(math.exp(other) for other in others)
            losses.append(-math.log(math.exp(own) / total))
            hits.append(all(own > other for other in others))
            chances.append(1 / (1 + len(others)))
    return tuple(sum(values) / len(values) for values in (losses, hits, chances))


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
@pytest.mark.parametrize("group", [[0, 1, 2, 3], [0, 0, 1, 0], [-1, -1, 5, 5], [2, 2, 2, 2]])
def test_it_is_the_loop(cosine, temperature, group):
    target = random(4, 3, 5)
    predicted = target + random(4, 3, 5, seed=1)
    scores, own = prediction_scores(predicted, target, temperature, cosine, torch.tensor(group))
    loss, top1, guess = by_loops(predicted.tolist(), target.tolist(), temperature, cosine, group)
    assert prediction_nce(scores, own).item() == pytest.approx(loss, abs=1e-9)
    assert prediction_top1(scores, own).item() == pytest.approx(top1, abs=1e-6)
    assert chance(scores).item() == pytest.approx(guess, abs=1e-6)


def test_without_groups_every_feature_is_a_candidate():
    z = random(4, 3, 5)
    scores, own = prediction_scores(z, z)
    assert scores.shape == (12, 12) and torch.isfinite(scores).all()
    assert own.tolist() == list(range(12))
    assert chance(scores).item() == pytest.approx(1 / 12)


def test_gradients_reach_predictions_and_targets_of_all_videos():
    predicted, target = random(3, 2, 4).requires_grad_(), random(3, 2, 4, seed=1).requires_grad_()
    group = torch.tensor([0, 0, 1])

    def loss(predicted, target):
        return prediction_nce(*prediction_scores(predicted, target, 0.5, True, group))

    assert torch.autograd.gradcheck(loss, (predicted, target))
    loss(predicted, target).backward()
    assert (predicted.grad.abs().sum(dim=-1) > 0).all()
    assert (target.grad.abs().sum(dim=-1) > 0).all()


def test_an_ignored_video_moves_nothing():
    predicted, target = random(3, 2, 4), random(3, 2, 4, seed=1).requires_grad_()
    scores, own = prediction_scores(predicted, target, group_id=torch.tensor([0, 0, 1]))
    rows = torch.nn.functional.cross_entropy(scores, own, reduction="none").view(3, 2)
    rows[0].sum().backward()
    assert (target.grad[1] == 0).all() and (target.grad[2] != 0).all()


def test_the_softmax_is_over_candidates_and_not_over_predictions():
    # A common slip: with a favourite candidate the two differ.
    predicted, target = random(4, 1, 3), random(4, 1, 3, seed=1)
    target[0] *= 10
    scores, own = prediction_scores(predicted, target)
    rows = -torch.log_softmax(scores, dim=1)[torch.arange(4), own]
    columns = -torch.log_softmax(scores, dim=0)[own, torch.arange(4)]
    assert prediction_nce(scores, own).item() == pytest.approx(rows.mean().item())
    assert rows.mean().item() != pytest.approx(columns.mean().item())


def test_the_right_answer_costs_little_and_a_wrong_one_much():
    z = torch.eye(6, dtype=torch.float64).view(3, 2, 6)
    right = prediction_nce(*prediction_scores(z, z, 0.01))
    wrong = prediction_nce(*prediction_scores(z.flip(1), z, 0.01))
    assert right.item() == pytest.approx(0, abs=1e-9) and wrong.item() == pytest.approx(100)


def test_one_prediction_alone_has_nothing_to_tell_it_from():
    z = random(1, 1, 4).requires_grad_()
    scores, own = prediction_scores(z, z)
    loss = prediction_nce(scores, own)
    loss.backward()
    assert loss.item() == 0 and (z.grad == 0).all() and chance(scores).item() == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_arithmetic_is_float32_under_autocast(dtype):
    z = 200 * random(2, 2, 64, dtype=torch.float32).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        scores, own = prediction_scores(z, z)
        loss = prediction_nce(scores, own)
    assert scores.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(scores, z.float().flatten(0, 1) @ z.float().flatten(0, 1).T)
    assert torch.isfinite(loss)


@pytest.mark.parametrize("bad", ["predicted", "target"])
def test_values_that_are_not_finite_are_named(bad):
    given = {"predicted": random(2, 2, 3), "target": random(2, 2, 3)}
    given[bad][0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="diverged"):
        prediction_scores(given["predicted"], given["target"])


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        prediction_scores(random(2, 2, 3), random(2, 3, 3))
    with pytest.raises(ValueError, match="one shape"):
        prediction_scores(random(2, 3), random(2, 3))
    with pytest.raises(ValueError, match="temperature"):
        prediction_scores(random(2, 2, 3), random(2, 2, 3), temperature=0.0)
