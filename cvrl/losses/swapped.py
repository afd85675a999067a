"""Codes of a balanced clustering, and their prediction from other views: SwAV's loss.

Caron et al., arXiv 2006.09882, section 3.1. Shapes: B rows on this rank, M rows in all (every
rank's, and remembered ones), Q remembered rows, K prototypes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.utils import dist


@torch.no_grad()
def sinkhorn(
    scores_BK: Tensor,
    epsilon: float = 0.05,
    iterations: int = 3,
    remembered_QK: Tensor | None = None,
) -> Tensor:
    """Spread all ranks' rows evenly over the prototypes, each row where it scores high.

    Alternately scales prototypes to M/K rows and rows to 1. In the log domain, since
    exp(1 / 0.05) has no place in half precision, and in float32 (float64 for float64 scores).

    Args:
        scores_BK: cosines of this rank's rows with the prototypes.
        epsilon: > 0; the smaller, the nearer the codes are to one prototype a row.
        iterations: >= 1 rounds of scaling.
        remembered_QK: scores of further rows to balance with, the same on every rank.

    Returns:
        (B, K), the codes of this rank's rows: positive, rows sum to 1, and over all M rows a
        prototype's share comes to M/K as the rounds go on.

    Example:
        >>> sinkhorn(torch.tensor([[0.9, 0.8], [0.9, 0.1]]), iterations=50).round().tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    dtype = torch.float64 if scores_BK.dtype == torch.float64 else torch.float32
    first = sum(dist.row_counts(scores_BK)[: dist.rank()])
    all_MK = dist.gather(scores_BK.to(dtype))
    if remembered_QK is not None:
        all_MK = torch.cat([all_MK, remembered_QK.to(dtype)])
    log_MK = all_MK / epsilon
    for _ in range(iterations):  # logsumexp takes the greatest out before it exponentiates
        log_MK = log_MK - log_MK.logsumexp(dim=0, keepdim=True)
        log_MK = log_MK - log_MK.logsumexp(dim=1, keepdim=True)
    return log_MK[first : first + len(scores_BK)].exp()


def swapped_prediction(scores_BK: Tensor, code_BK: Tensor, temperature: float) -> Tensor:
    r"""Cross entropy between one view's code q and another view's softmax over the prototypes.

    .. math:: -\sum_k q_k \log \mathrm{softmax}(s / \tau)_k

    Float32 (float64 for float64 scores), under autocast too.

    Args:
        scores_BK: s, cosines of a view with the prototypes.
        code_BK: q of another view of the same rows; rows sum to 1.
        temperature: tau > 0.

    Returns:
        This rank's share of the mean over the global batch.

    Example:
        >>> code = torch.tensor([[1.0, 0.0]])
        >>> round(swapped_prediction(torch.zeros(1, 2), code, 0.1).item(), 6)  # log 2
        0.693147
    """
    dtype = torch.float64 if scores_BK.dtype == torch.float64 else torch.float32
    with torch.autocast(scores_BK.device.type, enabled=False):
        log_p_BK = F.log_softmax(scores_BK.to(dtype) / temperature, dim=1)
        return dist.global_mean(-(code_BK.to(dtype) * log_p_BK).sum(dim=1))


@torch.no_grad()
def usage_entropy(scores_BK: Tensor, temperature: float) -> Tensor:
    """How evenly the prototypes are used by this rank's rows: 1 if alike, 0 if only one is.

    The entropy of the mean softmax over log K. Before the balancing, which would hide a collapse.

    Example:
        >>> round(usage_entropy(torch.eye(4), 0.01).item(), 3)
        1.0
    """
    p_K = (scores_BK.float() / temperature).softmax(dim=1).mean(dim=0)
    most = torch.tensor(float(len(p_K))).log().to(p_K.device)
    entropy: Tensor = torch.special.entr(p_K).sum()
    return entropy / most
