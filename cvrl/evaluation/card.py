"""The protocol card: what a number means, kept with the number."""

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from cvrl import __version__
from cvrl.data.perturbations import TITLES as SHOW_TITLES
from cvrl.data.perturbations import Perturbation
from cvrl.evaluation.metrics import METRICS
from cvrl.utils.io import atomic_path

logger = logging.getLogger("cvrl")
SCORE_TITLES = {name: metric.title for name, metric in METRICS.items()}
WARNING = "WARNING: "
"""How a note begins that is shown right below the scores."""


@dataclass(frozen=True, kw_only=True)
class ProtocolCard:
    """Everything that changes what a score means.

    Attributes:
        protocol: knn, linear, retrieval, classifier or what else gave the number.
        test: where the scored videos came from.
        train: where the labelled ones came from; None where none are needed.
        n_classes: classes of the data set; None where labels are not used.
        n_listed: videos in the test list.
        n_unlabelled: videos of the test split left out for want of a label; not in ``n_listed``.
        n_train_unlabelled: the same of the training split.
        n_scored: videos scored; with ``n_missing`` always equal to ``n_listed``.
        n_train: videos of the training part that were learned from.
        group_check: whether the parts share a source group or a file, and how that was found out.
        clips_per_video: clips spread over each video; labels are predicted from their mean feature.
            None where they lie densely, as ``settings`` say.
        crops_per_clip: spatial crops; 1 is the centre, 3 lie along the longer side.
        crop_bars: whether black bars at the sides of the videos were cut off.
        show: what the scored clips show, see :mod:`cvrl.data.perturbations`.
        train_show: what the clips show that a probe learns from; None where none does. Where it is
            the same as ``show``, the score says what can be told from it; where it is plain and
            ``show`` is not, what a probe goes by that was taught on plain clips.
        clip_frames: frames a clip.
        clip_stride: frames of the video from one clip frame to the next.
        short_video: loop or repeat.
        size: height and width of a clip in pixels.
        short_side: of the frames that it was cut from; 0: the same.
        stage: of the encoder, see :class:`cvrl.evaluation.protocols.base.Options`.
        settings: of the protocol: k and temperature, or scaling and l2 grid.
        seed: of the random weights and of the folds.
        encoder: what ``build_encoder`` takes.
        weights_sha256: of the trained weights, see
            :func:`cvrl.evaluation.random_init.weights_sha256`.
        untrained: how the random-init row was made.
        notes: what else a reader should know.
        cvrl_version: that made the number.
        variant: of the protocol, where it has several that must not be mixed.
        n_missing: videos of the test list that could not be decoded, where that was allowed.
        missing: path and reason of the first few of them.
        n_train_missing: the same for the training list.
        train_missing: path and reason of the first few.
        leave_one_out: column of the list whose values were held out one at a time; empty where a
            test split was scored. ``n_train`` is then that of the fold with the fewest.
        n_folds: values that were held out.
        test_list: what the test list holds, see :func:`cvrl.data.splits.list_sha256`; empty on
            cards from before it was kept, as is the next.
        train_list: the same of the training list.

    Raises:
        ValueError: videos that were neither scored nor counted as missing.
    """

    protocol: str
    test: str
    train: str | None
    n_classes: int | None
    n_listed: int
    n_scored: int
    n_train: int
    group_check: str
    clips_per_video: int | None
    clip_frames: int
    clip_stride: int
    short_video: str
    size: int
    stage: str
    settings: dict[str, Any]
    seed: int
    encoder: dict[str, Any]
    weights_sha256: str
    untrained: str
    crops_per_clip: int = 1
    crop_bars: bool = False
    short_side: int = 0
    show: Perturbation = "plain"
    train_show: Perturbation | None = None
    notes: list[str] = field(default_factory=list)
    cvrl_version: str = __version__
    variant: str = ""
    n_missing: int = 0
    missing: list[str] = field(default_factory=list)
    n_train_missing: int = 0
    n_unlabelled: int = 0
    n_train_unlabelled: int = 0
    train_missing: list[str] = field(default_factory=list)
    leave_one_out: str = ""
    n_folds: int = 0
    test_list: str = ""
    train_list: str = ""

    def __post_init__(self) -> None:
        if self.n_scored + self.n_missing != self.n_listed:
            raise ValueError(
                f"{self.n_scored} videos scored, {self.n_missing} missing, {self.n_listed} listed"
            )

    @property
    def inner_stage(self) -> str:
        """The stage whose map was averaged; empty where the feature is the encoder's own."""
        return self.stage if self.stage.startswith("res") and self.stage.isalnum() else ""

    @property
    def joined(self) -> list[dict[str, Any]]:
        """The encoders whose features were joined; empty where there was one."""
        return list(self.encoder.get("joined", []))

    @property
    def cross_validation(self) -> str:
        """How the list was cut into folds, in words; empty where a test split was scored."""
        folds = f"leave one {self.leave_one_out} out, {self.n_folds} folds"
        return folds if self.leave_one_out else ""

    @property
    def taught_plain(self) -> bool:
        """Whether a probe has learned from plain clips and is scored on others."""
        return self.train_show == "plain" != self.show


@dataclass(frozen=True)
class Row:
    """One line of a result.

    Attributes:
        name: trained, untrained (random init), chance, or what else a protocol compares with.
        scores: shares in [0, 1] by name; None where the protocol does not define it.
        details: what else was measured: monitors of the features, the chosen l2.
    """

    name: str
    scores: dict[str, float | None]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """The rows of one protocol with the card that says what they mean.

    Example:
        >>> result = Result(example_card(), [Row("trained", {"top1": 0.5})])
        >>> result.row("trained").scores["top1"]
        0.5
    """

    card: ProtocolCard
    rows: list[Row]

    def row(self, name: str) -> Row:
        """Return the row of that name.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def write(self, folder: str | PathLike[str]) -> Path:
        """Write it, whole or not at all, under a name that says what it scored.

        Returns:
            The file: ``<protocol>.json`` or ``<protocol>_<variant>.json``; before the suffix
            ``_<stage>`` of an inner stage, ``_joined`` of several encoders,
            ``_leave_one_<column>_out`` under cross-validation, ``_<show>`` where the clips do not
            show the plain video, ``_taught_plain`` where only the training clips do, and
            ``_list_<hash>`` where a score on another list has that name.
        """
        card = self.card
        variant = f"_{card.variant}" if card.variant else ""
        show = "" if card.show == "plain" else f"_{card.show}"
        taught = "_taught_plain" if card.taught_plain else ""
        stage = f"_{card.inner_stage}" if card.inner_stage else ""
        stage += "_joined" if card.joined else ""
        column = re.sub(r"\W+", "-", card.leave_one_out)
        folds = f"_leave_one_{column}_out" if column else ""
        path = Path(folder) / f"{card.protocol}{variant}{stage}{folds}{show}{taught}.json"
        if _is_of_other_lists(path, card):
            lists = hashlib.sha256((card.test_list + card.train_list).encode()).hexdigest()
            path = path.with_name(f"{path.stem}_list_{lists[:8]}.json")
            logger.info("%s: on another list than the score that is there", path)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", "utf-8")
        return path


def read_result(path: str | PathLike[str]) -> Result:
    """Read what :meth:`Result.write` wrote.

    Example:
        >>> import tempfile
        >>> result = Result(example_card(), [Row("chance", {"top1": 0.25})])
        >>> read_result(result.write(tempfile.mkdtemp())) == result
        True
    """
    data = json.loads(Path(path).read_text("utf-8"))
    card = data["card"]
    if "show" not in card:  # as cards said it before there were other shows
        card["show"] = "still" if card.pop("still", False) else "plain"
        learned = card["train"] is not None and card["protocol"] != "classifier"
        card["train_show"] = card["show"] if learned else None
    return Result(ProtocolCard(**card), [Row(**row) for row in data["rows"]])


def _is_of_other_lists(path: Path, card: ProtocolCard) -> bool:
    """Whether a stored result is on other videos, which a new one must not replace."""
    try:
        stored = read_result(path).card
    except (OSError, ValueError, KeyError, TypeError):  # not there, or no result
        return False
    lists = ("test_list", "train_list")
    known = [(getattr(stored, name), getattr(card, name)) for name in lists]
    return any(then and now and then != now for then, now in known)


def title(card: ProtocolCard) -> str:
    """The protocol, and what its clips show where that is not the video as it runs.

    Example:
        >>> title(example_card())
        'knn'
    """
    name = f"{card.protocol} ({card.variant})" if card.variant else card.protocol
    shown = "" if card.show == "plain" else show_words(card)
    several = f"{len(card.joined)} encoders joined" if card.joined else ""
    return ", ".join(filter(None, [name, card.inner_stage, several, card.cross_validation, shown]))


def show_words(card: ProtocolCard) -> str:
    """What the scored clips show, and the training clips where that differs.

    Example:
        >>> show_words(dataclasses.replace(example_card(), show="still", train_show="plain"))
        'one frame repeated, taught on plain clips'
    """
    return SHOW_TITLES[card.show] + (", taught on plain clips" if card.taught_plain else "")


def counted(card: ProtocolCard) -> str:
    """How many videos were scored, and how many of the list were not.

    Example:
        >>> counted(example_card())
        '8 videos'
        >>> counted(dataclasses.replace(example_card(), n_scored=6, n_missing=2))
        '6 of 8 videos, 2 missing'
    """
    if not card.n_missing:
        return f"{card.n_scored} videos"
    return f"{card.n_scored} of {card.n_listed} videos, {card.n_missing} missing"


def card_lines(card: ProtocolCard) -> list[str]:
    """Put a card in a few lines of plain words.

    Example:
        >>> card_lines(example_card())[0]
        'test    videos/test: 8 listed, 8 scored, 2 classes'
    """
    classes = "" if card.n_classes is None else f", {card.n_classes} classes"
    settings = ", ".join(f"{key} {value}" for key, value in card.settings.items())
    missing = _missing(card.n_missing, card.missing)
    several = f"{card.crops_per_clip} crops along the longer side"
    crops = "1 centre crop" if card.crops_per_clip == 1 else several
    short_side = f" of a short side of {card.short_side}" if card.short_side else ""
    bars = ", black bars cut off" if card.crop_bars else ""
    counts = f"{card.n_listed} listed, {card.n_scored} scored{missing}{classes}"
    left_out = _unlabelled(card.n_unlabelled, card.n_listed)
    lines = [f"test    {card.test}: {counts}{left_out}"]
    if card.train is not None:
        missing = _missing(card.n_train_missing, card.train_missing)
        missing += _unlabelled(card.n_train_unlabelled, card.n_train + card.n_train_missing)
        folds = f"the other folds of {card.n_folds}, at least " if card.n_folds else ""
        lines.append(f"train   {card.train}: {folds}{card.n_train} videos{missing}")
    lines += [
        f"groups  {card.group_check}",
        f"views   {card.clips_per_video or 'dense'} clips x {crops}, "
        f"{card.clip_frames} frames, stride {card.clip_stride}, {card.size} x {card.size} pixels"
        f"{short_side}{bars}, short videos {card.short_video}, stage {card.stage}",
        f"clips   {show_words(card)}",
        f"how     {settings}{', ' if settings else ''}seed {card.seed}",
        f"weights {card.weights_sha256[:16]}, {card.encoder['name']}, cvrl {card.cvrl_version}",
        f"random init: {card.untrained}",
        *map(_member, card.joined),
    ]
    return lines + [f"note: {note}" for note in card.notes if not note.startswith(WARNING)]


def warnings_of(card: ProtocolCard) -> list[str]:
    """The notes that a user must not overlook; they are not among :func:`card_lines`.

    Example:
        >>> warnings_of(dataclasses.replace(example_card(), notes=["WARNING: low", "other"]))
        ['WARNING: low']
    """
    return [note for note in card.notes if note.startswith(WARNING)]


def main_score(scores: Mapping[str, Any]) -> str | None:
    """The name of the score that a protocol is judged by: the first known one that is defined.

    Args:
        scores: shares by name; other entries are passed over.

    Example:
        >>> main_score({"seed": 0, "top5": None, "r1": 0.4, "r5": 0.7})
        'r1'
    """
    return next((n for n in scores if n in SCORE_TITLES and scores[n] is not None), None)


def example_card() -> ProtocolCard:
    """Return a small card, for examples and tests."""
    return ProtocolCard(
        protocol="knn",
        test="videos/test",
        train="videos/train",
        n_classes=2,
        n_listed=8,
        n_scored=8,
        n_train=12,
        group_check="disjoint: 3 train and 2 test groups, no file in both"
        " (compared by inode and content)",
        clips_per_video=2,
        clip_frames=8,
        clip_stride=4,
        short_video="loop",
        size=64,
        stage="pooled",
        settings={"k": 20, "temperature": 0.07},
        train_show="plain",
        seed=0,
        encoder={"name": "r3d_small"},
        weights_sha256="0" * 64,
        untrained="same architecture, random weights of seed 0",
    )


def _member(joined: dict[str, Any]) -> str:
    """One of several encoders whose features were joined."""
    spec, size = joined["encoder"], joined["size"]
    short_side = f" of a short side of {joined['short_side']}" if joined["short_side"] else ""
    return (
        f"joined  {spec['name']} on {spec.get('input', 'rgb')}, {joined['clip_frames']} frames, "
        f"stride {joined['clip_stride']}, {size} x {size} pixels{short_side}, "
        f"weights {joined['weights_sha256'][:16]}"
    )


def _missing(count: int, names: list[str]) -> str:
    """How many of a list are missing, and the first of them."""
    more = " ..." if count > len(names) else ""
    return f", {count} MISSING ({'; '.join(names)}{more})" if count else ""


def _unlabelled(count: int, labelled: int) -> str:
    """How many videos of a split have no label."""
    return f"; {count} of {count + labelled} have no label and are left out" if count else ""


def percent(share: float | None) -> str:
    """A share in percent; a dash where a protocol does not define it.

    Example:
        >>> percent(0.625), percent(None)
        ('62.5', '-')
    """
    return "-" if share is None else f"{100 * share:.1f}"
