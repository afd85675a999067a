"""The scores of a classifier's answers, whoever took the views that it answered for.

:mod:`cvrl.evaluation.prediction.multiview` takes them as published tests do.
Protocol classifier takes the clips of the other protocols, their centre crops: it costs no decode
of its own, and can be scored under perturbations, see
:mod:`cvrl.evaluation.diagnostics.perturbation_table`.

Shape suffixes: V videos, K classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cvrl.data.manifest import Manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.card import Row
from cvrl.evaluation.features.extraction import evaluating, mean_over_clips, module_device
from cvrl.evaluation.prediction.predictions import (
    Predictions,
    mean_average_precision,
    true_classes,
    true_tags,
)
from cvrl.evaluation.protocols.base import Outcome, ProtocolInputs, Shares, constant_answer
from cvrl.evaluation.protocols.knn import score
from cvrl.models.heads import ClassHead
from cvrl.utils.errors import UserError

NO_BASELINE = "no row, since a random-init network has no classifier"
VARIANT = "centre"
"""Tells the protocol's results from those of many views, which have another question."""


def truth_of(manifest: Manifest, class_names: Sequence[str], *, multi_label: bool) -> Tensor:
    """What a classifier should answer for each video.

    Args:
        manifest: labelled videos.
        class_names: of the classifier.
        multi_label: whether a video may have several classes, joined by ``+`` in its label.

    Returns:
        (V,) classes as the classifier numbers them, or (V, K) zeros and ones.

    Raises:
        UserError: a video without a label, or labels that the classifier does not know.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> videos = make_manifest({"path": ["a.mp4"], "label": ["run"]}, root="/")
        >>> truth_of(videos, ["jump", "run"], multi_label=False).tolist()
        [1]
    """
    return true_tags(manifest, class_names) if multi_label else true_classes(manifest, class_names)


def score_answers(predictions: Predictions, truth_V: Tensor) -> list[Row]:
    """The scores of the answers, and of the best answer that is the same for every video.

    Args:
        predictions: of V videos.
        truth_V: as :func:`truth_of` gives it for the same videos.

    Returns:
        Rows trained and chance, with top1, top5 and mean_class; map where a video may have several
        classes.
    """
    probability_VK = predictions.probability_VK
    if predictions.multi_label:
        trained: Shares = {"map": mean_average_precision(probability_VK, truth_V)}
        constant = mean_average_precision(torch.zeros_like(probability_VK), truth_V)
        return [Row("trained", trained), Row("chance", {"map": constant})]
    scores = score(probability_VK, truth_V)
    trained = {"top1": scores.top1, "top5": scores.top5, "mean_class": scores.mean_class}
    chance = constant_answer(truth_V, len(predictions.class_names))
    details = {"class_accuracy": predictions.class_accuracy()}
    return [Row("trained", trained, details), Row("chance", chance)]


def check_classifier(parts: Parts, head: ClassHead | None) -> ClassHead:
    """Refuse a model that cannot answer for the videos of a test part.

    Raises:
        UserError: the model has no classifier, or the labels are missing or not those it knows.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> check_classifier(Parts(make_manifest({"path": ["a.mp4"]}, root="/")), None)
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: protocol classifier: the model was trained without labels ...
    """
    if head is None:
        reason = "the model was trained without labels and holds no classifier"
        raise UserError("protocol classifier", reason, "use --protocol knn linear")
    truth_of(parts.test, head.class_names, multi_label=head.multi_label)
    return head


def run_classifier(inputs: ProtocolInputs) -> Outcome:
    """The trained network's own answers: the mean probability over the clips of each video.

    Args:
        inputs: with the classifier, and labels that it knows.
    """
    trained = inputs.candidates[0]
    head, test = check_classifier(inputs.parts, inputs.head), inputs.parts.test
    with evaluating(head), torch.inference_mode():
        probability_NK = head.probabilities(trained.test.vectors_ND.to(module_device(head))).cpu()
    predictions = Predictions(
        class_names=head.class_names,
        paths=test.paths,
        labels=test.table["label"].to_pylist(),
        probability_VK=mean_over_clips(replace(trained.test, vectors_ND=probability_NK)),
        multi_label=head.multi_label,
    )
    truth_V = truth_of(test, head.class_names, multi_label=head.multi_label)
    answered, chance = score_answers(predictions, truth_V)
    row = replace(answered, details={**trained.details(), **answered.details})
    return Outcome([row, chance], {"answer": "mean probability of the clips"}, [], VARIANT)
