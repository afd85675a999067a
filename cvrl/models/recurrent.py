"""Recurrent context and predictors of the future, over maps of features.

A pooled feature is a map of one place: on it a 1x1 convolution is a linear layer and the
convolutional GRU a plain GRU.

Shapes: B videos, N blocks seen, K blocks predicted, D dimensions of a feature, C of a context,
H W places.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvGRU(nn.Module):
    """A gated recurrent unit whose products are convolutions.

    With update gate u and reset gate r, both sigmoids of convolutions of [x, c],

    ``c' = (1 - u) c + u tanh(conv [x, r c])``.

    Ballas et al., "Delving Deeper into Convolutional Networks for Learning Video Representations"
    (arXiv 1511.06432); gates start orthogonal and unbiased, as in DPC (arXiv 1909.04656), whose
    kernels are 1x1. At each place that is the GRU of Cho et al. (arXiv 1406.1078), which resets the
    state before the product (``nn.GRU`` resets it after).

    Args:
        dim_in: D, channels of x.
        dim: C, channels of the state.
        kernel: side of the kernels, odd.
        dropout: probability of dropping a value of the state after each step, in [0, 1).

    Raises:
        ValueError: an even kernel.

    Example:
        >>> ConvGRU(8, 16)(torch.zeros(2, 5, 8, 3, 3)).shape
        torch.Size([2, 16, 3, 3])
    """

    def __init__(self, dim_in: int, dim: int, *, kernel: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a kernel of {kernel} has no centre")
        self.dim = dim
        self.gates = nn.Conv2d(dim_in + dim, 2 * dim, kernel, padding=kernel // 2)
        self.candidate = nn.Conv2d(dim_in + dim, dim, kernel, padding=kernel // 2)
        self.dropout = nn.Dropout(dropout)
        for weight in (*self.gates.weight.chunk(2), self.candidate.weight):
            nn.init.orthogonal_(weight)
        for bias in (self.gates.bias, self.candidate.bias):
            assert bias is not None
            nn.init.zeros_(bias)

    def forward(self, x_BNDHW: Tensor, c_BCHW: Tensor | None = None) -> Tensor:
        """The state after N inputs.

        Args:
            x_BNDHW: the inputs in order.
            c_BCHW: the state before; zeros where left out.

        Returns:
            (B, C, H, W), in (-1, 1).
        """
        if c_BCHW is None:
            B, _, _, *places = x_BNDHW.shape
            c_BCHW = x_BNDHW.new_zeros(B, self.dim, *places)
        for x_BDHW in x_BNDHW.unbind(dim=1):
            c_BCHW = self.dropout(self._step(x_BDHW, c_BCHW))
        return c_BCHW

    def _step(self, x_BDHW: Tensor, c_BCHW: Tensor) -> Tensor:
        gates = torch.sigmoid(self.gates(torch.cat([x_BDHW, c_BCHW], dim=1)))
        update_BCHW, reset_BCHW = gates.chunk(2, dim=1)
        inner = torch.cat([x_BDHW, reset_BCHW * c_BCHW], dim=1)
        return (1 - update_BCHW) * c_BCHW + update_BCHW * torch.tanh(self.candidate(inner))


class StepPredictor(nn.Module):
    """A linear map of the context for each step ahead, ``z_k = W_k c``.

    CPC (arXiv 1807.03748, sec. 2.2).

    Args:
        dim_context: C.
        dim: D.
        steps: K.

    Example:
        >>> context = ConvGRU(8, 16)
        >>> StepPredictor(16, 8, steps=3)(torch.zeros(2, 16, 1, 1), context).shape
        torch.Size([2, 3, 8, 1, 1])
    """

    def __init__(self, dim_context: int, dim: int, steps: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(dim_context, dim, 1, bias=False) for _ in range(steps))

    def forward(self, c_BCHW: Tensor, context: ConvGRU) -> Tensor:
        """Predictions (B, K, D, H, W), all from the same context; the network is not asked."""
        return torch.stack([W(c_BCHW) for W in self.maps], dim=1)


class RollOutPredictor(nn.Module):
    """One step ahead at a time: a prediction is fed back as if it had been seen.

    ``z_1 = phi(c_0)``, ``c_1 = g(relu(z_1), c_0)``, ``z_2 = phi(c_1)`` and so on, with phi two 1x1
    convolutions and a ReLU: DPC (arXiv 1909.04656, sec. 3), whose code makes them orthogonal and
    unbiased at the start.

    Args:
        dim_context: C.
        dim: D.
        steps: K.

    Example:
        >>> context = ConvGRU(8, 16)
        >>> RollOutPredictor(16, 8, steps=3)(torch.zeros(2, 16, 4, 4), context).shape
        torch.Size([2, 3, 8, 4, 4])
    """

    def __init__(self, dim_context: int, dim: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.phi = nn.Sequential(nn.Conv2d(dim_context, dim, 1), nn.ReLU(), nn.Conv2d(dim, dim, 1))
        for name, parameter in self.phi.named_parameters():
            init = nn.init.orthogonal_ if name.endswith("weight") else nn.init.zeros_
            init(parameter)

    def forward(self, c_BCHW: Tensor, context: ConvGRU) -> Tensor:
        """Predictions (B, K, D, H, W).

        Args:
            c_BCHW: the context of what was seen.
            context: g, the network that made it.
        """
        z_BDHW = self.phi(c_BCHW)
        predicted = [z_BDHW]
        for _ in range(self.steps - 1):
            c_BCHW = context(F.relu(z_BDHW).unsqueeze(1), c_BCHW)
            z_BDHW = self.phi(c_BCHW)
            predicted.append(z_BDHW)
        return torch.stack(predicted, dim=1)
