"""Nearest neighbours: exact cosine search, and the weighted vote that scores an encoder by it.

Shape suffixes: N gallery rows, M query rows, D dims, K neighbours, C classes.
"""

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")
GALLERY_CHUNK = 65_536  # rows, longer than most galleries


@dataclass(frozen=True)
class Scores:
    """How well labels were predicted on M test rows; every score is a share in [0, 1].

    Attributes:
        top1: share of rows whose first answer is right.
        top5: share of rows with the right class among the first five answers; None for five
            classes or fewer, where it says nothing.
        mean_class: mean over the classes of the test part of the share right in that class.
        n_test: M, the number of rows scored.
        predicted_M: the first answer for every row.
    """

    top1: float
    top5: float | None
    mean_class: float
    n_test: int
    predicted_M: Tensor


def neighbours(
    query_MD: Tensor,
    gallery_ND: Tensor,
    k: int,
    chunk: int = 1024,
    *,
    query_groups_M: Tensor | None = None,
    gallery_groups_N: Tensor | None = None,
    mean_D: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the k gallery rows nearest to each query by cosine similarity, exactly.

    Args:
        query_MD: features of any norm, shape (M, D).
        gallery_ND: features of any norm, shape (N, D).
        k: how many, 1 to N.
        chunk: queries compared at a time, with ``GALLERY_CHUNK`` rows of the gallery; bounds
            memory at so many similarities, so that the gallery may be a memory-mapped file.
        query_groups_M: source groups; with ``gallery_groups_N``, rows of a query's own group are
            no neighbours of it.
        gallery_groups_N: numbered alike.
        mean_D: subtracted from all features first.

    Returns:
        Similarities in [-1, 1], descending, and gallery rows, both of shape (M, K). Where a query
        has fewer than k rows outside its group, the similarity of the others is -inf.

    Raises:
        ValueError: k outside 1 to N.
        UserError: a query has no row outside its own group.

    Example:
        >>> gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> similarity, row = neighbours(torch.tensor([[2.0, 0.0]]), gallery, k=2)
        >>> row.tolist(), [round(s, 3) for s in similarity[0].tolist()]
        ([[0, 2]], [1.0, 0.707])
    """
    if not 1 <= k <= len(gallery_ND):
        raise ValueError(f"k must be 1 to {len(gallery_ND)}, the size of the gallery, got {k}")
    best = [_Best(_unit(part, mean_D), k) for part in torch.split(query_MD, chunk)]
    for first in range(0, len(gallery_ND), GALLERY_CHUNK):
        rows = slice(first, first + GALLERY_CHUNK)
        gallery_DG = _unit(gallery_ND[rows], mean_D).T
        for number, one in enumerate(best):
            similarity_QG = one.query_QD @ gallery_DG
            if query_groups_M is not None and gallery_groups_N is not None:
                groups_Q = query_groups_M[number * chunk : (number + 1) * chunk]
                similarity_QG[groups_Q[:, None] == gallery_groups_N[rows]] = -torch.inf
            one.add(similarity_QG, first)
    similarity_MK = torch.cat([one.similarity_QK for one in best])
    if bool(similarity_MK[:, 0].isneginf().any()):
        reason = "a query has no neighbour outside its own group"
        raise UserError("--leave-same-group-out", reason, "give a larger training part")
    return similarity_MK, torch.cat([one.row_QK for one in best])


class _Best:
    """The nearest rows to some queries among those of the gallery that were shown."""

    def __init__(self, query_QD: Tensor, k: int) -> None:
        self.query_QD = query_QD
        self.k = k
        self.similarity_QK = query_QD.new_empty(len(query_QD), 0)
        self.row_QK = torch.empty(len(query_QD), 0, dtype=torch.long, device=query_QD.device)

    def add(self, similarity_QG: Tensor, first: int) -> None:
        """Take the similarities to rows ``first`` to ``first + G`` of the gallery."""
        near = similarity_QG.topk(min(self.k, similarity_QG.shape[1]))
        similarity = torch.cat([self.similarity_QK, near.values], dim=1)
        row = torch.cat([self.row_QK, near.indices + first], dim=1)
        nearest = similarity.topk(min(self.k, similarity.shape[1]))
        self.similarity_QK, self.row_QK = nearest.values, row.gather(1, nearest.indices)


def _unit(rows_RD: Tensor, mean_D: Tensor | None) -> Tensor:
    """Rows at length 1, after their mean is taken away where there is one."""
    centred_RD = rows_RD if mean_D is None else rows_RD - mean_D
    return F.normalize(centred_RD.float(), dim=1)


def vote(
    similarity_MK: Tensor, labels_MK: Tensor, n_classes: int, temperature: float = 0.07
) -> Tensor:
    """Add up the neighbours' votes, each weighing exp(similarity / temperature).

    The rule of Wu et al. 2018 (instance discrimination). Weights are relative to the nearest
    neighbour's, which changes no ranking and cannot overflow.

    Args:
        similarity_MK: similarities, descending, shape (M, K).
        labels_MK: the neighbours' classes, integers, shape (M, K).
        n_classes: C.
        temperature: small values trust the nearest most, large ones count heads.

    Returns:
        Votes of shape (M, C), at least 0.

    Example:
        >>> votes = vote(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[2, 2, 0]]), n_classes=3)
        >>> votes[0, 2].item()
        2.0
    """
    weight_MK = ((similarity_MK - similarity_MK[:, :1]) / temperature).exp()
    votes_MC = weight_MK.new_zeros(len(weight_MK), n_classes)
    return votes_MC.scatter_add_(1, labels_MK, weight_MK)


def score(answers_MC: Tensor, labels_M: Tensor) -> Scores:
    """Score ranked answers against the truth.

    Args:
        answers_MC: a number a class and row, higher is likelier, 0 or less is "not answered";
            shape (M, C).
        labels_M: the true classes, integers in [0, C), shape (M,).

    Raises:
        UserError: no rows to score.

    Example:
        >>> result = score(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]))
        >>> result.top1, result.top5, result.mean_class
        (0.5, None, 0.5)
    """
    if len(labels_M) == 0:
        raise UserError("test part", "holds no videos", "check the test list and its split column")
    n_classes = answers_MC.shape[1]
    predicted_M = answers_MC.argmax(dim=1)
    right_M = (predicted_M == labels_M).double()
    by_class = [right_M[labels_M == c].mean() for c in torch.unique(labels_M)]
    top5 = None
    if n_classes > 5:
        best = answers_MC.topk(5)
        right_in_5 = (best.indices == labels_M[:, None]) & (best.values > 0)
        top5 = right_in_5.any(dim=1).double().mean().item()
    return Scores(
        top1=right_M.mean().item(),
        top5=top5,
        mean_class=torch.stack(by_class).mean().item(),
        n_test=len(labels_M),
        predicted_M=predicted_M,
    )


def knn_accuracy(
    query_MD: Tensor,
    query_labels_M: Tensor,
    gallery_ND: Tensor,
    gallery_labels_N: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.07,
    n_classes: int | None = None,
    centre: bool = False,
    query_groups_M: Tensor | None = None,
    gallery_groups_N: Tensor | None = None,
) -> Scores:
    """Classify each query by the weighted vote of its k nearest gallery rows.

    Args:
        query_MD: features of the test part, (M, D).
        query_labels_M: their classes, integers (M,).
        gallery_ND: features of the training part, (N, D).
        gallery_labels_N: their classes, (N,).
        k: neighbours that vote; more than N means N, with a notice in the log.
        temperature: of the vote.
        n_classes: C; the largest label plus one when left out.
        centre: subtract the gallery's mean from both parts first, never the queries' own.
        query_groups_M: source groups; with ``gallery_groups_N``, rows of a query's own group have
            no vote.
        gallery_groups_N: numbered alike.

    Raises:
        UserError: an empty part, or a label missing (negative).

    Example:
        >>> gallery, labels = torch.eye(2), torch.tensor([0, 1])
        >>> knn_accuracy(gallery, labels, gallery, labels, k=1).top1
        1.0
    """
    check_labels("training part", gallery_labels_N)
    check_labels("test part", query_labels_M)
    votes_MC = knn_votes(
        query_MD,
        gallery_ND,
        gallery_labels_N,
        k=clip_k(k, len(gallery_ND)),
        temperature=temperature,
        n_classes=n_classes or int(torch.cat([gallery_labels_N, query_labels_M]).max()) + 1,
        centre=centre,
        query_groups_M=query_groups_M,
        gallery_groups_N=gallery_groups_N,
    )
    return score(votes_MC, query_labels_M)


def knn_votes(
    query_MD: Tensor,
    gallery_ND: Tensor,
    gallery_labels_N: Tensor,
    *,
    k: int,
    temperature: float,
    n_classes: int,
    centre: bool = False,
    query_groups_M: Tensor | None = None,
    gallery_groups_N: Tensor | None = None,
) -> Tensor:
    """The votes of each query's k nearest gallery rows: :func:`knn_accuracy` before the scores.

    Args:
        query_MD: as for :func:`knn_accuracy`, like all others.
        gallery_ND: features of the training part.
        gallery_labels_N: their classes.
        k: 1 to N.
        temperature: of the vote.
        n_classes: C.
        centre: subtract the gallery's mean first.
        query_groups_M: source groups.
        gallery_groups_N: numbered alike.

    Returns:
        Votes of shape (M, C).

    Example:
        >>> gallery, labels = torch.eye(2), torch.tensor([0, 1])
        >>> knn_votes(gallery, gallery, labels, k=1, temperature=0.07, n_classes=2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    similarity_MK, row_MK = neighbours(
        query_MD,
        gallery_ND,
        k,
        query_groups_M=query_groups_M,
        gallery_groups_N=gallery_groups_N,
        mean_D=gallery_ND.mean(dim=0) if centre else None,
    )
    return vote(similarity_MK, gallery_labels_N[row_MK], n_classes, temperature)


def clip_k(k: int, n_gallery: int) -> int:
    """Bound the number of neighbours by the gallery's size, and say so in the log.

    Example:
        >>> clip_k(20, 300)
        20
    """
    if k <= n_gallery:
        return k
    logger.warning("k = %d is more than the %d training videos; using all of them", k, n_gallery)
    return n_gallery


def check_labels(part: str, labels_N: Tensor) -> None:
    """Refuse a part that cannot be scored by class.

    Args:
        part: how the user knows it.
        labels_N: classes, negative where a video has none.

    Raises:
        UserError: no videos, or one without a label.

    Example:
        >>> check_labels("test part", torch.tensor([0, 1]))
    """
    if len(labels_N) == 0:
        raise UserError(part, "holds no videos", "check the list and its split column")
    unlabelled = int((labels_N < 0).sum())
    if unlabelled:
        raise UserError(
            part,
            f"{unlabelled} of {len(labels_N)} videos have no label to score by",
            "use --protocol instance, which needs none, or give labels",
        )
