"""Projection heads: layers in order, CVRL's sizes, rebuilding and refusals."""

import json

import pytest
import torch
from torch import nn

from cvrl.models import heads
from cvrl.models.batchnorm import convert_sync_batchnorm
from cvrl.utils.errors import UserError


def test_cvrls_head_layer_by_layer() -> None:
    head = heads.mlp(2048, 2048, 3, 128)
    kinds = [type(layer) for layer in head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 3 + [nn.Linear]
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linears] == [2048, 2048, 2048, 128]
    assert all(layer.bias is not None for layer in linears)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("hidden_layers", [0, 1, 2, 5])
def test_any_depth(hidden_layers: int, batch_norm: bool) -> None:
    head = heads.mlp(6, 10, hidden_layers, 4, batch_norm=batch_norm)
    assert head(torch.rand(3, 6)).shape == (3, 4)
    assert sum(isinstance(layer, nn.Linear) for layer in head) == hidden_layers + 1
    norms = sum(isinstance(layer, nn.BatchNorm1d) for layer in head)
    assert norms == (hidden_layers if batch_norm else 0)


def test_no_hidden_layer_is_a_linear_map() -> None:
    head = heads.mlp(6, 10, 0, 4)
    a, b = torch.rand(2, 6), torch.rand(2, 6)
    torch.testing.assert_close(head(a) + head(b) - head(torch.zeros(1, 6)), head(a + b))


def test_the_output_has_no_norm_and_no_relu() -> None:
    torch.manual_seed(0)
    outputs = heads.mlp(6, 32, 2, 16)(torch.randn(64, 6))
    assert (outputs < 0).any()
    assert not torch.allclose(outputs.mean(dim=0), torch.zeros(16), atol=1e-3)


def test_the_momentum_is_the_norms() -> None:
    head = heads.mlp(4, 8, 1, 2, bn_momentum=0.003)
    assert isinstance(head[1], nn.BatchNorm1d)
    assert head[1].momentum == 0.003


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    head = heads.mlp(6, 16, 3, 4)
    head(torch.randn(32, 6)).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize("hidden_layers", [0, 3])
def test_a_description_rebuilds_the_head_through_json(hidden_layers: int) -> None:
    head = heads.mlp(6, 10, hidden_layers, 4, bn_momentum=0.2)
    rebuilt = heads.mlp(**json.loads(json.dumps(heads.describe(head))))
    rebuilt.load_state_dict(head.state_dict())
    rows = torch.rand(3, 6)
    assert torch.equal(rebuilt.eval()(rows), head.eval()(rows))
    assert str(rebuilt) == str(head)


def test_a_description_survives_sync_batch_norm_and_is_a_copy() -> None:
    head = heads.mlp(6, 10, 1, 4)
    described = heads.describe(convert_sync_batchnorm(head))
    assert described == heads.describe(heads.mlp(6, 10, 1, 4))
    described["hidden"] = 99
    assert heads.describe(head)["hidden"] == 10


def test_only_whole_heads_are_described() -> None:
    head = heads.mlp(6, 10, 2, 4)
    assert head[:3](torch.rand(5, 6)).shape == (5, 10), "the first hidden layer is a feature too"
    for other in (nn.Linear(2, 2), head[:3]):
        with pytest.raises(TypeError, match=r"not made by heads\.mlp"):
            heads.describe(other)


@pytest.mark.parametrize(
    ("sizes", "word"),
    [
        ((0, 8, 1, 4), "dim_in = 0"),
        ((8, 0, 1, 4), "hidden = 0"),
        ((8, 8, -1, 4), "hidden_layers = -1"),
        ((8, 8, 1, 0), "dim_out = 0"),
    ],
)
def test_sizes_that_make_no_head_are_named(sizes: tuple[int, int, int, int], word: str) -> None:
    with pytest.raises(UserError, match=word):
        heads.mlp(*sizes)
