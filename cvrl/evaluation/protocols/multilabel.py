"""Average precision where a video has several labels, and a linear probe for it.

Shape suffixes: N training rows, M test rows, D dims, H tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold
from torch import Tensor

from cvrl.evaluation.protocols.chance import random_average_precision
from cvrl.evaluation.protocols.linear import FOLDS, L2_GRID, Floats, Ints, Scaling, best_l2, fit
from cvrl.utils.errors import UserError
from cvrl.utils.seed import integer_seed


@dataclass(frozen=True)
class TagScores:
    """How well tags are ranked; shares in [0, 1].

    Attributes:
        macro: mean average precision over the tags that some test video has.
        micro: average precision over all pairs of video and tag at once.
        by_tag: of each tag; None where no test video has it.
    """

    macro: float
    micro: float
    by_tag: list[float | None]

    @property
    def n_skipped(self) -> int:
        """Tags that no test video has, and which have no average precision."""
        return sum(one is None for one in self.by_tag)


@dataclass(frozen=True)
class TagProbe:
    """What a linear probe for tags gave.

    Attributes:
        scores: of the test part.
        l2: the regularisation it chose.
        held_out: macro average precision on held-out groups of the training part by l2; empty
            where none could be held out.
    """

    scores: TagScores
    l2: float
    held_out: dict[float, float]


def average_precision(score_M: Floats, has_M: NDArray[np.bool_]) -> float:
    """The area under precision and recall, in steps: sum of (R_i - R_{i-1}) P_i over thresholds.

    Equal scores are one threshold, so their order is of no account.

    Args:
        score_M: higher is likelier.
        has_M: which are right, at least one.

    Raises:
        ValueError: none is right.

    Example:
        >>> average_precision(np.array([0.9, 0.5, 0.1]), np.array([True, False, True]))
        0.8333333333333333
    """
    if not has_M.any():
        raise ValueError("average precision of no right answer")
    order = np.argsort(-score_M, kind="stable")
    last = np.append(np.diff(score_M[order]) != 0, True)  # of every run of equal scores
    hits = np.cumsum(has_M[order])[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1])


def score_tags(score_MH: Floats, has_MH: NDArray[np.bool_]) -> TagScores:
    """Average precision of every tag, their mean, and that of all tags together.

    Args:
        score_MH: higher is likelier; comparable between tags, as probabilities are.
        has_MH: the truth.

    Raises:
        UserError: no test video has any tag.

    Example:
        >>> scores = np.array([[0.9, 0.1], [0.2, 0.3]])
        >>> found = score_tags(scores, np.array([[True, False], [False, False]]))
        >>> found.macro, found.micro, found.n_skipped
        (1.0, 1.0, 1)
    """
    if not has_MH.any():
        raise UserError("test part", "has no video with a tag", "give labels such as sea+surf")
    columns = zip(score_MH.T, has_MH.T, strict=True)
    by_tag = [average_precision(s, has) if has.any() else None for s, has in columns]
    macro = float(np.mean([one for one in by_tag if one is not None]))
    return TagScores(macro, average_precision(score_MH.ravel(), has_MH.ravel()), by_tag)


def chance_tags(has_MH: NDArray[np.bool_]) -> tuple[float, float]:
    """Macro and micro average precision of a random ranking, exact means over all rankings.

    Args:
        has_MH: the truth, with some tag.

    Example:
        >>> chance_tags(np.array([[True], [False]]))
        (0.75, 0.75)
    """
    right_H = has_MH.sum(axis=0)
    right_H = right_H[right_H > 0]
    macro = random_average_precision(np.full(len(right_H), len(has_MH)), right_H).mean()
    micro = random_average_precision(np.array([has_MH.size]), np.array([has_MH.sum()]))[0]
    return float(macro), float(micro)


def tag_probe(
    train_ND: Tensor,
    train_has_NH: Tensor,
    test_MD: Tensor,
    test_has_MH: Tensor,
    *,
    train_groups_N: Tensor | None = None,
    scaling: Scaling = "standardise",
    l2_grid: Sequence[float] = L2_GRID,
    seed: int = 0,
) -> TagProbe:
    """Fit one logistic regression a tag on frozen features and score their probabilities.

    One strength l2 serves all tags: the best macro average precision on folds of the training part
    that share no group, the stronger one of equals. The test part is not looked at.

    Args:
        train_ND: features of the training part.
        train_has_NH: their tags, zeros and ones.
        test_MD: features of the test part.
        test_has_MH: their tags.
        train_groups_N: source groups of the training part; every row its own when left out.
        scaling: ``standardise`` or ``l2``, as for
            :func:`cvrl.evaluation.protocols.linear.linear_probe`.
        l2_grid: strengths to choose from.
        seed: of the folds.

    Raises:
        UserError: a part without any tag.

    Example:
        >>> import torch
        >>> x, has = torch.tensor([[0.0], [0.1], [0.9], [1.0]]), torch.tensor([[0], [0], [1], [1]])
        >>> tag_probe(x, has, x, has, l2_grid=[0.01]).scores.macro
        1.0
    """
    x_ND, test = train_ND.double().numpy(), test_MD.double().numpy()
    has_NH, test_has = train_has_NH.numpy() > 0, test_has_MH.numpy() > 0
    if not has_NH.any():
        raise UserError("training part", "has no video with a tag", "give labels such as sea+surf")
    groups_N = np.arange(len(x_ND)) if train_groups_N is None else train_groups_N.numpy()
    held_out = _held_out(x_ND, has_NH, groups_N, scaling, l2_grid, seed)
    l2 = best_l2(held_out, l2_grid)
    scores = score_tags(_predict(x_ND, has_NH, test, scaling, l2), test_has)
    return TagProbe(scores, l2, held_out)


def _held_out(
    x_ND: Floats,
    has_NH: NDArray[np.bool_],
    groups_N: Ints,
    scaling: Scaling,
    l2_grid: Sequence[float],
    seed: int,
) -> dict[float, float]:
    """Macro average precision over the folds, joined, for each l2; empty without folds."""
    n_folds = min(FOLDS, len(np.unique(groups_N)))
    if n_folds < 2 or len(l2_grid) < 2:
        return {}
    splitter = GroupKFold(n_folds, shuffle=True, random_state=integer_seed(seed) % 2**32)
    folds = list(splitter.split(x_ND, groups=groups_N))
    found = {}
    for l2 in sorted(l2_grid):
        score_NH = np.zeros(has_NH.shape)
        for rest, held in folds:
            score_NH[held] = _predict(x_ND[rest], has_NH[rest], x_ND[held], scaling, l2)
        found[l2] = score_tags(score_NH, has_NH).macro
    return found


def _predict(
    x_ND: Floats, has_NH: NDArray[np.bool_], test_MD: Floats, scaling: Scaling, l2: float
) -> Floats:
    """Probabilities (M, H); a tag that all or none of the rows have keeps its share."""
    score_MH = np.tile(has_NH.mean(axis=0), (len(test_MD), 1))
    for tag in np.flatnonzero(has_NH.any(axis=0) & ~has_NH.all(axis=0)):
        score_MH[:, tag] = fit(x_ND, has_NH[:, tag], scaling, l2).predict_proba(test_MD)[:, 1]
    return score_MH
