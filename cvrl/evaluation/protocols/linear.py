"""A linear probe on stored features: multinomial logistic regression.

Shape suffixes: N training rows, M test rows, D dims, C classes.
"""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from torch import Tensor

from cvrl.evaluation.protocols.knn import Scores, check_labels, score
from cvrl.utils.errors import UserError
from cvrl.utils.seed import integer_seed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scaling = Literal["standardise", "l2"]

L2_GRID: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
FOLDS = 5
MAX_ITERATIONS = 1000

logger = logging.getLogger("cvrl")


@dataclass(frozen=True)
class Probe:
    """What a linear probe gave.

    Attributes:
        scores: how well it predicts the test part.
        l2: the regularisation it chose from the grid.
        held_out: top-1 on the held-out groups of the training part for every l2 of the grid;
            empty where the training part was too small to hold any out.
    """

    scores: Scores
    l2: float
    held_out: dict[float, float]


@dataclass(frozen=True)
class LinearAnswers:
    """What a linear probe answers, without a look at the truth.

    Attributes:
        probability_MC: of each test row and class; 0 for classes it has not learned.
        l2: the regularisation it chose from the grid.
        held_out: as in :class:`Probe`.
    """

    probability_MC: Tensor
    l2: float
    held_out: dict[float, float]


def linear_probe(
    train_ND: Tensor,
    train_labels_N: Tensor,
    test_MD: Tensor,
    test_labels_M: Tensor,
    *,
    train_groups_N: Tensor | None = None,
    scaling: Scaling = "standardise",
    l2_grid: Sequence[float] = L2_GRID,
    n_classes: int | None = None,
    seed: int = 0,
) -> Probe:
    """Fit a linear classifier on frozen features and score it.

    The objective is the mean cross-entropy of the training part plus l2 / 2 times the squared
    weights (the bias is free), minimised by L-BFGS. The strength l2 is chosen without a look at
    the test part: the training part is cut into up to five folds that share no group, each is
    predicted by a fit on the others, and the l2 with the best top-1 wins, the stronger one when
    two tie. Then all of the training part is fitted once more with it.

    Args:
        train_ND: features of the training part, shape (N, D).
        train_labels_N: their classes, integers of shape (N,).
        test_MD: features of the test part, shape (M, D).
        test_labels_M: their classes, shape (M,).
        train_groups_N: source groups of the training part; every row its own group when left out.
        scaling: ``standardise`` each dimension with the training part's mean and deviation, or
            ``l2``, unit length rows, as CVRL's own linear evaluation does.
        l2_grid: strengths to choose from.
        n_classes: C; the largest label plus one when left out.
        seed: decides the folds.

    Raises:
        UserError: an empty part, a missing label, or a training part of a single class.

    Example:
        >>> train, labels = torch.tensor([[0.0], [0.1], [0.9], [1.0]]), torch.tensor([0, 0, 1, 1])
        >>> test = torch.tensor([[0.2], [0.8]])
        >>> linear_probe(train, labels, test, torch.tensor([0, 1])).scores.top1
        1.0
    """
    check_labels("training part", train_labels_N)
    check_labels("test part", test_labels_M)
    answers = linear_answers(
        train_ND,
        train_labels_N,
        test_MD,
        n_classes=n_classes or int(torch.cat([train_labels_N, test_labels_M]).max()) + 1,
        train_groups_N=train_groups_N,
        scaling=scaling,
        l2_grid=l2_grid,
        seed=seed,
    )
    scores = score(answers.probability_MC, test_labels_M.cpu())
    return Probe(scores, answers.l2, answers.held_out)


def linear_answers(
    train_ND: Tensor,
    train_labels_N: Tensor,
    test_MD: Tensor,
    *,
    n_classes: int,
    train_groups_N: Tensor | None = None,
    scaling: Scaling = "standardise",
    l2_grid: Sequence[float] = L2_GRID,
    seed: int = 0,
) -> LinearAnswers:
    """What the probe answers for each test row: :func:`linear_probe` before the scores.

    Args:
        train_ND: as for :func:`linear_probe`, like all others.
        train_labels_N: classes of the training part.
        test_MD: features of the test part.
        n_classes: C.
        train_groups_N: source groups of the training part.
        scaling: of the features.
        l2_grid: strengths to choose from.
        seed: decides the folds.

    Raises:
        UserError: a training part of a single class.

    Example:
        >>> train, labels = torch.tensor([[0.0], [0.1], [0.9], [1.0]]), torch.tensor([0, 0, 1, 1])
        >>> answers = linear_answers(train, labels, torch.tensor([[0.8]]), n_classes=2)
        >>> answers.probability_MC.argmax(dim=1).tolist()
        [1]
    """
    x_ND, y_N = _array(train_ND), train_labels_N.cpu().numpy()
    if len(np.unique(y_N)) < 2:
        raise UserError("training part", "holds one class only", "a classifier needs two or more")
    groups_N = np.arange(len(y_N)) if train_groups_N is None else train_groups_N.cpu().numpy()
    held_out = _held_out_scores(x_ND, y_N, groups_N, scaling, sorted(l2_grid), seed)
    l2 = best_l2(held_out, l2_grid)
    model = fit(x_ND, y_N, scaling, l2)
    probability_MC = np.zeros((len(test_MD), n_classes))
    probability_MC[:, model.classes_] = model.predict_proba(_array(test_MD))
    return LinearAnswers(torch.from_numpy(probability_MC), l2, held_out)


def _held_out_scores(
    x_ND: Floats, y_N: Ints, groups_N: Ints, scaling: Scaling, l2_grid: Sequence[float], seed: int
) -> dict[float, float]:
    """Top-1 over all group-disjoint folds for each l2; empty when no folds can be made."""
    folds = _folds(y_N, groups_N, seed)
    if not folds or len(l2_grid) < 2:
        return {}
    return {
        l2: float(
            np.mean(
                np.concatenate(
                    [
                        fit(x_ND[rest], y_N[rest], scaling, l2).predict(x_ND[held]) == y_N[held]
                        for rest, held in folds
                    ]
                )
            )
        )
        for l2 in l2_grid
    }


def _folds(y_N: Ints, groups_N: Ints, seed: int) -> list[tuple[Ints, Ints]]:
    """Pairs of rows (fit on, held out) that share no group and leave two classes to fit on."""
    groups_a_class = [len(np.unique(groups_N[y_N == c])) for c in np.unique(y_N)]
    n_folds = min(FOLDS, *groups_a_class)
    if n_folds < 2:
        return []
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=integer_seed(seed) % 2**32)
    return [
        (rest, held)
        for rest, held in splitter.split(y_N[:, None], y_N, groups_N)
        if len(held) and len(np.unique(y_N[rest])) > 1
    ]


def best_l2(held_out: dict[float, float], l2_grid: Sequence[float]) -> float:
    """The strength with the best held-out score, the stronger of equals; without scores the middle.

    Example:
        >>> best_l2({0.1: 0.5, 1.0: 0.5, 10.0: 0.4}, [0.1, 1.0, 10.0])
        1.0
    """
    if held_out:
        return max(held_out, key=lambda l2: (held_out[l2], l2))
    middle = sorted(l2_grid)[len(l2_grid) // 2]
    if len(l2_grid) > 1:
        logger.warning("too few groups in the training part to choose l2; using %g", middle)
    return middle


def fit(x_ND: Floats, y_N: NDArray[Any], scaling: Scaling, l2: float) -> Pipeline:
    """Scaling and logistic regression fitted to features and their classes.

    Example:
        >>> model = fit(np.array([[0.0], [1.0]]), np.array([3, 5]), "standardise", 0.1)
        >>> model.predict(np.array([[2.0]])).tolist()
        [5]
    """
    scaler = StandardScaler() if scaling == "standardise" else Normalizer()
    # scikit-learn weighs the sum of the losses by C; 1 / (N l2) makes l2 mean the same for every N.
    model = LogisticRegression(C=1 / (len(y_N) * l2), max_iter=MAX_ITERATIONS)
    pipeline = make_pipeline(scaler, model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        pipeline.fit(x_ND, y_N)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        logger.warning("l2 = %g: stopped after %d steps, not converged", l2, MAX_ITERATIONS)
    return pipeline


def _array(x_ND: Tensor) -> Floats:
    array: Floats = x_ND.detach().cpu().double().numpy()
    return array
