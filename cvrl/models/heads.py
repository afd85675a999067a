"""Heads: what stands between the encoder's feature and the loss.

Shapes: B rows, D dimensions, K classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.utils.errors import UserError


class MLP(nn.Sequential):
    """Hidden layers of Linear, batch norm and ReLU, then a Linear; made by :func:`mlp`.

    Attributes:
        spec: JSON-able keywords; ``mlp(**head.spec)`` makes the same architecture. None for a slice
            of a head.
    """

    spec: dict[str, Any] | None = None


def mlp(
    dim_in: int,
    hidden: int,
    hidden_layers: int,
    dim_out: int,
    *,
    batch_norm: bool = True,
    bn_momentum: float = 0.1,
) -> MLP:
    """A multi-layer perceptron (B, dim_in) -> (B, dim_out).

    Every Linear has a bias and the output no norm, as in CVRL's head: three hidden layers of 2048,
    output 128 (arXiv 2008.03800). That code gives batch norm there the Keras momentum 0.997, which
    is ``bn_momentum=0.003`` here: running statistics that settle only in very long runs.

    Args:
        dim_in: dimensions of the encoder's feature.
        hidden: dimensions of the hidden layers.
        hidden_layers: their number, 0 or more; 0 makes one Linear.
        dim_out: dimensions of the output.
        batch_norm: whether a hidden layer has batch norm between its Linear and its ReLU.
        bn_momentum: share of the newest batch in the running statistics, in [0, 1].

    Raises:
        UserError: a size below 1 or a negative depth.

    Example:
        >>> import torch
        >>> mlp(512, 256, hidden_layers=1, dim_out=128)(torch.rand(4, 512)).shape
        torch.Size([4, 128])
    """
    _check_sizes(dim_in=dim_in, hidden=hidden, hidden_layers=hidden_layers, dim_out=dim_out)
    layers: list[nn.Module] = []
    for index in range(hidden_layers):
        layers.append(nn.Linear(hidden if index else dim_in, hidden))
        if batch_norm:
            layers.append(nn.BatchNorm1d(hidden, momentum=bn_momentum))
        layers.append(nn.ReLU())
    layers.append(nn.Linear(hidden if hidden_layers else dim_in, dim_out))
    head = MLP(*layers)
    head.spec = {"dim_in": dim_in, "hidden": hidden, "hidden_layers": hidden_layers}
    head.spec |= {"dim_out": dim_out, "batch_norm": batch_norm, "bn_momentum": bn_momentum}
    return head


class ClassHead(nn.Linear):
    """From a feature to the logits of K classes; it knows the names of its classes.

    Args:
        dim: D, of the feature.
        class_names: K names, in the order of the logits.
        dropout: probability of dropping a feature while training, in [0, 1).
        unit_length: whether the feature is first scaled to length 1, as in CVRL's linear
            evaluation (arXiv 2008.03800).
        multi_label: whether a video may have several classes: then each logit stands for itself,
            and its probability is a sigmoid instead of a softmax.
        protocol: how it is trained, in words, to be told with its numbers.

    Example:
        >>> head = ClassHead(8, ["run", "jump"]).eval()
        >>> round(head.probabilities(torch.rand(3, 8)).sum().item(), 3)
        3.0
    """

    def __init__(
        self,
        dim: int,
        class_names: Sequence[str],
        *,
        dropout: float = 0.0,
        unit_length: bool = False,
        multi_label: bool = False,
        protocol: str = "",
    ) -> None:
        super().__init__(dim, len(class_names))
        self.class_names = list(class_names)
        self.dropout = nn.Dropout(dropout)
        self.unit_length = unit_length
        self.multi_label = multi_label
        self.protocol = protocol

    @property
    def spec(self) -> dict[str, Any]:
        """JSON-able keywords; ``ClassHead(**head.spec)`` makes the same architecture."""
        return {
            "dim": self.in_features,
            "class_names": self.class_names,
            "dropout": self.dropout.p,
            "unit_length": self.unit_length,
            "multi_label": self.multi_label,
            "protocol": self.protocol,
        }

    def forward(self, h_BD: Tensor) -> Tensor:
        """Logits (B, K) of features (B, D), in float32 or better, since losses are made of them."""
        if self.unit_length:
            h_BD = F.normalize(h_BD, dim=1)
        logits_BK = super().forward(self.dropout(h_BD))
        return logits_BK if logits_BK.dtype == torch.float64 else logits_BK.float()

    def probabilities(self, h_BD: Tensor) -> Tensor:
        """Probabilities (B, K) of features (B, D)."""
        logits_BK: Tensor = self(h_BD)
        return logits_BK.sigmoid() if self.multi_label else logits_BK.softmax(dim=1)


def describe(head: nn.Module) -> dict[str, Any]:
    """The keywords that make a head like this one.

    Args:
        head: made by :func:`mlp`.

    Raises:
        TypeError: the head is of another kind, or a slice.

    Example:
        >>> mlp(**describe(mlp(8, 16, 2, 4)))[0]
        Linear(in_features=8, out_features=16, bias=True)
    """
    if not isinstance(head, MLP) or head.spec is None:
        raise TypeError(f"{type(head).__name__} was not made by heads.mlp")
    return dict(head.spec)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        least = 0 if name == "hidden_layers" else 1
        if size < least:
            raise UserError(f"{name} = {size}", "is too small for a head", f"give at least {least}")
