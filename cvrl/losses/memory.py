r"""Losses of a query against its own key and remembered negatives: a queue's, or a bank's.

Scores come first, one row a query: column 0 is the positive, the K others are negatives, and minus
infinity stands where a remembered entry is none for this query. The losses are functions of them.

Shapes: B queries on this rank, K remembered entries, S = 1 + K scores, D dimensions.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.losses.masks import same_group
from cvrl.utils import dist


def are_negatives(video_B: Tensor, group_B: Tensor, video_K: Tensor, group_K: Tensor) -> Tensor:
    """Which remembered entries a query is told from: not those of its own video or group.

    Args:
        video_B: the video of each query, integers.
        group_B: its source group, negative for none.
        video_K: the video of each entry; ``group_K`` its group.
        group_K: see ``video_K``.

    Returns:
        Booleans (B, K).

    Example:
        >>> ids = torch.tensor([0, 1, 2])
        >>> are_negatives(ids[:1], torch.tensor([7]), ids, torch.tensor([7, 7, -1])).tolist()
        [[False, False, True]]
    """
    return (video_B[:, None] != video_K[None, :]) & ~same_group(group_B, group_K)


def memory_scores(
    q_BD: Tensor, positive_BD: Tensor, entry_KD: Tensor, is_negative_BK: Tensor, temperature: float
) -> Tensor:
    """Cosines over the temperature: of each query with its positive, then with the entries.

    Float32 (float64 for float64 queries), under autocast too.

    Args:
        q_BD: queries of any norm.
        positive_BD: what each belongs with, unit norm.
        entry_KD: remembered, unit norm; the same for every query.
        is_negative_BK: which entries count for which query; the others get minus infinity.
        temperature: tau > 0.

    Returns:
        (B, 1 + K).

    Example:
        >>> e = torch.eye(2)
        >>> memory_scores(e[:1], e[:1], e, torch.tensor([[False, True]]), 0.5).tolist()
        [[2.0, -inf, 0.0]]
    """
    dtype = torch.float64 if q_BD.dtype == torch.float64 else torch.float32
    with torch.autocast(q_BD.device.type, enabled=False):
        q_BD = F.normalize(q_BD.to(dtype), dim=1)
        positive_B1 = (q_BD * positive_BD.to(dtype)).sum(dim=1, keepdim=True)
        negative_BK = (q_BD @ entry_KD.to(dtype).T).masked_fill(~is_negative_BK, float("-inf"))
        return torch.cat([positive_B1, negative_BK], dim=1) / temperature


def memory_info_nce(scores_BS: Tensor) -> Tensor:
    r"""InfoNCE with remembered negatives: the softmax cross entropy of the positive.

    .. math:: -\log \frac{\exp(s_0)}{\sum_k \exp(s_k)}

    as in MoCo (He et al., arXiv 1911.05722, equation 1). A query without negatives costs nothing.

    Args:
        scores_BS: from :func:`memory_scores`.

    Returns:
        This rank's share of the mean over the global batch.

    Example:
        >>> round(memory_info_nce(torch.zeros(1, 4)).item(), 6)  # log 4
        1.386294
    """
    target_B = torch.zeros(len(scores_BS), dtype=torch.int64, device=scores_BS.device)
    return dist.global_mean(F.cross_entropy(scores_BS, target_B, reduction="none"))


def memory_nce(scores_BS: Tensor, log_constant: Tensor) -> Tensor:
    r"""Noise-contrastive estimation: is each score of the video itself, or of noise?

    With :math:`P(i|v) = \exp(s_i) / Z`, m negatives from uniform noise :math:`P_n = 1/N` and
    :math:`h = P / (P + m P_n)`, the loss of a query is

    .. math:: -\log h(0, v) - \sum_{k=1}^{m} \log (1 - h(k, v))

    (Wu et al., arXiv 1805.01978, equations 4 to 7); 0 for a query without negatives. Z is N times
    the mean of exp(s), so N cancels and :math:`h = \sigma(s - \log(Z/N) - \log m)`, which neither
    overflows nor divides.

    Args:
        scores_BS: from :func:`memory_scores`.
        log_constant: log(Z/N), from :func:`nce_log_constant`, once and for all.

    Returns:
        This rank's share of the mean over the global batch.

    Example:
        >>> round(memory_nce(torch.zeros(1, 2), torch.tensor(0.0)).item(), 6)  # 2 log 2
        1.386294
    """
    m_B1 = scores_BS[:, 1:].isfinite().sum(dim=1, keepdim=True)
    log_m_B1 = m_B1.clamp(min=1).to(scores_BS.dtype).log()
    logit_BS = scores_BS - log_constant.to(scores_BS.dtype) - log_m_B1
    right_B = F.logsigmoid(logit_BS[:, 0]) + F.logsigmoid(-logit_BS[:, 1:]).sum(dim=1)
    return dist.global_mean(-right_B.masked_fill(m_B1[:, 0] == 0, 0.0))  # there h(0, v) = 1


@torch.no_grad()
def nce_log_constant(scores_BS: Tensor) -> Tensor:
    """log(Z/N) of :func:`memory_nce`: the log of the mean exp(score) over all ranks' negatives.

    Args:
        scores_BS: from :func:`memory_scores`; of the first batch, for a constant that is kept.

    Returns:
        A scalar, the same on every rank; 0 where there is no negative at all.

    Example:
        >>> float(nce_log_constant(torch.tensor([[9.0, 1.0, 1.0, float("-inf")]])))
        1.0
    """
    negative_BK = scores_BS[:, 1:]
    total_B = dist.gather(negative_BK.logsumexp(dim=1))
    count_B = dist.gather(negative_BK.isfinite().sum(dim=1))
    if not bool(count_B.any()):
        return scores_BS.new_zeros(())
    return total_B.logsumexp(dim=0) - count_B.sum().to(total_B.dtype).log()


@torch.no_grad()
def memory_top1(scores_BS: Tensor) -> Tensor:
    """The share of this rank's queries whose positive scores highest, in [0, 1].

    Example:
        >>> float(memory_top1(torch.tensor([[2.0, 1.0], [0.0, 1.0]])))
        0.5
    """
    return (scores_BS.argmax(dim=1) == 0).float().mean()
