"""The convolutional GRU against its equations in plain Python, and predictors against theirs."""

import math

import pytest
import torch
from torch.nn import functional as F

from cvrl.models.recurrent import ConvGRU, RollOutPredictor, StepPredictor


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(*, dim_in=3, dim=2, **keywords):
    torch.manual_seed(0)
    gru = ConvGRU(dim_in, dim, **keywords).double()
    for parameter in gru.parameters():  # biases too
        torch.nn.init.normal_(parameter)
    return gru


def cell_by_loops(gru, x, c):
    """One step at one place; x and c are lists of numbers."""

    def linear(weight, bias, values):
        return [
            sum(w * value for w, value in zip(row, values, strict=True)) + b
            for row, b in zip(weight.flatten(1).tolist(), bias.tolist(), strict=True)
        ]

    def sigmoid(value):
        return 1 / (1 + math.exp(-value))

    gates = [sigmoid(value) for value in linear(gru.gates.weight, gru.gates.bias, x + c)]
    update, reset = gates[: gru.dim], gates[gru.dim :]
    inner = x + [r * value for r, value in zip(reset, c, strict=True)]
    new = [math.tanh(v) for v in linear(gru.candidate.weight, gru.candidate.bias, inner)]
    return [(1 - u) * old + u * n for u, old, n in zip(update, c, new, strict=True)]


def test_at_one_place_it_is_the_gru_of_the_equations():
    gru, x_BNDHW = network(), random(2, 4, 3, 1, 1)
    found = gru(x_BNDHW)
    for b in range(2):
        c = [0.0, 0.0]
        for x in x_BNDHW[b].flatten(1).tolist():
            c = cell_by_loops(gru, x, c)
        assert found[b].flatten().tolist() == pytest.approx(c, abs=1e-9)


def test_with_small_kernels_places_do_not_mix():
    gru, x_BNDHW = network(), random(2, 4, 3, 5, 6)
    whole = gru(x_BNDHW)
    for row, column in ((0, 0), (2, 3), (4, 5)):
        alone = gru(x_BNDHW[..., row : row + 1, column : column + 1])
        torch.testing.assert_close(whole[..., row : row + 1, column : column + 1], alone)


def test_with_larger_kernels_neighbours_do():
    gru, x_BNDHW = network(kernel=3), random(1, 1, 3, 5, 5)
    other = x_BNDHW.clone()
    other[..., 0, 0] += 1
    changed = (gru(x_BNDHW) != gru(other)).any(dim=1)[0]
    assert changed[:2, :2].all() and changed.sum() == 4
    with pytest.raises(ValueError, match="no centre"):
        ConvGRU(3, 2, kernel=2)


def test_it_goes_on_from_a_state():
    gru, x_BNDHW = network(), random(2, 5, 3, 2, 2)
    half = gru(x_BNDHW[:, :2])
    torch.testing.assert_close(gru(x_BNDHW[:, 2:], half), gru(x_BNDHW))
    assert not torch.allclose(gru(x_BNDHW.flip(1)), gru(x_BNDHW))  # order matters


def test_gates_start_orthogonal_and_without_bias():
    gru = ConvGRU(6, 4)
    for weight in (*gru.gates.weight.chunk(2), gru.candidate.weight):
        rows = weight.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)
    assert (gru.gates.bias == 0).all() and (gru.candidate.bias == 0).all()


def test_dropout_is_of_training_alone():
    gru, x_BNDHW = network(dropout=0.5), random(2, 3, 3, 2, 2)
    assert not torch.equal(gru(x_BNDHW), gru(x_BNDHW))
    gru.eval()
    assert torch.equal(gru(x_BNDHW), gru(x_BNDHW))


def test_a_step_predictor_has_a_matrix_for_each_step():
    gru = network()
    predictor = StepPredictor(2, 3, steps=4).double()
    c_BCHW = random(2, 2, 3, 3)
    found = predictor(c_BCHW, gru)
    assert found.shape == (2, 4, 3, 3, 3)
    for step, W in enumerate(predictor.maps):
        expected = torch.einsum("dc,bchw->bdhw", W.weight[:, :, 0, 0], c_BCHW)
        torch.testing.assert_close(found[:, step], expected)
    assert [name for name, _ in predictor.named_parameters() if "bias" in name] == []


def test_a_roll_out_feeds_its_predictions_back():
    gru = network()
    predictor = RollOutPredictor(2, 3, steps=3).double()
    c_BCHW = random(2, 2, 3, 3)
    found = predictor(c_BCHW, gru)
    z1 = predictor.phi(c_BCHW)
    c1 = gru(F.relu(z1)[:, None], c_BCHW)
    z2 = predictor.phi(c1)
    z3 = predictor.phi(gru(F.relu(z2)[:, None], c1))
    torch.testing.assert_close(found, torch.stack([z1, z2, z3], dim=1))


def test_a_roll_out_begins_orthogonal_and_unbiased_as_dpcs():
    predictor = RollOutPredictor(4, 6, steps=2)
    for layer in (predictor.phi[0], predictor.phi[2]):
        W = layer.weight.flatten(1)
        gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
        torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)
        assert not layer.bias.any()


def test_a_roll_out_keeps_what_it_is_fed_to_out_of_its_own_weights():
    names = {name for name, _ in RollOutPredictor(2, 3, steps=3).named_parameters()}
    assert names == {"phi.0.weight", "phi.0.bias", "phi.2.weight", "phi.2.bias"}
