"""One function from an encoder and a data set to results with their cards.

Shape suffixes: V videos, D dims.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest
from cvrl.evaluation.card import ProtocolCard, Result, Row
from cvrl.evaluation.diagnose import diagnose
from cvrl.evaluation.features import (
    Features,
    extract_together,
    mean_over_clips,
    module_device,
    transform_of,
)
from cvrl.evaluation.instance import instance_retrieval
from cvrl.evaluation.knn import Scores, check_labels, clip_k, knn_accuracy
from cvrl.evaluation.linear import L2_GRID, Scaling, linear_probe
from cvrl.evaluation.parts import Parts, check_groups
from cvrl.evaluation.untrained import recalibrate_batch_norm, untrained_twin, weights_sha256
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import UserError

Protocol = Literal["knn", "linear", "instance"]
PROTOCOLS: tuple[Protocol, ...] = ("knn", "linear", "instance")
READER = VideoReader()
LABELLED: frozenset[Protocol] = frozenset({"knn", "linear"})


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
        seed: of the untrained weights and of the probe's folds.
        batch_videos: videos encoded at a time.
        workers: loader processes.
        allow_group_leak: score parts that share a source group, and say so on the card.
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
    allow_group_leak: bool = False


@dataclass(frozen=True)
class _Contestant:
    """A network's features of both parts, and their means over the clips of each video."""

    name: str
    test: Features
    train: Features | None

    def details(self) -> dict[str, Any]:
        """The monitors of its features of the test part."""
        return diagnose(mean_over_clips(self.test)) if self.test.n_listed > 1 else {}


@dataclass(frozen=True)
class _Contest:
    """What the protocols of one evaluation share."""

    parts: Parts
    options: Options
    contestants: list[_Contestant]


@dataclass(frozen=True)
class _Outcome:
    """What one protocol adds to the shared facts of the card."""

    rows: list[Row]
    settings: dict[str, Any]
    notes: list[str]


def evaluate(
    encoder: Encoder,
    parts: Parts,
    protocols: Sequence[Protocol] = ("knn",),
    options: Options = Options(),
    *,
    untrained: nn.Module | None = None,
    reader: VideoReader = READER,
) -> list[Result]:
    """Score an encoder, and its untrained twin beside it, by one or several protocols.

    Every video is decoded once for all protocols and both networks (some training videos once more,
    to measure the twin's batch norm, see :mod:`cvrl.evaluation.untrained`). Three rows come out:
    trained, untrained, and chance, which for labels is the best constant answer.

    Args:
        encoder: as ``load_encoder`` gives it, with ``preprocess``, ``clip``, ``size`` and ``spec``.
        parts: the videos, see :func:`cvrl.evaluation.parts.read_parts`.
        protocols: knn and linear need labels on both parts, instance needs none.
        options: how.
        untrained: the network for the untrained row; made from ``encoder.spec`` when left out.
        reader: how files are opened.

    Returns:
        One result a protocol, in the order asked.

    Raises:
        UserError: labels are missing, the parts share groups, or a setting cannot be used.
        CorruptVideoError: a video cannot be decoded. None is left out of a score.

    Example:
        >>> from cvrl import load_encoder
        >>> from cvrl.evaluation.parts import read_parts
        >>> encoder, parts = load_encoder("runs/x"), read_parts("videos")  # doctest: +SKIP
        >>> evaluate(encoder, parts, ["knn"])[0].row("trained").scores["top1"]  # doctest: +SKIP
        0.62
    """
    group_check = _check(parts, protocols, options)
    contestants, untrained_words = _extract(encoder, untrained, parts, protocols, options, reader)
    contest = _Contest(parts, options, contestants)
    weights = weights_sha256(encoder)
    results = []
    for protocol in protocols:
        outcome = _RUN[protocol](contest)
        card = ProtocolCard(
            protocol=protocol,
            group_check=group_check,
            settings=outcome.settings,
            notes=outcome.notes,
            untrained=untrained_words,
            weights_sha256=weights,
            **_about_data(contest, labelled=protocol in LABELLED),
            **_about_clips(encoder, options),
        )
        results.append(Result(card, outcome.rows))
    return results


def suitable_protocols(parts: Parts) -> list[Protocol]:
    """Choose for a user who has not: knn where both parts have labels, else instance.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> suitable_protocols(Parts(make_manifest({"path": ["a.mp4"]}, root="/")))
        ['instance']
    """
    both = [] if parts.train is None else [parts.train, parts.test]
    labelled = all(len(part) and (part.label_ids >= 0).all() for part in both)
    return ["knn"] if both and labelled else ["instance"]


def _check(parts: Parts, protocols: Sequence[Protocol], options: Options) -> str:
    """Refuse what cannot be scored before anything is decoded; the card's line on groups."""
    unknown = [p for p in protocols if p not in PROTOCOLS]
    if unknown or not protocols:
        asked = ", ".join(unknown) or "none"
        raise UserError(f"protocol {asked}", "is not known", f"use {', '.join(PROTOCOLS)}")
    _check_options(options, protocols)
    if LABELLED.intersection(protocols):
        check_labels(parts.test_name, torch.from_numpy(parts.test.label_ids))
        if parts.train is None:
            reason = "there is no second part: kNN and linear learn from one and score the other"
            raise UserError(
                parts.test_name, reason, "give --test, a split column or --hold-out 0.2"
            )
        check_labels(str(parts.train_name), torch.from_numpy(parts.train.label_ids))
    if parts.train is None:
        return "one part only"
    return check_groups(parts.train, parts.test, allow_leak=options.allow_group_leak)


def _check_options(options: Options, protocols: Sequence[Protocol]) -> None:
    for name in ("clips_per_video", "k", "batch_videos"):
        if getattr(options, name) < 1:
            raise UserError(f"{name} = {getattr(options, name)}", "must be 1 or more", "raise it")
    if not 0 < options.temperature < float("inf"):
        raise UserError(f"temperature = {options.temperature}", "must be above 0", "0.07 is usual")
    if "instance" in protocols and options.clips_per_video < 2:
        raise UserError("protocol instance", "needs two clips a video", "use --clips 2 or more")


def _extract(
    encoder: Encoder,
    untrained: nn.Module | None,
    parts: Parts,
    protocols: Sequence[Protocol],
    options: Options,
    reader: VideoReader,
) -> tuple[list[_Contestant], str]:
    """Features of both networks, and how the untrained one was made, in words."""

    def clips(manifest: Manifest) -> EvalDataset:
        n_clips = options.clips_per_video
        return EvalDataset(manifest, encoder.clip, n_clips, transform, reader=reader)

    transform = transform_of(encoder)

    test, train = clips(parts.test), clips(parts.train) if parts.train is not None else None
    twin = untrained if untrained is not None else untrained_twin(encoder.spec, options.seed)
    twin.to(module_device(encoder))
    how: dict[str, Any] = {"batch_videos": options.batch_videos, "workers": options.workers}
    used = recalibrate_batch_norm(twin, train or test, seed=options.seed, **how)
    words = f"same architecture, random weights of seed {options.seed}"
    if used:
        part = "training" if train else "scored"
        words += f", batch norm measured on {used} {part} videos"
    tests = extract_together([encoder, twin], test, description="test part", **how)
    trains: list[Features | None] = [None, None]
    if train is not None and LABELLED.intersection(protocols):
        trains = [*extract_together([encoder, twin], train, description="training part", **how)]
    names = ("trained", "untrained")
    return [_Contestant(*row) for row in zip(names, tests, trains, strict=True)], words


def _run_knn(contest: _Contest) -> _Outcome:
    options = contest.options
    train, train_labels_V, test_labels_V, n_classes = _labels(contest.parts)
    k = clip_k(options.k, len(train))
    rows = []
    for contestant in contest.contestants:
        test_VD, train_VD = _means(contestant)
        scores = knn_accuracy(
            test_VD,
            test_labels_V,
            train_VD,
            train_labels_V,
            k=k,
            temperature=options.temperature,
            n_classes=n_classes,
            centre=options.centre,
        )
        rows.append(Row(contestant.name, _shares(scores), contestant.details()))
    rows.append(Row("chance", _constant_answer(test_labels_V, n_classes)))
    settings = {"k": k, "temperature": options.temperature, "centre": options.centre}
    return _Outcome(rows, settings, _unseen_classes(contest.parts))


def _run_linear(contest: _Contest) -> _Outcome:
    options = contest.options
    train, train_labels_V, test_labels_V, n_classes = _labels(contest.parts)
    rows = []
    for contestant in contest.contestants:
        test_VD, train_VD = _means(contestant)
        probe = linear_probe(
            train_VD,
            train_labels_V,
            test_VD,
            test_labels_V,
            train_groups_N=torch.from_numpy(train.group_ids),
            scaling=options.scaling,
            l2_grid=options.l2_grid,
            n_classes=n_classes,
            seed=options.seed,
        )
        held_out = {f"{l2:g}": share for l2, share in probe.held_out.items()}
        details = {**contestant.details(), "l2": probe.l2, "held_out_top1_by_l2": held_out}
        rows.append(Row(contestant.name, _shares(probe.scores), details))
    rows.append(Row("chance", _constant_answer(test_labels_V, n_classes)))
    settings = {
        "scaling": options.scaling,
        "l2_grid": list(options.l2_grid),
        "l2 chosen on": "train",
    }
    return _Outcome(rows, settings, _unseen_classes(contest.parts))


def _run_instance(contest: _Contest) -> _Outcome:
    group_V = torch.from_numpy(contest.parts.test.group_ids)
    rows = []
    for contestant in contest.contestants:
        scores = instance_retrieval(contestant.test, group_V)
        details = {**contestant.details(), "alignment": scores.alignment}
        rows.append(Row(contestant.name, {"r1": scores.r1, "r5": scores.r5}, details))
    rows.append(Row("chance", {"r1": scores.chance_r1, "r5": scores.chance_r5}))
    settings = {"queries": "first and last clip of each video", "n_queries": scores.n_queries}
    short = scores.n_same_clip
    notes = [f"{short} videos are too short for two different clips"] if short else []
    return _Outcome(rows, settings, notes)


_RUN: dict[str, Callable[[_Contest], _Outcome]] = {
    "knn": _run_knn,
    "linear": _run_linear,
    "instance": _run_instance,
}


def _labels(parts: Parts) -> tuple[Manifest, Tensor, Tensor, int]:
    """The training part, both parts' classes, and how many classes there are."""
    assert parts.train is not None  # _check has refused labelled protocols without one
    train_V, test_V = (torch.from_numpy(p.label_ids) for p in (parts.train, parts.test))
    return parts.train, train_V, test_V, len(parts.test.class_names)


def _means(contestant: _Contestant) -> tuple[Tensor, Tensor]:
    assert contestant.train is not None  # _extract has read it for labelled protocols
    return mean_over_clips(contestant.test), mean_over_clips(contestant.train)


def _shares(scores: Scores) -> dict[str, float | None]:
    return {"top1": scores.top1, "top5": scores.top5, "mean_class": scores.mean_class}


def _constant_answer(labels_V: Tensor, n_classes: int) -> dict[str, float | None]:
    """Scores of the best answer that is the same for every video."""
    share_C = labels_V.bincount(minlength=n_classes).double().sort(descending=True).values
    share_C /= len(labels_V)
    top5 = float(share_C[:5].sum()) if n_classes > 5 else None
    return {"top1": float(share_C[0]), "top5": top5, "mean_class": 1 / len(set(labels_V.tolist()))}


def _unseen_classes(parts: Parts) -> list[str]:
    """A note that names the test classes which the training part has no video of."""
    _, train_labels_V, test_labels_V, _ = _labels(parts)
    unseen = sorted(set(test_labels_V.tolist()) - set(train_labels_V.tolist()))
    names = ", ".join(parts.test.class_names[c] for c in unseen)
    return [f"classes without a training video are always wrong: {names}"] if unseen else []


def _about_data(contest: _Contest, *, labelled: bool) -> dict[str, Any]:
    parts = contest.parts
    return {
        "test": parts.test_name,
        "train": parts.train_name if labelled else None,
        "n_classes": len(parts.test.class_names) if labelled else None,
        "n_listed": len(parts.test),
        "n_scored": contest.contestants[0].test.n_scored,
        "n_train": len(parts.train) if labelled and parts.train is not None else 0,
    }


def _about_clips(encoder: Encoder, options: Options) -> dict[str, Any]:
    return {
        "clips_per_video": options.clips_per_video,
        "clip_frames": encoder.clip.frames,
        "clip_stride": encoder.clip.stride,
        "short_video": encoder.clip.short_video,
        "size": encoder.size,
        "stage": "pooled",
        "encoder": dict(encoder.spec),
        "seed": options.seed,
    }
