"""One function from an encoder and a data set to results with their cards."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from cvrl.data.dataset import VideoReader
from cvrl.data.perturbations import Perturbation, check_perturbations
from cvrl.data.splits import Parts, check_groups, labelled_only, list_sha256
from cvrl.data.tags import SEPARATOR
from cvrl.evaluation.card import WARNING, ProtocolCard, Result, Row, percent
from cvrl.evaluation.diagnostics.perturbation_table import moving_note, pairings
from cvrl.evaluation.encoders import BASELINES, ClipRequest, EncodersUnderTest, Entry, clips_of
from cvrl.evaluation.features.extraction import module_device
from cvrl.evaluation.protocols.alignment import check_events
from cvrl.evaluation.protocols.base import RUN as SIMPLE
from cvrl.evaluation.protocols.base import Options, Outcome, ProtocolInputs
from cvrl.evaluation.protocols.classifier_protocol import (
    NO_BASELINE,
    check_classifier,
    run_classifier,
)
from cvrl.evaluation.protocols.knn import check_labels
from cvrl.evaluation.protocols.order_probe import CLIPS
from cvrl.evaluation.protocols.retrieval import RECIPES
from cvrl.evaluation.protocols.retrieval_protocol import retrieval_intake, run_retrieval
from cvrl.evaluation.protocols.tags_protocol import run_tags
from cvrl.evaluation.random_init import random_init_encoders, weights_sha256
from cvrl.models.backbones import Encoder
from cvrl.models.classifier import Classifier
from cvrl.models.heads import ClassHead
from cvrl.utils.errors import UserError

__all__ = ["PROTOCOLS", "Options", "Protocol", "evaluate", "suitable_protocols"]

Protocol = Literal[
    "knn", "linear", "retrieval", "linear_tags", "instance", "order_probe", "alignment",
    "classifier",
]  # fmt: skip
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
RUN: dict[str, Callable[[ProtocolInputs], Outcome]] = {
    **SIMPLE,
    "retrieval": run_retrieval,
    "linear_tags": run_tags,
    "classifier": run_classifier,
}
READER = VideoReader()
OPTIONS = Options()
LABELLED: frozenset[Protocol] = frozenset({"knn", "linear", "retrieval", "linear_tags"})
FITTED: frozenset[Protocol] = LABELLED | {"order_probe"}  # they learn from a training part
NEIGHBOURS: frozenset[Protocol] = frozenset({"knn", "retrieval"})
PROBES: frozenset[Protocol] = frozenset({"order_probe", "alignment"})  # of order, not of content
OWN: frozenset[Protocol] = frozenset({"classifier"})  # not every model has what they need
ONE_LABEL: frozenset[Protocol] = frozenset({"knn", "linear", "retrieval"})


def evaluate(
    encoder: Encoder,
    parts: Parts,
    protocols: Sequence[Protocol] = ("knn",),
    options: Options = OPTIONS,
    *,
    untrained: nn.Module | None = None,
    reader: VideoReader = READER,
    head: ClassHead | None = None,
) -> list[Result]:
    """Score an encoder, and its untrained twin beside it, by one or several protocols.

    Every video is decoded once for all networks, and for all protocols that take the same clips
    (some training videos once more, to measure the twin's batch norm; alignment and the published
    recipes of retrieval take other clips). Three rows come out: trained; untrained, which is the
    better of two ways to treat batch norm, see :mod:`cvrl.evaluation.random_init`; and chance,
    which for labels is the best constant answer. Alignment adds the trained network behind its
    projection head, and two fixed answers; classifier has no untrained row.

    Args:
        encoder: as ``load_encoder`` gives it, with ``preprocess``, ``clip``, ``size`` and ``spec``.
        parts: the videos, see :func:`cvrl.data.splits.read_splits`.
        protocols: knn, linear, retrieval and linear_tags (for labels that are tags, ``sea+surf``)
            need labels on both parts, order_probe needs both parts, instance needs neither,
            alignment needs events seen by several cameras, classifier needs the model's own one and
            labels on the test part.
        options: how.
        untrained: a network for the untrained row, taken as it is; made from ``encoder.spec`` when
            left out.
        reader: how files are opened.
        head: the classifier that was trained with the encoder.

    Returns:
        One result a protocol and show, in the order asked. Where plain clips are among several
        shows, a protocol that learns gives two results for each other show: taught on clips that
        show the same (what can be told from them), and taught on plain ones (what it goes by).

    Raises:
        UserError: labels are missing, the parts share groups, or a setting cannot be used.
        CorruptVideoError: a video cannot be decoded. None is left out of a score, unless the
            options allow missing videos: then the cards count and name them.

    Example:
        >>> from cvrl import load_encoder
        >>> from cvrl.data.splits import read_splits
        >>> encoder, parts = load_encoder("runs/x"), read_splits("videos")  # doctest: +SKIP
        >>> evaluate(encoder, parts, ["knn"])[0].row("trained").scores["top1"]  # doctest: +SKIP
        0.62
    """
    options = replace(options, shows=check_perturbations(options.shows))
    by_label = LABELLED.union(OWN).intersection(protocols)
    parts, unlabelled = labelled_only(parts) if by_label else (parts, dict[str, Any]())
    group_check = _check(parts, protocols, options, head)
    twins, untrained_words = dict[str, nn.Module](), NO_BASELINE
    if set(protocols) != {"classifier"}:
        twins, untrained_words = _twins(encoder, untrained, parts, options, reader)
    encoders_under_test = EncodersUnderTest(encoder, twins, parts, options, reader, head)
    wanted: dict[ClipRequest, list[Protocol]] = {}
    for protocol in protocols:
        wanted.setdefault(_intake(protocol, options), []).append(protocol)
    entries = {
        request: encoders_under_test.enter(request, train=bool(FITTED.intersection(asking)))
        for request, asking in wanted.items()
    }
    notes_on, weights = _about_shows(encoder, parts, options, reader), weights_sha256(encoder)
    results = []
    for protocol in protocols:
        request = _intake(protocol, options)
        facts = _about_data(parts, entries[request], protocol) | unlabelled
        facts |= {"group_check": group_check, "untrained": untrained_words}
        facts |= {"weights_sha256": weights} | _about_clips(encoder, options, request)
        facts |= _about_classifier(encoder, head) if protocol == "classifier" else {}
        for show, train_show in pairings(options.shows, learns=protocol in FITTED):
            outcome = RUN[protocol](entries[request].inputs[show, train_show])
            warned = _below_baselines(outcome.rows)
            notes = [*outcome.notes, *notes_on[show], *_marked_bad(parts), *warned]
            facts |= {"show": show, "train_show": train_show, "variant": outcome.variant}
            facts |= {"settings": outcome.settings, "notes": notes}
            results.append(Result(ProtocolCard(protocol=protocol, **facts), outcome.rows))
    return results


def suitable_protocols(parts: Parts, asked: Sequence[str] | None = None) -> list[Protocol]:
    """What to run: what a user asked for, or what the videos suggest.

    Args:
        parts: the videos.
        asked: protocols by name. ``all`` stands for every one that scores what a video shows, not
            its order, and needs no classifier; alignment only for films of events. None leaves the
            choice:
            alignment for films of events, linear_tags where labels are tags, knn where both parts
            have labels, else instance.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> parts = Parts(make_manifest({"path": ["a.mp4"]}, root="/"))
        >>> suitable_protocols(parts), suitable_protocols(parts, ["all"])
        (['instance'], ['knn', 'linear', 'retrieval', 'instance'])
    """
    has_events = "event" in parts.test.table.column_names
    has_tags = any(SEPARATOR in name for name in parts.test.class_names)
    if asked is not None:
        left = (PROBES - {"alignment"} if has_events else PROBES) | OWN
        left |= ONE_LABEL if has_tags else {"linear_tags"}
        every = [p for p in PROTOCOLS if p not in left]
        return every if "all" in asked else cast(list[Protocol], list(asked))
    if has_events:
        return ["alignment"]
    both = [] if parts.train is None else [parts.train, parts.test]
    labelled = all((part.label_ids >= 0).any() for part in both)
    if not (both and labelled):
        return ["instance"]
    return ["linear_tags"] if has_tags else ["knn"]


def _check(
    parts: Parts, protocols: Sequence[Protocol], options: Options, head: ClassHead | None
) -> str:
    """Refuse what cannot be scored before anything is decoded; the card's line on groups."""
    unknown = [p for p in protocols if p not in PROTOCOLS]
    if unknown or not protocols:
        asked = ", ".join(unknown) or "none"
        raise UserError(f"protocol {asked}", "is not known", f"use {', '.join(PROTOCOLS)}")
    _check_options(options, protocols)
    if "alignment" in protocols:
        check_events(parts.test)
    if "classifier" in protocols:
        check_classifier(parts, head)
    labelled = LABELLED.intersection(protocols)
    if labelled:
        check_labels(parts.test_name, torch.from_numpy(parts.test.label_ids))
    if parts.train is None and (fitted := FITTED.intersection(protocols)):
        reason = f"there is no second part: {min(fitted)} learns from one and scores the other"
        raise UserError(parts.test_name, reason, "give --test, a split column or --hold-out 0.2")
    if parts.train is not None and labelled:
        check_labels(str(parts.train_name), torch.from_numpy(parts.train.label_ids))
    if parts.train is None:
        return "one part only"
    apart = options.leave_same_group_out and NEIGHBOURS.issuperset(protocols)
    found = check_groups(parts.train, parts.test, allow_leak=apart or options.allow_group_leak)
    return f"no neighbours of a query's own group; {found}" if apart else found


def _check_options(options: Options, protocols: Sequence[Protocol]) -> None:
    for name in ("clips_per_video", "k", "batch_videos"):
        if getattr(options, name) < 1:
            raise UserError(f"{name} = {getattr(options, name)}", "must be 1 or more", "raise it")
    if not 0 < options.temperature < float("inf"):
        raise UserError(f"temperature = {options.temperature}", "must be above 0", "0.07 is usual")
    if not 0 <= options.every_seconds < float("inf"):
        raise UserError(f"every_seconds = {options.every_seconds}", "must be 0 or more", "use 0")
    if options.retrieval not in RECIPES:
        known = f"use {', '.join(RECIPES)}"
        raise UserError(f"retrieval = {options.retrieval}", "is not a recipe", known)
    if "instance" in protocols and options.clips_per_video < 2:
        raise UserError("protocol instance", "needs two clips a video", "use --clips 2 or more")
    if "alignment" in protocols and len(options.shows) > 1:
        raise UserError("protocol alignment", "takes one show at a time", "give --show one name")
    if "order_probe" in protocols and options.clips_per_video < CLIPS:
        needed = f"use --clips {CLIPS} or more"
        raise UserError("protocol order_probe", f"needs {CLIPS} clips a video", needed)


def _twins(
    encoder: Encoder,
    untrained: nn.Module | None,
    parts: Parts,
    options: Options,
    reader: VideoReader,
) -> tuple[dict[str, nn.Module], str]:
    """The networks of the untrained row, and how they are made, in words."""
    if untrained is not None:
        return {"as given": untrained}, "a network that was given for it"
    request, first = ClipRequest(options.clips_per_video), replace(options, shows=options.shows[:1])
    return random_init_encoders(
        encoder.spec,
        clips_of(parts.train or parts.test, encoder, request, first, reader),
        options.seed,
        module_device(encoder),
        batch_videos=options.batch_videos,
        workers=options.workers,
    )


def _intake(protocol: Protocol, options: Options) -> ClipRequest:
    """What a protocol takes of each video."""
    if protocol == "alignment":
        return ClipRequest(None, every_seconds=options.every_seconds, project=True)
    if protocol == "retrieval":
        return retrieval_intake(options.retrieval, options.clips_per_video)
    return ClipRequest(options.clips_per_video)


def _about_data(parts: Parts, entry: Entry, protocol: Protocol) -> dict[str, Any]:
    """The card's fields on both parts, as listed and as scored."""
    fitted, labelled, train = protocol in FITTED, protocol in LABELLED, entry.train
    facts: dict[str, Any] = {
        "test": parts.test_name,
        "test_list": list_sha256(parts.test),
        "train": parts.train_name if fitted else None,
        "n_classes": len(parts.test.class_names) if labelled else None,
        "n_listed": entry.test.n_listed,
        "n_scored": len(entry.test.manifest),
        "n_missing": len(entry.test.bad),
        "missing": entry.test.names,
        "n_train": 0,
    }
    if fitted and parts.train is not None and train is not None:
        facts |= {
            "train_list": list_sha256(parts.train),
            "n_train": len(train.manifest),
            "n_train_missing": len(train.bad),
            "train_missing": train.names,
        }
    return facts


def _about_clips(encoder: Encoder, options: Options, request: ClipRequest) -> dict[str, Any]:
    return {
        "clips_per_video": request.clips,
        "clip_frames": encoder.clip.frames,
        "clip_stride": encoder.clip.stride,
        "short_video": encoder.clip.short_video,
        "size": encoder.size,
        "crop_bars": encoder.clip.crop_bars,
        "stage": "res5, max-pooled" if request.max_pooled else "pooled",
        "encoder": dict(encoder.spec),
        "seed": options.seed,
    }


def _about_classifier(encoder: Encoder, head: ClassHead | None) -> dict[str, Any]:
    """What a card says of a classifier instead; :func:`_check` has refused a model without one."""
    assert head is not None
    return {
        "n_classes": len(head.class_names),
        "stage": "classifier",
        "untrained": NO_BASELINE,
        "weights_sha256": weights_sha256(Classifier(encoder, head)),
    }


def _about_shows(
    encoder: Encoder, parts: Parts, options: Options, reader: VideoReader
) -> dict[Perturbation, list[str]]:
    """Notes on each show; on those that blur, how much of the picture they take for moving."""
    notes: dict[Perturbation, list[str]] = {show: [] for show in options.shows}
    blurred = [show for show in options.shows if show.endswith("blurred")]
    if blurred:
        plain = replace(options, shows=("plain",))
        note = moving_note(clips_of(parts.test, encoder, ClipRequest(1), plain, reader))
        notes |= {show: [note] for show in blurred}
    return notes


def _below_baselines(rows: Sequence[Row]) -> list[str]:
    """Notes on baselines without training that score higher than the encoder."""
    score = next(iter(rows[-1].scores))  # the main score stands first
    trained = next(row for row in rows if row.name == "trained").scores[score] or 0.0
    return [
        f"{WARNING}the encoder scores below {row.name}, which is not trained: "
        f"{percent(trained)} against {percent(row.scores[score])}"
        for row in rows
        if row.name in BASELINES and (row.scores[score] or 0.0) > trained
    ]


def _marked_bad(parts: Parts) -> list[str]:
    """Notes on rows that a scan marked bad, which are in no part."""
    lists = {part.source: part.bad for part in (parts.test, parts.train) if part and part.bad}
    return [
        f"{bad} rows of {source} are marked bad there, in no part" for source, bad in lists.items()
    ]
