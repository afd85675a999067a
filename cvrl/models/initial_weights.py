"""Random weights as Keras draws them, for the code of CVRL.

Keras makes convolutions by ``VarianceScaling``, normal and cut off at two standard deviations with
variance 1 / fan-in, and dense layers by Glorot's uniform; every norm starts with scale 1. The
libraries that our networks come from use He's 2 / fan-out, and 0 for the last norm of every block.
"""

import math

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cvrl.utils.errors import UserError

CUT_STD = 0.87962566103423978  # standard deviation of a unit normal cut off at 2


def draw_weights(network: nn.Module, init: str) -> None:
    """Draw the weights of an encoder anew, as ``encoder.init`` says.

    Args:
        network: its stem and stages.
        init: ``cvrl``.

    Raises:
        UserError: another name, or a network without convolutions over time.

    Example:
        >>> draw_weights(nn.Conv3d(3, 8, 3), "he")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: encoder.init = he: is not known; use library or cvrl
    """
    if init != "cvrl":
        raise UserError(f"encoder.init = {init}", "is not known", "use library or cvrl")
    if not any(isinstance(part, nn.BatchNorm3d) for part in network.modules()):
        raise UserError(f"encoder.init = {init}", "suits 3D ResNets only", "leave it out")
    init_as_keras(network)


def init_as_keras(module: nn.Module) -> None:
    """Draw the weights of a network anew, in place.

    Args:
        module: with convolutions, batch norms and linear layers; others stay as they are.

    Example:
        >>> import torch
        >>> layer = nn.Conv3d(64, 64, 3)
        >>> init_as_keras(layer)
        >>> round(layer.weight.std().item() * math.sqrt(64 * 27), 1)
        1.0
    """
    for part in module.modules():
        if isinstance(part, nn.Conv3d | nn.Conv2d):
            fan_in = part.weight[0].numel()
            std = math.sqrt(1 / fan_in) / CUT_STD
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
        elif isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
        elif isinstance(part, _BatchNorm):
            nn.init.ones_(part.weight)
        else:
            continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)
