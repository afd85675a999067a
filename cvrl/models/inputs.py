"""Inputs of an encoder: the frames of a clip, their differences, or several time derivatives.

Papers: frame differences (residual frames), Tao et al. (arXiv 2001.05661) and IIC (arXiv
2008.02531); time derivatives as views of a video, ViDiDi (arXiv 2409.02371).

The transform is the first module of an encoder, so training, evaluation, extraction, prediction and
explanation all feed the network alike. It runs after normalisation.

Deviations: the last difference is repeated, so a clip keeps its length; ViDiDi alternates the
orders of a pair from batch to batch, here every batch holds each order equally often.

Shapes: B clips, C = 3 channels, T frames, H rows, W columns.
"""

import torch
from torch import Tensor, nn

from cvrl.utils.errors import UserError

INPUTS = ("rgb", "residual", "derivatives", "alternating")
ORDERS = 3
"""Orders of the time derivative: the frames, their first and their second difference."""
SCALE = 3.0
"""Factor of a difference, so that its variance is of the order of the frames' variance."""


def derivative(clips_BCTHW: Tensor, order: int) -> Tensor:
    """Finite difference of clips along time, scaled and as long as the clips.

    The first order is ``SCALE * (x[t + 1] - x[t])``, with the last difference repeated; higher
    orders are differences of differences.

    Args:
        clips_BCTHW: floats.
        order: 0 returns the clips unchanged.

    Raises:
        UserError: fewer than two frames.

    Example:
        >>> clip = torch.tensor([0.0, 1.0, 3.0]).view(1, 1, 3, 1, 1)
        >>> derivative(clip, 1).flatten().tolist()
        [3.0, 6.0, 6.0]
    """
    if order and clips_BCTHW.shape[2] < 2:
        raise UserError(
            "clip.frames = 1", "has no differences of frames", "use clip.input=rgb or more frames"
        )
    for _ in range(order):
        step_BCTHW = torch.diff(clips_BCTHW, dim=2) * SCALE
        clips_BCTHW = torch.cat([step_BCTHW, step_BCTHW[:, :, -1:]], dim=2)
    return clips_BCTHW


class Residual(nn.Module):
    """Differences of neighbouring frames in place of the frames: motion without appearance.

    Example:
        >>> Residual()(torch.ones(1, 3, 4, 2, 2)).abs().max().item()
        0.0
    """

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """From (B, 3, T, H, W) to the same shape."""
        return derivative(clips_BCTHW, 1)


class Derivatives(nn.Module):
    """The frames and their first and second differences, stacked along channels.

    Example:
        >>> Derivatives()(torch.rand(1, 3, 4, 2, 2)).shape
        torch.Size([1, 9, 4, 2, 2])
    """

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """From (B, 3, T, H, W) to (B, 9, T, H, W)."""
        return torch.cat([derivative(clips_BCTHW, order) for order in range(ORDERS)], dim=1)


class Alternating(nn.Module):
    """One order of derivative per clip while training, the frames themselves in evaluation.

    Each batch holds every order equally often, in an order drawn from torch's generator, which the
    trainer seeds with the step. Views of one video therefore meet in all combinations of orders,
    and one network learns to encode them alike.

    Example:
        >>> clips = torch.rand(6, 3, 4, 2, 2)
        >>> torch.equal(Alternating().eval()(clips), clips)
        True
    """

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """From (B, 3, T, H, W) to the same shape."""
        if not self.training:
            return clips_BCTHW
        order_B = (torch.randperm(len(clips_BCTHW)) % ORDERS).tolist()
        clips = [
            derivative(clip_CTHW[None], order)
            for clip_CTHW, order in zip(clips_BCTHW, order_B, strict=True)
        ]
        return torch.cat(clips)


def clip_input(name: str) -> nn.Module:
    """Build the input transform ``clip.input`` names.

    Args:
        name: ``rgb``, ``residual``, ``derivatives`` (stacked orders 0, 1, 2) or ``alternating``.

    Raises:
        UserError: an unknown name.
    """
    modules = dict(zip(INPUTS, (nn.Identity, Residual, Derivatives, Alternating), strict=True))
    if name not in modules:
        raise UserError(f"clip.input = {name}", "is not an input", f"use {', '.join(INPUTS)}")
    return modules[name]()


def channels_of(name: str) -> int:
    """Channels the stem receives.

    Example:
        >>> channels_of("residual"), channels_of("derivatives")
        (3, 9)
    """
    return 3 * ORDERS if name == "derivatives" else 3


def replace_first_conv(stem: nn.Module, channels: int) -> None:
    """Replace the stem's first convolution by one that takes ``channels`` channels.

    The new weight repeats the old one along channels, divided by the number of repeats, so the
    response keeps its size.
    """
    name, module = next((n, m) for n, m in stem.named_modules() if isinstance(m, nn.Conv3d))
    repeats = channels // module.in_channels
    wide = nn.Conv3d(
        channels,
        module.out_channels,
        module.kernel_size,  # type: ignore[arg-type]
        module.stride,  # type: ignore[arg-type]
        module.padding,  # type: ignore[arg-type]
        bias=module.bias is not None,
    )
    with torch.no_grad():
        wide.weight.copy_(module.weight.repeat(1, repeats, 1, 1, 1) / repeats)
        if module.bias is not None and wide.bias is not None:
            wide.bias.copy_(module.bias)
    parent, _, child = name.rpartition(".")
    setattr(stem.get_submodule(parent), child, wide)
