"""One function from an encoder and a data set to results with their cards."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import Manifest
from cvrl.data.shows import Show, check_shows
from cvrl.evaluation.alignment import check_events
from cvrl.evaluation.card import ProtocolCard, Result
from cvrl.evaluation.contest import RUN, Contest, Options, labels_by_name
from cvrl.evaluation.features import (
    Features,
    extract_together,
    module_device,
    project,
    transform_of,
)
from cvrl.evaluation.knn import check_labels
from cvrl.evaluation.motion import Entrant, by_show, moving_note, pairings
from cvrl.evaluation.order_probe import CLIPS
from cvrl.evaluation.parts import Parts, check_groups
from cvrl.evaluation.untrained import untrained_twins, weights_sha256
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.utils.errors import UserError

__all__ = ["PROTOCOLS", "Options", "Protocol", "evaluate", "suitable_protocols"]

Protocol = Literal["knn", "linear", "instance", "order_probe", "alignment", "classifier"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
READER = VideoReader()
OPTIONS = Options()
LABELLED: frozenset[Protocol] = frozenset({"knn", "linear"})
FITTED: frozenset[Protocol] = LABELLED | {"order_probe"}  # they learn from a training part
DENSE: frozenset[Protocol] = frozenset({"alignment"})
NO_TWIN = "none: it has no classifier"


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

    Every video is decoded once for all protocols and networks (some training videos once more, to
    measure the twin's batch norm; for alignment, which takes other clips, all are). Three rows come
    out: trained; untrained, which is the better of two ways to treat batch norm, see
    :mod:`cvrl.evaluation.untrained`; and chance, which for labels is the best constant answer.
    Alignment adds the trained network behind its projection head, and two fixed answers.

    Args:
        encoder: as ``load_encoder`` gives it, with ``preprocess``, ``clip``, ``size`` and ``spec``.
        parts: the videos, see :func:`cvrl.evaluation.parts.read_parts`.
        protocols: knn and linear need labels on both parts, order_probe needs both parts, instance
            needs neither, alignment needs events seen by several cameras, classifier needs the
            model's own one and labels on the test part.
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
        CorruptVideoError: a video cannot be decoded. None is left out of a score.

    Example:
        >>> from cvrl import load_encoder
        >>> from cvrl.evaluation.parts import read_parts
        >>> encoder, parts = load_encoder("runs/x"), read_parts("videos")  # doctest: +SKIP
        >>> evaluate(encoder, parts, ["knn"])[0].row("trained").scores["top1"]  # doctest: +SKIP
        0.62
    """
    group_check = _check(parts, protocols, options, head)
    options = replace(options, shows=check_shows(options.shows))
    entered = {
        dense: _entrants(encoder, untrained, parts, protocols, options, reader, dense=dense)
        for dense in {protocol in DENSE for protocol in protocols}
    }
    weights = weights_sha256(encoder)
    about_motion = _about_motion(encoder, parts, options, reader)
    results = []
    for protocol in protocols:
        entrants, untrained_words = entered[protocol in DENSE]
        for show, train_show in pairings(options.shows, learns=protocol in FITTED):
            contestants = [entrant.shown(show, train_show) for entrant in entrants]
            contest = Contest(parts, options, contestants, head)
            outcome = RUN[protocol](contest)
            card = ProtocolCard(
                protocol=protocol,
                group_check=group_check,
                settings=outcome.settings,
                notes=[*outcome.notes, *(about_motion if show.endswith("blurred") else [])],
                untrained=NO_TWIN if protocol == "classifier" else untrained_words,
                weights_sha256=weights,
                show=show,
                train_show=train_show,
                **_about_data(contest, protocol),
                **_about_clips(encoder, options, dense=protocol in DENSE),
            )
            results.append(Result(card, outcome.rows))
    return results


def suitable_protocols(parts: Parts, asked: Sequence[str] | None = None) -> list[Protocol]:
    """What to run: what a user asked for, or what the videos suggest.

    Args:
        parts: the videos.
        asked: protocols by name. ``all`` stands for every one that scores what a video shows, not
            its order, and needs no classifier; alignment only for films of events. None leaves the
            choice: alignment for films of events, knn where both parts have labels, else instance.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> parts = Parts(make_manifest({"path": ["a.mp4"]}, root="/"))
        >>> suitable_protocols(parts), suitable_protocols(parts, ["all"])
        (['instance'], ['knn', 'linear', 'instance'])
    """
    has_events = "event" in parts.test.table.column_names
    if asked is not None:
        probes = {"order_probe", "classifier"} | (set() if has_events else {"alignment"})
        every = [p for p in PROTOCOLS if p not in probes]
        return every if "all" in asked else cast(list[Protocol], list(asked))
    if has_events:
        return ["alignment"]
    both = [] if parts.train is None else [parts.train, parts.test]
    labelled = all(len(part) and (part.label_ids >= 0).all() for part in both)
    return ["knn"] if both and labelled else ["instance"]


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
        _check_head(parts, head)
    labelled = LABELLED.intersection(protocols)
    if labelled or "classifier" in protocols:
        check_labels(parts.test_name, torch.from_numpy(parts.test.label_ids))
    if parts.train is None and (fitted := FITTED.intersection(protocols)):
        reason = f"there is no second part: {min(fitted)} learns from one and scores the other"
        raise UserError(parts.test_name, reason, "give --test, a split column or --hold-out 0.2")
    if parts.train is not None and labelled:
        check_labels(str(parts.train_name), torch.from_numpy(parts.train.label_ids))
    if parts.train is None:
        return "one part only"
    return check_groups(parts.train, parts.test, allow_leak=options.allow_group_leak)


def _check_head(parts: Parts, head: ClassHead | None) -> None:
    if head is None:
        reason = "the model was trained without labels and holds no classifier"
        raise UserError("protocol classifier", reason, "use --protocol knn linear")
    if head.multi_label:
        reason = "scores one class a video, and this model gives several"
        raise UserError("protocol classifier", reason, "use --protocol knn linear")
    labels_by_name(parts.test, head.class_names)


def _check_options(options: Options, protocols: Sequence[Protocol]) -> None:
    for name in ("clips_per_video", "k", "batch_videos"):
        if getattr(options, name) < 1:
            raise UserError(f"{name} = {getattr(options, name)}", "must be 1 or more", "raise it")
    if not 0 < options.temperature < float("inf"):
        raise UserError(f"temperature = {options.temperature}", "must be above 0", "0.07 is usual")
    if not 0 <= options.every_seconds < float("inf"):
        raise UserError(f"every_seconds = {options.every_seconds}", "must be 0 or more", "use 0")
    if "instance" in protocols and options.clips_per_video < 2:
        raise UserError("protocol instance", "needs two clips a video", "use --clips 2 or more")
    if "alignment" in protocols and len(check_shows(options.shows)) > 1:
        raise UserError("protocol alignment", "takes one show at a time", "give --show one name")
    if "order_probe" in protocols and options.clips_per_video < CLIPS:
        needed = f"use --clips {CLIPS} or more"
        raise UserError("protocol order_probe", f"needs {CLIPS} clips a video", needed)


def _entrants(
    encoder: Encoder,
    untrained: nn.Module | None,
    parts: Parts,
    protocols: Sequence[Protocol],
    options: Options,
    reader: VideoReader,
    *,
    dense: bool,
) -> tuple[list[Entrant], str]:
    """Features of the networks, and how the untrained row is made, in words."""
    shows = options.shows

    def clips(
        manifest: Manifest, shows: Sequence[Show] = shows, every: float | None = None
    ) -> EvalDataset:
        """The clips of a part, spread over each video or every so many seconds."""
        how: dict[str, Any] = {"every_seconds": every, "reader": reader}
        how |= {"shows": shows, "seed": options.seed}
        return EvalDataset(manifest, encoder.clip, options.clips_per_video, transform, **how)

    transform = transform_of(encoder)
    how: dict[str, Any] = {"batch_videos": options.batch_videos, "workers": options.workers}
    if set(protocols) == {"classifier"}:
        twins, words = {}, NO_TWIN
    elif untrained is not None:
        twins, words = {"as given": untrained}, "a network that was given for it"
    else:
        measured_on = clips(parts.test if parts.train is None else parts.train, shows[:1])
        device = module_device(encoder)
        twins, words = untrained_twins(encoder.spec, measured_on, options.seed, device, **how)
    networks = [encoder, *twins.values()]
    test = clips(parts.test)
    if dense:
        test, how["batch_videos"] = clips(parts.test, every=options.every_seconds), 1
    tests = extract_together(networks, test, description="test part", **how)
    trains: list[Features | None] = [None] * len(networks)
    if parts.train is not None and not dense and FITTED.intersection(protocols):
        train = clips(parts.train)
        trains = [*extract_together(networks, train, description="training part", **how)]
    names = [("trained", ""), *(("untrained", norm) for norm in twins)]
    entrants = [
        Entrant(name, norm, by_show(test, shows), by_show(train, shows))
        for (name, norm), test, train in zip(names, tests, trains, strict=True)
    ]
    if dense and encoder.projector is not None:
        projected = by_show(project(encoder, tests[0]), shows)
        entrants.insert(1, Entrant("projected", "", projected, {}))
    return entrants, words


def _about_motion(
    encoder: Encoder, parts: Parts, options: Options, reader: VideoReader
) -> list[str]:
    """A note for the shows that blur: how much of the picture they take for moving."""
    if not any(show.endswith("blurred") for show in options.shows):
        return []
    return [
        moving_note(EvalDataset(parts.test, encoder.clip, 1, transform_of(encoder), reader=reader))
    ]


def _about_data(contest: Contest, protocol: Protocol) -> dict[str, Any]:
    parts, fitted = contest.parts, protocol in FITTED
    labelled = protocol in LABELLED or protocol == "classifier"
    return {
        "test": parts.test_name,
        "train": parts.train_name if fitted else None,
        "n_classes": len(parts.test.class_names) if labelled else None,
        "n_listed": len(parts.test),
        "n_scored": contest.contestants[0].test.n_scored,
        "n_train": len(parts.train) if fitted and parts.train is not None else 0,
    }


def _about_clips(encoder: Encoder, options: Options, *, dense: bool) -> dict[str, Any]:
    return {
        "clips_per_video": None if dense else options.clips_per_video,
        "clip_frames": encoder.clip.frames,
        "clip_stride": encoder.clip.stride,
        "short_video": encoder.clip.short_video,
        "size": encoder.size,
        "stage": "pooled",
        "encoder": dict(encoder.spec),
        "seed": options.seed,
    }
