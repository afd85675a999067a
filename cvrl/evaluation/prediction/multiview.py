"""Classifiers on many views of each video: clips spread over it, crops over its frames.

The answer for a video is the mean of the probabilities over its views, and over the classifiers of
an ensemble, as in Feichtenhofer et al., SlowFast (arXiv 1812.03982) and CVRL (arXiv 2008.03800),
whose tests take 10 clips x 3 crops. Deviations: the last clip reaches the end of the video, and all
views come out of one decode.

Shape suffixes: V videos, N clips, R crops, M views of a batch, K classes; C, T, H, W of a clip.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from cvrl.data.dataset import VideoReader
from cvrl.data.manifest import Manifest
from cvrl.data.splits import Parts, check_groups, labelled_only
from cvrl.evaluation.card import ProtocolCard, Result
from cvrl.evaluation.card_facts import about_size, sha256_of_all
from cvrl.evaluation.features.clip_stream import ClipChoice, whole_videos
from cvrl.evaluation.features.extraction import evaluating, module_device, transform_of
from cvrl.evaluation.missing import Account, account_for
from cvrl.evaluation.prediction.predictions import Predictions
from cvrl.evaluation.prediction.view_stream import Lens, ViewPiece, ViewStream, view_loader
from cvrl.evaluation.protocols.classifier_protocol import NO_BASELINE, score_answers, truth_of
from cvrl.evaluation.random_init import weights_sha256
from cvrl.models.classifier import Classifier
from cvrl.transforms.crops import crops_of
from cvrl.utils.errors import UserError
from cvrl.utils.log import track

READER = VideoReader()
VIEWS_AT_ONCE = 8  # encoded together, for each video of a batch


@dataclass(frozen=True)
class VideoAnswer:
    """What classifiers say of one video, clip by clip.

    Attributes:
        row: of the video in the list.
        probability_NK: of each clip, the mean over its crops and the classifiers; empty where the
            video is bad.
        start_N: start of each clip in seconds of the video.
        end_N: end of each clip's last frame in seconds.
        bad: why the video cannot be used.
    """

    row: int
    probability_NK: Tensor
    start_N: Tensor
    end_N: Tensor
    bad: str | None = None

    @property
    def probability_K(self) -> Tensor:
        """The mean over the clips."""
        return self.probability_NK.mean(dim=0)


def answer_videos(
    classifiers: Sequence[Classifier],
    manifest: Manifest,
    choice: ClipChoice,
    *,
    crops: int = 3,
    reader: VideoReader = READER,
    batch_videos: int = 1,
    workers: int = 0,
    name_bad: bool = False,
    description: str = "views",
) -> Iterator[VideoAnswer]:
    """Answer for each video of a list, decoding it once for all its views and all classifiers.

    Memory holds the decoded frames of a piece of a video, see
    :mod:`cvrl.evaluation.prediction.view_stream`, and a few views at a time.

    Args:
        classifiers: of the same classes, each with clips and a size of its own.
        manifest: the videos.
        choice: which clips of a video.
        crops: 1 is the centre, 3 lie along the longer side.
        reader: how files are opened.
        batch_videos: videos whose views are encoded together.
        workers: loader processes; 0 decodes in this one.
        name_bad: answer with the reason for a video that cannot be decoded, and go on.
        description: the words on the progress bar.

    Yields:
        An answer a video, in the order of the list; with workers some may overtake others.

    Raises:
        CorruptVideoError: a video cannot be decoded, unless ``name_bad``.
        UserError: classifiers of different classes, another number of crops, no videos.
    """
    names = shared_names(classifiers)
    if len(manifest) == 0:
        raise UserError("the list of videos", "is empty", "check the list and its split column")
    lens_of = [_lens(classifier, crops) for classifier in classifiers]
    lenses = list(dict.fromkeys(lens_of))  # classifiers that look alike share their frames
    entered = [
        _Entered(
            classifier, lenses.index(lens), lens, [classifier.class_names.index(n) for n in names]
        )
        for classifier, lens in zip(classifiers, lens_of, strict=True)
    ]
    stream = ViewStream(manifest, lenses, choice, reader=reader, name_bad=name_bad)
    pieces = view_loader(stream, workers)
    with evaluating(*classifiers), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        answered = _answered(pieces, entered, batch_videos)
        for one in track(whole_videos(answered), len(manifest), description):
            yield VideoAnswer(one.row, one.vectors_ND, one.start_N, one.end_N, one.bad)


def evaluate_classifier(
    classifiers: Sequence[Classifier],
    parts: Parts,
    *,
    clips: int = 10,
    crops: int = 3,
    reader: VideoReader = READER,
    batch_videos: int = 1,
    workers: int = 0,
    allow_group_leak: bool = False,
    allow_missing: bool = False,
) -> tuple[Result, Predictions]:
    """Score a classifier, or an ensemble of several, on a test part.

    Args:
        classifiers: of the same classes, each with clips and a size of its own.
        parts: the test part is scored; a training part is only held against it.
        clips: spread evenly over each video, the last one reaching its end.
        crops: 1 is the centre, 3 lie along the longer side.
        reader: how files are opened.
        batch_videos: videos whose views are encoded together.
        workers: loader processes; 0 decodes in this one.
        allow_group_leak: score parts that share a source group, and say so on the card.
        allow_missing: count videos that cannot be decoded on the card, instead of failing.

    Returns:
        Rows trained and chance (the best constant answer), and what was answered for each video.
        The scores are top1, top5 and mean_class; map for classifiers of several labels a video.

    Raises:
        UserError: labels are missing or unknown to the classifier, parts share groups, classifiers
            differ in their classes.
        CorruptVideoError: a video cannot be decoded, and that is not allowed. None is left out of
            a score unseen.

    Example:
        >>> from cvrl import load_classifier
        >>> from cvrl.data.splits import read_splits
        >>> classifier, parts = load_classifier("runs/x"), read_splits("videos")  # doctest: +SKIP
        >>> result, _ = evaluate_classifier([classifier], parts)  # doctest: +SKIP
        >>> result.row("trained").scores["top1"]  # doctest: +SKIP
        0.62
    """
    names = shared_names(classifiers)
    parts, unlabelled = labelled_only(parts)
    test, multi_label = parts.test, classifiers[0].head.multi_label
    group_check = "one part only"
    if parts.train is not None:
        group_check = check_groups(parts.train, test, allow_leak=allow_group_leak)
    truth_V = truth_of(test, names, multi_label=multi_label)
    how: dict[str, Any] = {"reader": reader, "batch_videos": batch_videos, "workers": workers}
    how |= {"crops": crops, "name_bad": allow_missing}
    answers = sorted(
        answer_videos(classifiers, test, ClipChoice(clips=clips), **how), key=lambda one: one.row
    )
    account, probability_VK = _account_for(answers, test)
    predictions = Predictions(
        class_names=names,
        paths=account.manifest.paths,
        labels=account.manifest.table["label"].to_pylist(),
        probability_VK=probability_VK,
        multi_label=multi_label,
    )
    card = ProtocolCard(
        protocol="classifier",
        n_classes=len(names),
        n_scored=len(account.row_V),
        n_missing=len(account.bad),
        missing=account.names,
        group_check=group_check,
        clips_per_video=clips,
        crops_per_clip=crops,
        **unlabelled,
        **_about_data(parts),
        **_about_classifiers(classifiers),
    )
    return Result(card, score_answers(predictions, truth_V[account.row_V])), predictions


def shared_names(classifiers: Sequence[Classifier]) -> list[str]:
    """The classes of an ensemble, in the order of its first classifier.

    Args:
        classifiers: one or more.

    Raises:
        UserError: they differ in their classes, or in whether a video may have several.

    Example:
        >>> shared_names([])
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: classifiers: there are none; give at least one
    """
    if not classifiers:
        raise UserError("classifiers", "there are none", "give at least one")
    first, kind = classifiers[0].class_names, classifiers[0].head.multi_label
    for number, other in enumerate(classifiers[1:], start=2):
        odd = sorted(set(first) ^ set(other.class_names))
        if odd:
            reason = f"differs from the first in its classes: {', '.join(odd[:5])}"
            raise UserError(f"classifier {number}", reason, "average classifiers of one data set")
        if other.head.multi_label != kind:
            reason = "differs from the first in whether a video may have several classes"
            raise UserError(f"classifier {number}", reason, "average classifiers of one kind")
    return first


@dataclass(frozen=True)
class _Entered:
    """A classifier, which of the lenses it looks through, and where its classes are."""

    classifier: Classifier
    place: int
    lens: Lens
    columns: list[int]

    def answer(self, pieces: Sequence[ViewPiece], at_once: int) -> Tensor:
        """Probabilities (N, K) of all clips of some pieces, the mean over the crops of each."""
        device = module_device(self.classifier)
        views = chain.from_iterable(
            piece.seen[self.place].views(self.lens.crops, device) for piece in pieces
        )
        answers: list[Tensor] = []
        for crops in _chunks(views, at_once):
            probability_MK = self.classifier(torch.cat(crops))[:, self.columns].float().cpu()
            of_clips = torch.split(probability_MK, [len(crops_RCTHW) for crops_RCTHW in crops])
            answers += [probability_RK.mean(dim=0) for probability_RK in of_clips]
        return torch.stack(answers)


def _lens(classifier: Classifier, crops: int) -> Lens:
    transform = transform_of(classifier.encoder)
    return Lens(classifier.encoder.clip, crops_of(transform, crops))


def _chunks(views: Iterable[Tensor], at_once: int) -> Iterator[list[Tensor]]:
    """Gather the crops (R, C, T, S, S) of several clips until there are so many of them."""
    chunk: list[Tensor] = []
    for crops_RCTHW in views:
        chunk.append(crops_RCTHW)
        if sum(map(len, chunk)) >= at_once:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _answered(
    pieces: Iterable[ViewPiece], entered: Sequence[_Entered], batch_videos: int
) -> Iterator[tuple[ViewPiece, Tensor]]:
    """Each piece with the probabilities (N, K) of its clips, the mean over the classifiers."""
    at_once = VIEWS_AT_ONCE * batch_videos
    batch: list[ViewPiece] = []
    for piece in pieces:
        batch.append(piece)
        if len(batch) >= batch_videos:
            yield from _answer_batch(batch, entered, at_once)
            batch = []
    yield from _answer_batch(batch, entered, at_once)


def _answer_batch(
    batch: Sequence[ViewPiece], entered: Sequence[_Entered], at_once: int
) -> Iterator[tuple[ViewPiece, Tensor]]:
    probability_NK = torch.zeros(0, 1)
    good = [piece for piece in batch if piece.bad is None]
    if good:
        each = [one.answer(good, at_once) for one in entered]
        probability_NK = torch.stack(each).mean(dim=0)
    parts = torch.split(probability_NK, [len(piece.start_N) for piece in batch])
    yield from zip(batch, parts, strict=True)


def _account_for(answers: Sequence[VideoAnswer], test: Manifest) -> tuple[Account, Tensor]:
    """Which videos have an answer, and their probabilities (V, K); all must be finite."""
    good = [answer for answer in answers if answer.bad is None]
    bad = [(test.path(answer.row), answer.bad) for answer in answers if answer.bad is not None]
    account = account_for(test, torch.tensor([answer.row for answer in good]), bad)
    probability_VK = torch.stack([answer.probability_K for answer in good])
    for answer, probability_K in zip(good, probability_VK, strict=True):
        if not bool(torch.isfinite(probability_K).all()):
            reason, remedy = "its probabilities are not finite", "use an earlier checkpoint"
            raise UserError(test.path(answer.row), reason, remedy)
    return account, probability_VK


def _about_data(parts: Parts) -> dict[str, Any]:
    return {
        "test": parts.test_name,
        "train": parts.train_name if parts.train is not None else None,
        "n_listed": len(parts.test),
        "n_train": 0 if parts.train is None else len(parts.train),
    }


def _about_classifiers(classifiers: Sequence[Classifier]) -> dict[str, Any]:
    """The first classifier's clips and network; the others of an ensemble are in the notes."""
    first = classifiers[0].encoder
    weights = [weights_sha256(classifier) for classifier in classifiers]
    members = [
        f"ensemble: {digest[:16]}, {one.encoder.spec['name']}, {one.encoder.clip.frames} frames, "
        f"stride {one.encoder.clip.stride}, {one.encoder.size} pixels"
        for one, digest in zip(classifiers, weights, strict=True)
    ]
    return {
        "clip_frames": first.clip.frames,
        "clip_stride": first.clip.stride,
        "short_video": first.clip.short_video,
        **about_size(first),
        "crop_bars": first.clip.crop_bars,
        "stage": "classifier",
        "settings": {"answer": "mean probability of the views", "classifiers": len(classifiers)},
        "seed": 0,
        "encoder": dict(first.spec),
        "weights_sha256": sha256_of_all(weights),
        "untrained": NO_BASELINE,
        "notes": members if len(classifiers) > 1 else [],
    }
