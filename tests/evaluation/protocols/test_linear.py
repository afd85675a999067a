"""The linear probe: it finds the optimum it documents, and chooses l2 without the test part."""

import pytest
import torch
import torch.nn.functional as F

from cvrl.evaluation.protocols import linear
from cvrl.evaluation.protocols.linear import L2_GRID, linear_probe
from cvrl.utils.errors import UserError


def clusters(
    rows: int, seed: int, noise: float = 0.3, dim: int = 6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of three classes around three fixed points."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 3
    centres = torch.randn(3, dim, generator=torch.Generator().manual_seed(0))
    return centres[labels] + noise * torch.randn(rows, dim, generator=generator), labels


def fit_by_torch(x: torch.Tensor, y: torch.Tensor, l2: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The documented objective, minimised by torch in float64."""
    weight = torch.zeros(3, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-10)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, y) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


@pytest.mark.parametrize("l2", [0.01, 0.3])
def test_it_is_the_optimum_of_the_documented_objective(l2: float) -> None:
    x, y = clusters(45, seed=1)
    scaled = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    weight, bias = fit_by_torch(scaled, y, l2)
    model = linear.fit(x.double().numpy(), y.numpy(), "standardise", l2)
    expected = F.softmax(scaled @ weight.T + bias, dim=1)
    got = torch.from_numpy(model.predict_proba(x.double().numpy()))
    torch.testing.assert_close(got, expected, atol=2e-3, rtol=0)


def test_repeating_the_training_part_changes_nothing() -> None:
    """The strength is a share of the mean loss, so it means the same for any number of videos."""
    x, y = clusters(30, seed=1)
    test, truth = clusters(30, seed=2, noise=1.0)
    once = linear_probe(x, y, test, truth, l2_grid=(0.1,))
    thrice = linear_probe(x.repeat(3, 1), y.repeat(3), test, truth, l2_grid=(0.1,))
    assert torch.equal(once.scores.predicted_M, thrice.scores.predicted_M)


@pytest.mark.parametrize("scaling", ["standardise", "l2"])
def test_separable_classes_are_told_apart(scaling: linear.Scaling) -> None:
    probe = linear_probe(*clusters(60, seed=1), *clusters(30, seed=2), scaling=scaling)
    assert probe.scores.top1 == probe.scores.mean_class == 1.0
    assert probe.scores.top5 is None
    assert sorted(probe.held_out) == sorted(L2_GRID)
    assert probe.l2 in L2_GRID


def test_standardising_ignores_the_scale_of_a_dimension() -> None:
    train, test = clusters(60, seed=1), clusters(30, seed=2, noise=1.0)
    scale = torch.tensor([1e-3, 1, 1e3, 5, 0.2, 40])
    probe = linear_probe(*train, *test)
    scaled = linear_probe(train[0] * scale, train[1], test[0] * scale, test[1])
    assert probe.scores.top1 == scaled.scores.top1


def test_a_constant_dimension_does_no_harm() -> None:
    (x, y), (test, truth) = clusters(60, seed=1), clusters(30, seed=2)
    constant = F.pad(x, (0, 1), value=7.0), y, F.pad(test, (0, 1), value=7.0), truth
    assert linear_probe(*constant).scores.top1 == 1.0


def test_folds_share_no_group_and_hold_every_class() -> None:
    labels, groups = torch.arange(60) % 3, torch.arange(60) // 4
    folds = linear._folds(labels.numpy(), groups.numpy(), seed=0)
    assert len(folds) == 5
    held_out = []
    for rest, held in folds:
        assert not set(groups[rest].tolist()) & set(groups[held].tolist())
        assert set(labels[rest].tolist()) == {0, 1, 2}
        held_out += held.tolist()
    assert sorted(held_out) == list(range(60))


def test_choosing_by_groups_is_not_fooled_by_siblings() -> None:
    """Siblings share a fingerprint that says nothing about other groups.

    Random folds have a sibling of every held-out row among the rows fitted on, so the fingerprint
    seems to pay; folds by group show that it does not.
    """
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(48) // 4
    label = group % 2
    signal = (label[:, None] * 2.0 - 1) + 3.0 * torch.randn(48, 1, generator=generator)
    fingerprint = 5 * torch.randn(12, 40, generator=generator)[group]
    x = torch.cat([signal, fingerprint], dim=1)
    by_group = linear_probe(x, label, x, label, train_groups_N=group).held_out
    by_row = linear_probe(x, label, x, label).held_out
    assert max(by_row.values()) > 0.95
    assert max(by_group.values()) < 0.85


def test_the_test_part_has_no_say_in_the_choice() -> None:
    train = clusters(60, seed=1, noise=1.5)
    test, truth = clusters(30, seed=2, noise=1.5)
    probe = linear_probe(*train, test, truth)
    other = linear_probe(*train, -test, truth.flip(0))
    assert (probe.l2, probe.held_out) == (other.l2, other.held_out)


def test_equal_scores_take_the_stronger_l2() -> None:
    probe = linear_probe(*clusters(60, seed=1, noise=0.01), *clusters(30, seed=2))
    best = [l2 for l2, share in probe.held_out.items() if share == max(probe.held_out.values())]
    assert len(best) > 1 and probe.l2 == max(best)


def test_the_seed_decides_the_folds() -> None:
    labels, groups = torch.arange(60).numpy() % 3, torch.arange(60).numpy() // 2
    same = [linear._folds(labels, groups, seed=3)[0][1].tolist() for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != linear._folds(labels, groups, seed=4)[0][1].tolist()


def test_too_few_groups_to_hold_any_out(caplog: pytest.LogCaptureFixture) -> None:
    x, y = clusters(12, seed=1)
    with caplog.at_level("WARNING", logger="cvrl"):
        probe = linear_probe(x, y, x, y, train_groups_N=y)
    assert probe.held_out == {} and probe.l2 in L2_GRID
    assert "too few groups" in caplog.text


def test_a_single_strength_needs_no_choice(caplog: pytest.LogCaptureFixture) -> None:
    probe = linear_probe(*clusters(12, seed=1), *clusters(6, seed=2), l2_grid=(0.5,))
    assert probe.l2 == 0.5 and probe.held_out == {}
    assert caplog.text == ""


def test_a_fit_that_does_not_converge_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "MAX_ITERATIONS", 1)
    with caplog.at_level("WARNING", logger="cvrl"):
        linear_probe(*clusters(30, seed=1), *clusters(6, seed=2), l2_grid=(1e-4,))
    assert "not converged" in caplog.text


def test_a_test_class_without_training_rows_is_always_wrong() -> None:
    x, y = clusters(60, seed=1)
    seen = y != 1
    probe = linear_probe(x[seen], y[seen], x, y, n_classes=3)
    assert probe.scores.top1 == pytest.approx(2 / 3)
    assert 1 not in probe.scores.predicted_M.tolist()


def test_more_than_five_classes_have_a_top5() -> None:
    x = torch.eye(8).repeat(4, 1)
    y = torch.arange(8).repeat(4)
    assert linear_probe(x, y, x, y).scores.top5 == 1.0


def test_refusals() -> None:
    x, y = clusters(12, seed=1)
    with pytest.raises(UserError, match="one class only"):
        linear_probe(x, torch.zeros(12, dtype=torch.long), x, y)
    with pytest.raises(UserError, match="no label"):
        linear_probe(x, y, x, torch.full((12,), -1))
