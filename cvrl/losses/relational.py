"""A loss on how embeddings lie to each other, not on where each one lies.

Shapes: N clips on this rank, M clips over all ranks, D and E dimensions.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.utils import dist


def similarity_regression(z_ND: Tensor, target_NE: Tensor) -> Tensor:
    r"""The squared difference of cosine similarities within the global batch.

    .. math:: \frac{1}{M (M - 1)} \sum_{i \ne j} (\cos(z_i, z_j) - \cos(t_i, t_j))^2

    The relations of a batch as a target for another network's: Park et al., "Relational Knowledge
    Distillation" (arXiv 1904.05068), eq. 2, with the cosine as the potential of a pair and squared
    errors; Tung and Mori, "Similarity-Preserving Knowledge Distillation" (arXiv 1907.09682), eq. 4,
    with unit rows of the embeddings in place of unit rows of the similarities. Embeddings and
    targets may differ in their number of dimensions. Float32 (float64 for float64 embeddings),
    under autocast too.

    Args:
        z_ND: embeddings of any norm.
        target_NE: what they are to relate like, of any norm; no gradient goes there.

    Returns:
        This rank's share of the mean over the global batch, in [0, 4]; 0 for a single clip.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> float(similarity_regression(z, z)), float(similarity_regression(z, z[[0, 0]]))
        (0.0, 1.0)
    """
    dtype = torch.float64 if z_ND.dtype == torch.float64 else torch.float32
    with torch.autocast(z_ND.device.type, enabled=False):
        own_ND = F.normalize(z_ND.to(dtype), dim=1)
        target_NE = F.normalize(target_NE.detach().to(dtype), dim=1)
        all_MD, all_ME = dist.gather_with_grad(own_ND), dist.gather(target_NE)
        error_NM = (own_ND @ all_MD.T - target_NE @ all_ME.T).square()
        first = sum(dist.row_counts(own_ND)[: dist.rank()])
        own_N = torch.arange(first, first + len(own_ND), device=z_ND.device)
        is_other_NM = torch.arange(len(all_MD), device=z_ND.device) != own_N[:, None]
        return dist.global_mean((error_NM * is_other_NM).sum(dim=1) / max(1, len(all_MD) - 1))
