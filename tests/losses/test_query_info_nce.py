"""InfoNCE in one direction against a plain loop, and whom its gradient reaches."""

import math

import pytest
import torch

from cvrl.losses.contrastive import query_info_nce


def embeddings(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(row):
    return [x / math.hypot(*row) for x in row]


def by_loop(q, k, temperature, group, negative=None):
    losses = []
    for i, query in enumerate(q.tolist()):
        rows = [k[i]]
        rows += [] if negative is None else [negative[i]]
        for j in range(len(k)):
            if j != i and not (group[i] == group[j] and group[i] >= 0):
                rows.append(k[j])
                rows += [] if negative is None else [negative[j]]
        scores = [
            math.fsum(x * y for x, y in zip(unit(query), unit(row.tolist()), strict=True))
            / temperature
            for row in rows
        ]
        losses.append(math.log(math.fsum(math.exp(s) for s in scores)) - scores[0])
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("group", [[0, 1, 2, 3], [0, 0, 1, -1], [5, 5, 5, 5], [-1, -1, -1, -1]])
@pytest.mark.parametrize("negatives", [False, True])
def test_it_is_that_of_a_loop(group, negatives):
    q, k, n = (embeddings(4, 5, seed=seed) for seed in (1, 2, 3))
    negative = n if negatives else None
    got = query_info_nce(q, k, 0.2, torch.tensor(group), negative).item()
    assert got == pytest.approx(by_loop(q, k, 0.2, group, negative), abs=1e-9)


def test_without_groups_every_other_video_is_a_negative():
    q, k = embeddings(4, 5, seed=1), embeddings(4, 5, seed=2)
    assert query_info_nce(q, k, 0.3).item() == pytest.approx(by_loop(q, k, 0.3, [0, 1, 2, 3]))


def test_derivative_of_all_inputs():
    inputs = tuple(embeddings(3, 4, seed=seed).requires_grad_() for seed in (1, 2, 3))
    group = torch.tensor([0, 0, 1])
    assert torch.autograd.gradcheck(lambda q, k, n: query_info_nce(q, k, 0.3, group, n), inputs)


def test_queries_are_not_compared_with_each_other():
    k = torch.eye(4, dtype=torch.float64)
    q = torch.ones(4, 4, dtype=torch.float64)  # all alike, and none nearer to one key
    assert query_info_nce(q, k, 0.1).item() == pytest.approx(math.log(4))


def test_a_single_video_costs_nothing_but_its_own_negative_does():
    q, k = embeddings(1, 4, seed=1).requires_grad_(), embeddings(1, 4, seed=2)
    loss = query_info_nce(q, k)
    loss.backward()
    assert loss.item() == 0.0 and not q.grad.any()
    assert query_info_nce(q, k, k_negative_BD=k).item() == pytest.approx(math.log(2))


def test_half_input_is_computed_in_float32():
    q, k = (embeddings(6, 8, seed=seed).bfloat16() for seed in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        loss = query_info_nce(q, k)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(query_info_nce(q.double(), k.double()).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("q", "k", "keywords"),
    [
        (torch.ones(3, 4), torch.ones(2, 4), {}),
        (torch.ones(3, 4), torch.ones(3, 4), {"temperature": 0.0}),
        (torch.ones(3, 4), torch.ones(3, 4), {"group_id": torch.zeros(2).long()}),
        (torch.ones(3, 4), torch.ones(3, 4), {"k_negative_BD": torch.ones(2, 4)}),
    ],
)
def test_what_does_not_fit_is_refused(q, k, keywords):
    with pytest.raises(ValueError, match=r"shape|temperature"):
        query_info_nce(q, k, **keywords)


def test_embeddings_that_are_not_finite_are_refused():
    bad = torch.full((2, 3), float("nan"))
    for pair in ((bad, torch.ones(2, 3)), (torch.ones(2, 3), bad)):
        with pytest.raises(FloatingPointError, match="not finite"):
            query_info_nce(*pair)
