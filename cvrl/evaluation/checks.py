"""Which protocols there are, and what each refuses before a video is decoded."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from cvrl.data.leave_one_out import check_leave_one_out
from cvrl.data.splits import Parts, check_groups, labelled_only
from cvrl.data.tags import SEPARATOR
from cvrl.evaluation.features.extraction import STAGES
from cvrl.evaluation.protocols.alignment import check_events
from cvrl.evaluation.protocols.base import Options
from cvrl.evaluation.protocols.classifier_protocol import check_classifier
from cvrl.evaluation.protocols.knn import check_labels
from cvrl.evaluation.protocols.order_probe import CLIPS
from cvrl.evaluation.protocols.retrieval import RECIPES
from cvrl.models.heads import ClassHead
from cvrl.utils.errors import UserError

Protocol = Literal[
    "knn", "linear", "retrieval", "linear_tags", "instance", "order_probe", "alignment",
    "classifier",
]  # fmt: skip
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
LABELLED: frozenset[Protocol] = frozenset({"knn", "linear", "retrieval", "linear_tags"})
FITTED: frozenset[Protocol] = LABELLED | {"order_probe"}  # they learn from a training part
NEIGHBOURS: frozenset[Protocol] = frozenset({"knn", "retrieval"})
PROBES: frozenset[Protocol] = frozenset({"order_probe", "alignment"})  # of order, not of content
OWN: frozenset[Protocol] = frozenset({"classifier"})  # not every model has what they need
FOLDED: frozenset[Protocol] = frozenset({"knn", "linear"})  # they can leave one value out
ONE_LABEL: frozenset[Protocol] = frozenset({"knn", "linear", "retrieval"})


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


def checked(
    parts: Parts, protocols: Sequence[Protocol], options: Options, head: ClassHead | None
) -> tuple[Parts, dict[str, Any]]:
    """The videos that protocols score, after a look at whether they can.

    Args:
        parts: the videos, labelled or not.
        protocols: by name.
        options: how they are run.
        head: the classifier of the trained network, or None.

    Returns:
        The videos without those that lack a needed label; under ``leave_one_out`` the test part is
        the training part too. And fields of the card: how many were left out, and what the two
        parts have in common.

    Raises:
        UserError: see :func:`cvrl.evaluation.evaluate.evaluate`.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> checked(Parts(make_manifest({"path": ["a.mp4"]}, root="/")), ["knn"], Options(), None)
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: test: 1 of 1 videos have no label to score by; use --protocol \
instance, which needs none, or give labels
    """
    by_label = LABELLED.union(OWN).intersection(protocols)
    listed = parts
    parts, facts = labelled_only(parts) if by_label else (parts, dict[str, Any]())
    if options.leave_one_out is not None:
        parts = replace(parts, train=parts.test, train_name=parts.test_name)
    _check_protocols(protocols)
    _check_options(options, protocols)
    _check_labels(parts, protocols, head)
    if options.leave_one_out is not None:
        group_check = _check_folds(listed, options.leave_one_out, protocols, options)
    else:
        group_check = _check_groups(parts, protocols, options)
    return parts, {**facts, "group_check": group_check}


def check_joined(
    protocols: Sequence[Protocol], options: Options, encoders: Sequence[nn.Module]
) -> None:
    """Refuse what cannot be asked of several encoders whose features are joined.

    Args:
        protocols: by name.
        options: how they are run.
        encoders: one, or those that are joined.

    Raises:
        UserError: clips that lie densely, of which encoders of other clips take another number; a
            classifier; inner stages; or black bars that only some cut off.

    Example:
        >>> check_joined(["alignment"], Options(), [nn.Identity(), nn.Identity()])
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: --join: alignment takes a clip at every moment, as many as an \
encoder's clips allow; score the encoders one by one
    """
    if len(encoders) < 2:
        return
    if "alignment" in protocols or ("retrieval" in protocols and options.retrieval == "coclr"):
        what = "alignment" if "alignment" in protocols else "retrieval as CoCLR"
        reason = f"{what} takes a clip at every moment, as many as an encoder's clips allow"
        raise UserError("--join", reason, "score the encoders one by one")
    if "classifier" in protocols:
        reason = "joins features, and a classifier answers by those it was trained on"
        raise UserError("--join", reason, "average the answers with tools/test_net.py --join")
    if options.stages != ("pooled",):
        raise UserError("--join", "goes with the encoders' own features", "leave --stage out")


def _check_protocols(protocols: Sequence[Protocol]) -> None:
    unknown = [p for p in protocols if p not in PROTOCOLS]
    if unknown or not protocols:
        asked = ", ".join(unknown) or "none"
        raise UserError(f"protocol {asked}", "is not known", f"use {', '.join(PROTOCOLS)}")


def _check_labels(parts: Parts, protocols: Sequence[Protocol], head: ClassHead | None) -> None:
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


def _check_groups(parts: Parts, protocols: Sequence[Protocol], options: Options) -> str:
    if parts.train is None:
        return "one part only"
    apart = options.leave_same_group_out and NEIGHBOURS.issuperset(protocols)
    found = check_groups(parts.train, parts.test, allow_leak=apart or options.allow_group_leak)
    return f"no neighbours of a query's own group; {found}" if apart else found


def _check_folds(
    listed: Parts, column: str, protocols: Sequence[Protocol], options: Options
) -> str:
    other = [protocol for protocol in protocols if protocol not in FOLDED]
    if other:
        reason = f"goes with {' and '.join(sorted(FOLDED))}, not with {other[0]}"
        raise UserError("--leave-one-out", reason, f"use --protocol {' '.join(sorted(FOLDED))}")
    if listed.train is not None and listed.train is not listed.test:
        reason = "scores every row of one list, and there are two parts"
        raise UserError("--leave-one-out", reason, "give --train alone")
    return check_leave_one_out(listed.test, column, allow_leak=options.allow_group_leak)


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
    _check_stages(options, protocols)
    if "alignment" in protocols and len(options.perturbations) > 1:
        reason = "takes one perturbation at a time"
        raise UserError("protocol alignment", reason, "give --perturb one name")
    if "order_probe" in protocols and options.clips_per_video < CLIPS:
        needed = f"use --clips {CLIPS} or more"
        raise UserError("protocol order_probe", f"needs {CLIPS} clips a video", needed)


def _check_stages(options: Options, protocols: Sequence[Protocol]) -> None:
    known = [stage for stage in STAGES if stage != "projected"]
    if unknown := [stage for stage in options.stages if stage not in known]:
        raise UserError(f"--stage {unknown[0]}", "is no stage", f"use {', '.join(known)}")
    if options.stages == ("pooled",):
        return
    if not options.stages or len(set(options.stages)) < len(options.stages):
        raise UserError("--stage", "names none, or one twice", "name each stage once")
    if "classifier" in protocols:
        raise UserError("--stage", "a classifier answers by its own feature", "use knn or linear")
    if "retrieval" in protocols and options.retrieval != "default":
        reason = f"the recipe {options.retrieval} of retrieval says which stage"
        raise UserError("--stage", reason, "use --retrieval default")
