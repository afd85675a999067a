"""One function from an encoder and a data set to results with their cards."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

from torch import nn

from cvrl.data.dataset import VideoReader
from cvrl.data.perturbations import Perturbation, check_perturbations
from cvrl.data.splits import Parts
from cvrl.evaluation.card import WARNING, ProtocolCard, Result, Row, percent
from cvrl.evaluation.card_facts import (
    about_classifier,
    about_clips,
    about_data,
    about_encoders,
    about_folds,
    marked_bad,
)
from cvrl.evaluation.checks import (
    FITTED,
    PROTOCOLS,
    Protocol,
    check_joined,
    checked,
    suitable_protocols,
)
from cvrl.evaluation.diagnostics.perturbation_table import moving_note, pairings
from cvrl.evaluation.encoders import (
    BASELINES,
    ClipRequest,
    EncodersUnderTest,
    Entry,
    Member,
    clips_of,
)
from cvrl.evaluation.features.extraction import module_device
from cvrl.evaluation.features.stages import POOLED
from cvrl.evaluation.protocols.base import RUN as SIMPLE
from cvrl.evaluation.protocols.base import Options, Outcome, ProtocolInputs
from cvrl.evaluation.protocols.classifier_protocol import NO_BASELINE, run_classifier
from cvrl.evaluation.protocols.label_protocols import run_knn, run_linear
from cvrl.evaluation.protocols.retrieval_protocol import retrieval_intake, run_retrieval
from cvrl.evaluation.protocols.tags_protocol import run_tags
from cvrl.evaluation.random_init import random_init_encoders
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead

__all__ = ["PROTOCOLS", "Options", "Protocol", "evaluate", "suitable_protocols"]

RUN: dict[str, Callable[[ProtocolInputs], Outcome]] = {
    **SIMPLE,
    "knn": run_knn,
    "linear": run_linear,
    "retrieval": run_retrieval,
    "linear_tags": run_tags,
    "classifier": run_classifier,
}
READER = VideoReader()
OPTIONS = Options()


def evaluate(
    encoder: Encoder,
    parts: Parts,
    protocols: Sequence[Protocol] = ("knn",),
    options: Options = OPTIONS,
    *,
    untrained: nn.Module | None = None,
    reader: VideoReader = READER,
    head: ClassHead | None = None,
    joined: Sequence[Encoder] = (),
) -> list[Result]:
    """Score an encoder, and its random-init baseline beside it, by one or several protocols.

    Every video is decoded once for all networks, and for all protocols that take the same clips
    (some training videos once more, to measure the batch norm of the random init; alignment and
    the published recipes of retrieval take other clips). Three rows come out: trained; untrained,
    the random init, with the better of two ways to treat batch norm, see
    :mod:`cvrl.evaluation.random_init`; and chance,
    which for labels is the best constant answer. Alignment adds the trained network behind its
    projection head, and two fixed answers; classifier has no random-init row.

    Args:
        encoder: as ``load_encoder`` gives it, with ``preprocess``, ``clip``, ``size`` and ``spec``.
        parts: the videos, see :func:`cvrl.data.splits.read_splits`.
        protocols: knn, linear, retrieval and linear_tags (for labels that are tags, ``sea+surf``)
            need labels on both parts, order_probe needs both parts, instance needs neither,
            alignment needs events seen by several cameras, classifier needs the model's own one and
            labels on the test part.
        options: how.
        untrained: a network for the random-init row, taken as it is; made from ``encoder.spec``
            when left out.
        reader: how files are opened.
        head: the classifier that was trained with the encoder.
        joined: further encoders, whose features are put behind those of ``encoder``, each brought
            to length 1; they may take other clips.

    Returns:
        One result a protocol, stage and perturbation, in the order asked. Where plain clips are
        among several perturbations, a protocol that learns gives two results for each other: taught
        on clips perturbed alike (what can be told from them), and on plain ones (what it uses).

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
    perturbations = check_perturbations(options.perturbations)
    options = replace(options, perturbations=perturbations, stages=tuple(options.stages))
    check_joined(protocols, options, [encoder, *joined])
    parts, checks = checked(parts, protocols, options, head)
    members, untrained_words = [Member(encoder, {})], NO_BASELINE
    if set(protocols) != {"classifier"}:
        members, untrained_words = _members(encoder, joined, untrained, parts, options, reader)
    encoders_under_test = EncodersUnderTest(members, parts, options, reader, head)
    entries = _entries(encoders_under_test, protocols, options)
    notes_on = _about_shows(encoder, parts, options, reader)
    results = []
    for protocol in protocols:
        request = _intake(protocol, options)
        facts = checks | about_data(parts, entries[request], protocol)
        facts |= about_folds(entries[request], options) | {"untrained": untrained_words}
        facts |= about_clips(encoder, options, request) | about_encoders([encoder, *joined])
        facts |= about_classifier(encoder, head) if protocol == "classifier" else {}
        pairs = pairings(options.perturbations, learns=protocol in FITTED)
        for stage, (perturbation, train_show) in product(options.stages, pairs):
            facts |= {} if options.stages == POOLED else {"stage": stage}
            outcome = RUN[protocol](entries[request].inputs[stage, perturbation, train_show])
            warned = _below_baselines(outcome.rows)
            notes = [*outcome.notes, *notes_on[perturbation], *marked_bad(parts), *warned]
            facts |= {"show": perturbation, "train_show": train_show, "variant": outcome.variant}
            facts |= {"settings": outcome.settings, "notes": notes}
            results.append(Result(ProtocolCard(protocol=protocol, **facts), outcome.rows))
    return results


def _entries(
    encoders_under_test: EncodersUnderTest, protocols: Sequence[Protocol], options: Options
) -> dict[ClipRequest, Entry]:
    """What the protocols work on, by what they take of each video."""
    wanted: dict[ClipRequest, list[Protocol]] = {}
    for protocol in protocols:
        wanted.setdefault(_intake(protocol, options), []).append(protocol)
    return {
        request: encoders_under_test.enter(request, train=bool(FITTED.intersection(asking)))
        for request, asking in wanted.items()
    }


def _members(
    encoder: Encoder,
    joined: Sequence[Encoder],
    untrained: nn.Module | None,
    parts: Parts,
    options: Options,
    reader: VideoReader,
) -> tuple[list[Member], str]:
    """Each encoder with its networks of the random-init row, and how they are made, in words."""
    if untrained is not None:
        if joined:
            raise ValueError("untrained goes with a single encoder")
        return [Member(encoder, {"as given": untrained})], "a network that was given for it"
    request = ClipRequest(options.clips_per_video)
    first = replace(options, perturbations=options.perturbations[:1])
    members, words = [], []
    for seed, one in enumerate([encoder, *joined], start=options.seed):
        networks, described = random_init_encoders(
            one.spec,
            clips_of(parts.train or parts.test, one, request, first, reader),
            seed,
            module_device(one),
            batch_videos=options.batch_videos,
            workers=options.workers,
        )
        members.append(Member(one, networks))
        words.append(described)
    return members, "; joined with ".join(words)


def _intake(protocol: Protocol, options: Options) -> ClipRequest:
    """What a protocol takes of each video."""
    if protocol == "alignment":
        return ClipRequest(None, every_seconds=options.every_seconds, project=True)
    if protocol == "retrieval":
        return retrieval_intake(options.retrieval, options.clips_per_video)
    return ClipRequest(options.clips_per_video)


def _about_shows(
    encoder: Encoder, parts: Parts, options: Options, reader: VideoReader
) -> dict[Perturbation, list[str]]:
    """Notes on each perturbation: of those that blur, the share of the picture that moves."""
    notes: dict[Perturbation, list[str]] = {name: [] for name in options.perturbations}
    blurred = [name for name in options.perturbations if name.endswith("blurred")]
    if blurred:
        plain = replace(options, perturbations=("plain",))
        note = moving_note(clips_of(parts.test, encoder, ClipRequest(1), plain, reader))
        notes |= {name: [note] for name in blurred}
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
