"""Protocols knn and linear: classes of videos told from other videos that have a label.

The scored videos are a test split, or every video of a list in turn: under ``leave_one_out`` each
fold is answered by a classifier fitted to the others, and the answers of all folds are scored
together.

Shape suffixes: V videos, N of them to learn from, M of them to answer, C classes, D dims.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvrl.data.leave_one_out import Fold, column_values, leave_one_out, never_learned
from cvrl.data.splits import group_numbers
from cvrl.evaluation.card import Row
from cvrl.evaluation.protocols.base import (
    EncoderFeatures,
    Outcome,
    ProtocolInputs,
    Shares,
    constant_answer,
    labels_of,
    means_of,
    rows_of,
    unseen_classes,
)
from cvrl.evaluation.protocols.knn import clip_k, knn_votes, score
from cvrl.evaluation.protocols.linear import linear_answers

Answer = Callable[[Tensor, Tensor, Fold], tuple[Tensor, dict[str, Any]]]


def folds_of(inputs: ProtocolInputs) -> list[Fold]:
    """The folds of a list, or the two splits as a single one.

    Args:
        inputs: with a training part; under ``leave_one_out`` it is the test part.
    """
    parts, column = inputs.parts, inputs.options.leave_one_out
    assert parts.train is not None  # labelled protocols are refused without one
    if column is not None:
        return leave_one_out(parts.test, column)
    return [Fold("", np.arange(len(parts.train)), np.arange(len(parts.test)))]


def run_knn(inputs: ProtocolInputs) -> Outcome:
    """Each network's vote of the nearest training videos, and chance.

    Args:
        inputs: with a training part and labels on both.
    """
    options, folds = inputs.options, folds_of(inputs)
    _, train_labels_V, _, n_classes = labels_of(inputs.parts)
    k = clip_k(options.k, min(len(fold.train_N) for fold in folds))
    groups = group_numbers(inputs.parts) if options.leave_same_group_out else None

    def answer(train_ND: Tensor, test_MD: Tensor, fold: Fold) -> tuple[Tensor, dict[str, Any]]:
        """Votes for the scored rows of a fold."""
        votes_MC = knn_votes(
            test_MD,
            train_ND,
            train_labels_V[fold.train_N],
            k=k,
            temperature=options.temperature,
            n_classes=n_classes,
            centre=options.centre,
            query_groups_M=None if groups is None else groups[0][fold.test_M],
            gallery_groups_N=None if groups is None else groups[1][fold.train_N],
        )
        return votes_MC, {}

    settings: dict[str, Any] = {"k": k, "temperature": options.temperature}
    settings["centre"] = options.centre
    settings |= {"same_group": "left out"} if options.leave_same_group_out else {}
    return Outcome(_rows(inputs, folds, answer), settings, _notes(inputs, folds))


def run_linear(inputs: ProtocolInputs) -> Outcome:
    """Each network's linear probe, and chance.

    The strength of the regularisation is chosen on held-out groups of the training videos; under
    ``leave_one_out`` on held-out values of its column.

    Args:
        inputs: with a training part and labels on both.
    """
    options, folds = inputs.options, folds_of(inputs)
    train, train_labels_V, _, n_classes = labels_of(inputs.parts)
    group_V = torch.from_numpy(train.group_ids)
    if options.leave_one_out is not None:
        values_V = column_values(train, options.leave_one_out)
        group_V = torch.from_numpy(np.unique(values_V, return_inverse=True)[1])

    def answer(train_ND: Tensor, test_MD: Tensor, fold: Fold) -> tuple[Tensor, dict[str, Any]]:
        """Probabilities for the scored rows of a fold, and how the probe chose."""
        answers = linear_answers(
            train_ND,
            train_labels_V[fold.train_N],
            test_MD,
            n_classes=n_classes,
            train_groups_N=group_V[fold.train_N],
            scaling=options.scaling,
            l2_grid=options.l2_grid,
            seed=options.seed,
        )
        held_out = {f"{l2:g}": share for l2, share in answers.held_out.items()}
        return answers.probability_MC, {"l2": answers.l2, "held_out_top1_by_l2": held_out}

    settings = {
        "scaling": options.scaling,
        "l2_grid": list(options.l2_grid),
        "l2 chosen on": "train",
    }
    return Outcome(_rows(inputs, folds, answer), settings, _notes(inputs, folds))


def _rows(inputs: ProtocolInputs, folds: Sequence[Fold], answer: Answer) -> list[Row]:
    """A row a network: the answers of all folds scored together, with each fold in the details."""
    _, _, labels_V, n_classes = labels_of(inputs.parts)

    def run(candidate: EncoderFeatures) -> tuple[Shares, dict[str, Any]]:
        """Scores and details of one network."""
        test_VD, train_VD = means_of(candidate)
        answers_VC = torch.zeros(len(test_VD), n_classes, dtype=torch.float64)
        details = list[dict[str, Any]]()
        for fold in folds:
            answers_MC, found = answer(train_VD[fold.train_N], test_VD[fold.test_M], fold)
            answers_VC[fold.test_M] = answers_MC.double()
            top1 = score(answers_MC, labels_V[fold.test_M]).top1
            about = {"held_out": fold.held_out, "videos": len(fold.test_M), "top1": top1}
            details.append(found if inputs.options.leave_one_out is None else about | found)
        scores = score(answers_VC, labels_V)
        shares = {"top1": scores.top1, "top5": scores.top5, "mean_class": scores.mean_class}
        return shares, details[0] if inputs.options.leave_one_out is None else {"folds": details}

    return rows_of(inputs, run, constant_answer(labels_V, n_classes))


def _notes(inputs: ProtocolInputs, folds: Sequence[Fold]) -> list[str]:
    if inputs.options.leave_one_out is None:
        return unseen_classes(inputs.parts)
    names = ", ".join(never_learned(inputs.parts.test, folds))
    return [f"classes with all their videos in one fold are always wrong: {names}"] if names else []
