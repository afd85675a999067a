"""Is the representation alive? Four numbers that see a collapse before accuracy does.

Shape suffixes: N rows, D dims.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def embedding_std(z_ND: Tensor) -> float:
    """Spread of embeddings on the unit sphere: 1 if they fill it evenly, 0 if all are alike.

    The mean over dimensions of the standard deviation of the L2-normalised rows, times sqrt(D)
    (Chen and He 2021, SimSiam, section 4.1, which watches it against 1/sqrt(D)).

    Args:
        z_ND: embeddings of any norm, shape (N, D), N at least 2.

    Raises:
        ValueError: not a matrix of two or more rows.

    Example:
        >>> embedding_std(torch.ones(4, 3))
        0.0
        >>> round(embedding_std(torch.randn(4096, 64, generator=torch.manual_seed(0))), 2)
        1.0
    """
    unit_ND = _unit(z_ND)
    return float(unit_ND.std(dim=0, correction=0).mean() * unit_ND.shape[1] ** 0.5)


def effective_rank(z_ND: Tensor) -> float:
    """RankMe: how many dimensions the embeddings use, from 1 (a line) to min(N, D).

    The exponential of the entropy of the singular values divided by their sum (Garrido et al. 2023,
    equation 1), of the embeddings as they are, neither centred nor normalised.

    Args:
        z_ND: embeddings, shape (N, D), N at least 2.

    Returns:
        The rank; 0.0 where every embedding is zero.

    Raises:
        ValueError: not a matrix of two or more rows.

    Example:
        >>> round(effective_rank(torch.eye(5)), 3), round(effective_rank(torch.ones(5, 3)), 3)
        (5.0, 1.0)
    """
    _check(z_ND)
    singular = torch.linalg.svdvals(z_ND.double())
    if not bool(singular.any()):
        return 0.0
    share = singular / singular.sum()
    return float(torch.special.entr(share).sum().exp())


def alignment(z_a_ND: Tensor, z_b_ND: Tensor) -> float:
    """Mean squared distance between the two embeddings of a pair, on the unit sphere: 0 is perfect.

    Wang and Isola 2020, equation 1 with alpha = 2.

    Args:
        z_a_ND: embeddings of the first clip of each pair, any norm, shape (N, D).
        z_b_ND: embeddings of the second clip, shape (N, D).

    Returns:
        A number from 0 (equal) over 2 (unrelated) to 4 (opposite).

    Raises:
        ValueError: shapes that differ, or fewer than two rows.

    Example:
        >>> alignment(torch.eye(2), torch.eye(2)), alignment(torch.eye(2), torch.eye(2).flip(0))
        (0.0, 2.0)
    """
    if z_a_ND.shape != z_b_ND.shape:
        raise ValueError(f"pairs differ in shape: {tuple(z_a_ND.shape)}, {tuple(z_b_ND.shape)}")
    return float((_unit(z_a_ND) - _unit(z_b_ND)).square().sum(dim=1).mean())


def uniformity(z_ND: Tensor) -> float:
    """How evenly the embeddings cover the unit sphere: 0 when all are alike, about -4 when even.

    The log of the mean over pairs of exp(-2 |x - y|^2) (Wang and Isola 2020, equation 2, t = 2).
    Takes memory for N^2 / 2 distances.

    Args:
        z_ND: embeddings of any norm, shape (N, D), N at least 2.

    Raises:
        ValueError: not a matrix of two or more rows.

    Example:
        >>> uniformity(torch.ones(4, 3))
        0.0
        >>> round(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), 6)  # opposite points
        -8.0
    """
    squared = torch.pdist(_unit(z_ND)).square()
    return float((-2 * squared).logsumexp(dim=0)) - math.log(squared.numel())


def diagnose(z_ND: Tensor, max_rows: int = 4096) -> dict[str, float]:
    """The monitors of one set of embeddings under the names the logs use.

    Args:
        z_ND: embeddings, shape (N, D), N at least 2.
        max_rows: of more rows, this many are used, evenly spaced; bounds memory and time.

    Returns:
        ``embedding_std``, ``effective_rank`` and ``uniformity``.

    Example:
        >>> sorted(diagnose(torch.eye(3)))
        ['effective_rank', 'embedding_std', 'uniformity']
    """
    if len(z_ND) > max_rows:
        z_ND = z_ND[torch.linspace(0, len(z_ND) - 1, max_rows).long()]
    return {
        "embedding_std": embedding_std(z_ND),
        "effective_rank": effective_rank(z_ND),
        "uniformity": uniformity(z_ND),
    }


def _unit(z_ND: Tensor) -> Tensor:
    _check(z_ND)
    return F.normalize(z_ND.double(), dim=1)


def _check(z_ND: Tensor) -> None:
    if z_ND.ndim != 2 or len(z_ND) < 2 or z_ND.shape[1] < 1:
        raise ValueError(f"need embeddings (N, D) with N > 1, got shape {tuple(z_ND.shape)}")
