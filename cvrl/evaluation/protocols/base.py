"""What one protocol makes of the networks that compete in it: the rows of a result.

Shape suffixes: V videos, D dims.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvrl.data.manifest import Manifest
from cvrl.data.perturbations import Perturbation
from cvrl.data.splits import Parts
from cvrl.evaluation.card import Row
from cvrl.evaluation.diagnostics.collapse import diagnose
from cvrl.evaluation.features.extraction import Features, Stage, mean_over_clips
from cvrl.evaluation.protocols.alignment import (
    AlignmentScores,
    constant_match_error,
    films_by_event,
    random_match_error,
    score_alignment,
)
from cvrl.evaluation.protocols.instance import instance_retrieval
from cvrl.evaluation.protocols.linear import L2_GRID, Scaling
from cvrl.evaluation.protocols.order_probe import ORDERS, order_probe
from cvrl.evaluation.protocols.retrieval import RetrievalRecipe
from cvrl.models.heads import ClassHead

Shares = dict[str, float | None]  # by score; None where the protocol does not define it


@dataclass(frozen=True)
class Options:
    """How the protocols are run.

    Attributes:
        clips_per_video: clips spread over each video.
        k: neighbours that vote.
        temperature: of a vote.
        centre: subtract the training part's mean feature before the neighbours are searched.
        scaling: of the features for the linear probe.
        l2_grid: strengths the linear probe chooses from.
        seed: of the random weights and of the probe's folds.
        batch_videos: videos encoded at a time.
        workers: loader processes.
        perturbations: of the clips, see :mod:`cvrl.data.perturbations`; every protocol is
            run on each.
        allow_group_leak: score parts that share a source group, and say so on the card.
        allow_missing: count test and training files that cannot be decoded on the card, instead of
            failing with the name of the first.
        every_seconds: from the start of one clip to that of the next, for alignment; 0 is a clip
            at every frame.
        retrieval: the recipe of protocol retrieval, see :mod:`cvrl.evaluation.protocols.retrieval`.
        leave_same_group_out: kNN and retrieval overlook training videos of a query's own source
            group, so that parts may share groups, or be one and the same.
        baselines: further networks scored on the same clips; ``hog_mbh`` is hand-made features, see
            :mod:`cvrl.models.hog_mbh`.
        stages: of the encoder whose features are scored, each by every protocol; ``pooled`` is the
            encoder's own feature, the others are maps averaged over time and space.
        leave_one_out: a column of the list: cross-validation of kNN and the linear probe over its
            values, see :mod:`cvrl.data.leave_one_out`; None scores the test split.
        feature_cache: folder where features of the baselines are kept, since they are the same for
            every encoder, see :mod:`cvrl.evaluation.features.feature_cache`; None keeps none.
    """

    clips_per_video: int = 2
    k: int = 20
    temperature: float = 0.07
    centre: bool = False
    scaling: Scaling = "standardise"
    l2_grid: tuple[float, ...] = L2_GRID
    seed: int = 0
    batch_videos: int = 8
    workers: int = 0
    perturbations: tuple[Perturbation, ...] = ("plain",)
    allow_group_leak: bool = False
    allow_missing: bool = False
    every_seconds: float = 0.0
    retrieval: RetrievalRecipe = "default"
    leave_same_group_out: bool = False
    baselines: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ("pooled",)
    leave_one_out: str | None = None
    feature_cache: str | PathLike[str] | None = None


@dataclass(frozen=True)
class EncoderFeatures:
    """Features of both splits by one network.

    Attributes:
        name: trained, projected (the trained one behind its projection head), untrained, or a
            baseline's name.
        norm: which of the random-init networks it is, by its batch norm; of a baseline its name.
        test: features of the test split.
        train: features of the training split, where a protocol learns from it.
    """

    name: str
    norm: str
    test: Features
    train: Features | None

    def details(self) -> dict[str, Any]:
        """The monitors of its features of the test part."""
        return diagnose(mean_over_clips(self.test)) if self.test.n_listed > 1 else {}


@dataclass(frozen=True)
class ProtocolInputs:
    """What one protocol works on; ``head`` is the classifier of the trained network, or None."""

    parts: Parts
    options: Options
    candidates: list[EncoderFeatures]
    head: ClassHead | None = None


@dataclass(frozen=True)
class Outcome:
    """What one protocol adds to the shared facts of the card."""

    rows: list[Row]
    settings: dict[str, Any]
    notes: list[str]
    variant: str = ""


def rows_of(
    inputs: ProtocolInputs,
    run: Callable[[EncoderFeatures], tuple[Shares, dict[str, Any]]],
    chance: Shares,
) -> list[Row]:
    """Run a protocol on each network; of the random-init networks the one that scores higher stays.

    Args:
        inputs: the networks.
        run: scores and details of one of them.
        chance: scores of chance; the first one chooses among the twins.
    """
    rows, twins, baselines = [], [], []
    for candidate in inputs.candidates:
        scores, details = run(candidate)
        details = {**candidate.details(), **details}
        if candidate.name == "trained":
            rows.append(Row("trained", scores, details))
        elif candidate.name == "untrained":
            twins.append(Row("untrained", scores, {**details, "batch_norm": candidate.norm}))
        else:
            baselines.append(Row(candidate.name, scores, details))
    first = next(iter(chance))
    better = max(twins, key=lambda row: row.scores[first] or 0.0)
    return [*rows, better, *baselines, Row("chance", chance)]


def _run_instance(inputs: ProtocolInputs) -> Outcome:
    group_V = torch.from_numpy(inputs.parts.test.group_ids)
    found = {one.norm: instance_retrieval(one.test, group_V) for one in inputs.candidates}

    def run(candidate: EncoderFeatures) -> tuple[Shares, dict[str, Any]]:
        """Scores and details of one network."""
        scores = found[candidate.norm]
        return {"r1": scores.r1, "r5": scores.r5}, {"alignment": scores.alignment}

    any_one = next(iter(found.values()))  # chance and counts are the same for every network
    rows = rows_of(inputs, run, {"r1": any_one.chance_r1, "r5": any_one.chance_r5})
    settings = {"queries": "first and last clip of each video", "n_queries": any_one.n_queries}
    short = any_one.n_same_clip
    notes = [f"{short} videos are too short for two different clips"] if short else []
    return Outcome(rows, settings, notes)


def _run_order_probe(inputs: ProtocolInputs) -> Outcome:
    train = inputs.parts.train
    assert train is not None  # _check has refused this protocol without one
    group_V = torch.from_numpy(train.group_ids)
    short: set[int] = set()

    def run(candidate: EncoderFeatures) -> tuple[Shares, dict[str, Any]]:
        """Scores and details of one network."""
        assert candidate.train is not None  # _contestants has read it for fitted protocols
        probe, unasked = order_probe(
            candidate.train, candidate.test, group_V, seed=inputs.options.seed
        )
        short.add(unasked)
        return {"top1": probe.scores.top1}, {"l2": probe.l2}

    rows = rows_of(inputs, run, {"top1": 1 / len(ORDERS)})
    settings = {"clips": "first, middle and last of each video", "orders": len(ORDERS)}
    notes = [f"{max(short)} videos are too short for three clips"] if max(short) else []
    return Outcome(rows, settings, notes)


def _run_alignment(inputs: ProtocolInputs) -> Outcome:
    def score(candidate: EncoderFeatures) -> tuple[AlignmentScores, Row]:
        """Scores of one network, and its row."""
        found = score_alignment(films_by_event(candidate.test, inputs.parts.test))
        norm = {"batch_norm": candidate.norm} if candidate.norm else {}
        return found, Row(candidate.name, _alignment(found), {**candidate.details(), **norm})

    found, rows = zip(*map(score, inputs.candidates), strict=True)
    twins = [row for row in rows if row.name == "untrained"]
    lengths = found[0].lengths  # the same for every network, as are the counts
    analytic = {
        "chance": np.mean([random_match_error(n) for n in lengths]),
        "constant": np.mean([constant_match_error(n, 0) for n in lengths]),
        "middle": np.mean([constant_match_error(n, n // 2) for n in lengths]),
    }
    every = inputs.options.every_seconds
    return Outcome(
        [
            *(row for row in rows if row.name != "untrained"),
            min(twins, key=lambda row: row.scores["alignment_error"] or 0.0),
            *(Row(name, _same_both_ways(float(error))) for name, error in analytic.items()),
        ],
        {
            "distance": "euclidean",
            "clips": f"every {every:g} s" if every else "every frame",
            "n_events": found[0].n_events,
            "n_pairs": found[0].n_pairs,
        },
        [
            "alignment error: lower is better; chance is a random match, constant an embedding that"
            " never changes, middle whoever answers with the middle of the event"
        ],
    )


def _alignment(found: AlignmentScores) -> Shares:
    return {
        "alignment_error": found.error,
        "forward": found.forward,
        "backward": found.backward,
        "kendall_tau": found.kendall_tau,
    }


def _same_both_ways(error: float) -> Shares:
    return {"alignment_error": error, "forward": error, "backward": error, "kendall_tau": 0.0}


def labels_of(parts: Parts) -> tuple[Manifest, Tensor, Tensor, int]:
    """The training part, both parts' classes, and how many classes there are."""
    assert parts.train is not None  # _check has refused labelled protocols without one
    train_V, test_V = (torch.from_numpy(p.label_ids) for p in (parts.train, parts.test))
    return parts.train, train_V, test_V, len(parts.test.class_names)


def means_of(candidate: EncoderFeatures) -> tuple[Tensor, Tensor]:
    assert candidate.train is not None  # _extract has read it for labelled protocols
    return mean_over_clips(candidate.test), mean_over_clips(candidate.train)


def constant_answer(labels_V: Tensor, n_classes: int) -> Shares:
    """Scores of the best answer that is the same for every video."""
    share_C = labels_V.bincount(minlength=n_classes).double().sort(descending=True).values
    share_C /= len(labels_V)
    top5 = float(share_C[:5].sum()) if n_classes > 5 else None
    return {"top1": float(share_C[0]), "top5": top5, "mean_class": 1 / len(set(labels_V.tolist()))}


def unseen_classes(parts: Parts) -> list[str]:
    """A note that names the test classes which the training part has no video of."""
    _, train_labels_V, test_labels_V, _ = labels_of(parts)
    unseen = sorted(set(test_labels_V.tolist()) - set(train_labels_V.tolist()))
    names = ", ".join(parts.test.class_names[c] for c in unseen)
    return [f"classes without a training video are always wrong: {names}"] if unseen else []


RUN: dict[str, Callable[[ProtocolInputs], Outcome]] = {
    "instance": _run_instance,
    "order_probe": _run_order_probe,
    "alignment": _run_alignment,
}
"""What to call for each protocol."""
