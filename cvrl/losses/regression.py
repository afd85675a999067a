"""Losses that say how far a prediction lies from its target, without anything to tell it from.

Shapes: B rows on this rank, D dimensions.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.utils import dist


def cosine_regression(p_BD: Tensor, target_BD: Tensor) -> Tensor:
    r"""The squared distance of unit vectors, :math:`2 - 2 \cos(p, t)`, averaged.

    BYOL, Grill et al., arXiv 2006.07733, equation 2. Float32 (float64 for float64 predictions),
    under autocast too.

    Args:
        p_BD: predictions of any norm.
        target_BD: what they should be, of any norm; no gradient goes there.

    Returns:
        This rank's share of the mean over the global batch, in [0, 4].

    Example:
        >>> e = torch.eye(2)
        >>> float(cosine_regression(e, e)), float(cosine_regression(e, 3 * e.flip(0)))
        (0.0, 2.0)
    """
    dtype = torch.float64 if p_BD.dtype == torch.float64 else torch.float32
    with torch.autocast(p_BD.device.type, enabled=False):
        p_BD = F.normalize(p_BD.to(dtype), dim=1)
        target_BD = F.normalize(target_BD.detach().to(dtype), dim=1)
        return dist.global_mean(2.0 - 2.0 * (p_BD * target_BD).sum(dim=1))
