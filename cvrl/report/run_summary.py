"""Read the record of a run from its folder: config, metrics, results, unreadable videos."""

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from cvrl.data.perturbations import PERTURBATIONS
from cvrl.data.splits import Parts, labelled_only, list_sha256
from cvrl.evaluation.card import ProtocolCard, Result, read_result
from cvrl.evaluation.random_init import weights_sha256
from cvrl.models.backbones import Encoder
from cvrl.report.comparison import is_labelled
from cvrl.utils.errors import UserError
from cvrl.utils.log import read_metrics
from cvrl.utils.strict_yaml import read_yaml

PRETEXT_FILE = "pretext.json"  # scores of the pretext task, without a card
ORDER = {
    "knn": 0,
    "linear": 1,
    "instance": 2,
}  # of the tables; other protocols follow alphabetically


@dataclass(frozen=True)
class RunSummary:
    """The record of a run.

    Attributes:
        folder: run folder.
        config: text of ``config.yaml``.
        environment: text of ``env.txt``; empty if it is missing.
        metrics: records of ``metrics.jsonl``.
        results: every evaluation in ``eval/``.
        quarantined: (path, reason) of every unreadable video.
        commands: shell commands that repeat the run.
        clips_per_step: clips per optimiser step; 0 if unknown.
    """

    folder: Path
    config: str
    environment: str
    metrics: list[dict[str, Any]]
    results: list[Result]
    quarantined: list[tuple[str, str]]
    commands: list[str]
    clips_per_step: int = 0

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name


def read_run(
    folder: str | PathLike[str], data: str | None = None, clips_per_step: int = 0
) -> RunSummary:
    """Read a run folder.

    Args:
        folder: run folder.
        data: list or folder of training videos; if ``synthetic.json`` lies beside it, the commands
            include the one that makes the videos.
        clips_per_step: clips per optimiser step, needed for the duration of the run.

    Raises:
        UserError: not a run folder, or a result that cannot be read.

    Example:
        >>> read_run("no/such/run")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: no/such/run: holds no config.yaml; give a run folder
    """
    folder = Path(folder)
    config = folder / "config.yaml"
    if not config.exists():
        raise UserError(folder, "holds no config.yaml", "give a run folder")
    environment = folder / "env.txt"
    files = sorted((folder / "eval").glob("*.json"))
    results = [_read_result(path) for path in files if path.name != PRETEXT_FILE]
    results.sort(key=_rank)
    return RunSummary(
        folder=folder,
        config=config.read_text("utf-8"),
        environment=environment.read_text("utf-8") if environment.exists() else "",
        metrics=read_metrics(folder / "metrics.jsonl"),
        results=results,
        quarantined=_read_quarantine(folder / "quarantine.csv"),
        commands=_commands(folder, results, data),
        clips_per_step=clips_per_step,
    )


def series(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Select one quantity of the metrics over epochs; records without it are skipped.

    Args:
        metrics: records with ``epoch``, or with ``step`` only.
        key: name of the quantity.

    Returns:
        Epochs and values.

    Example:
        >>> series([{"step": 1, "epoch": 0.5, "loss": 3.0}, {"step": 2, "epoch": 1.0}], "loss")
        ([0.5], [3.0])
    """
    pairs = [
        (float(record.get("epoch", record["step"])), float(record[key]))
        for record in metrics
        if record.get(key) is not None
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]


def training_seconds(metrics: Sequence[Mapping[str, Any]], clips_per_step: int) -> float | None:
    """Duration of the training steps from the logged speed; None if no speed is logged.

    Args:
        metrics: records with ``step`` and ``clips_per_s``, the speed since the record before.
        clips_per_step: clips per optimiser step.

    Example:
        >>> training_seconds([{"step": 10, "clips_per_s": 20.0}], clips_per_step=4)
        2.0
    """
    seconds, before = 0.0, 0
    for record in metrics:
        if record.get("clips_per_s"):
            seconds += (record["step"] - before) * clips_per_step / record["clips_per_s"]
            before = record["step"]
    return seconds if clips_per_step and seconds else None


def perturbed_results(results: Sequence[Result], encoder: Encoder, splits: Parts) -> list[Result]:
    """Select stored results under clip perturbations that agree with an encoder and its data.

    Only probes that were trained and tested under the same perturbation are taken. The cards of a
    protocol must be the same for plain and perturbed clips except for the perturbation.

    Args:
        results: evaluations of one run.
        encoder: encoder of the run.
        splits: test and training split that the page shows.

    Returns:
        The plain and the perturbed results of each protocol that was scored on still clips; empty
        without labels.
    """
    if not is_labelled(splits):
        return []
    splits, _ = labelled_only(splits)
    assert splits.train is not None  # as it is labelled
    wanted = (weights_sha256(encoder), list_sha256(splits.test), list_sha256(splits.train))
    agreeing: list[Result] = []
    for plain in results:
        card = plain.card
        if (
            card.show != "plain"
            or card.inner_stage
            or wanted != (card.weights_sha256, card.test_list, card.train_list)
        ):
            continue
        same = [one for one in results if one.card.show == one.card.train_show]
        same = [one for one in same if _without_perturbation(one) == _without_perturbation(plain)]
        if {"plain", "still"} <= {one.card.show for one in same}:
            agreeing += same
    return agreeing


def _without_perturbation(result: Result) -> ProtocolCard:
    return replace(result.card, show="plain", train_show=None, notes=[])


def _read_result(path: Path) -> Result:
    try:
        return read_result(path)
    except (ValueError, KeyError, TypeError) as error:
        remedy = "delete it and run tools/evaluate.py again"
        raise UserError(path, "is not an evaluation result", remedy) from error


def _read_quarantine(path: Path) -> list[tuple[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return [(row["path"], row["reason"]) for row in csv.DictReader(stream)]


def _rank(result: Result) -> tuple[bool, int, bool, int, str, str]:
    card, last = result.card, len(ORDER)
    aside = bool(card.inner_stage or card.joined or card.leave_one_out)
    place = ORDER.get(card.protocol, last)
    return (
        aside,
        PERTURBATIONS.index(card.show),
        card.taught_plain,
        place,
        card.protocol,
        card.stage,
    )


def _commands(folder: Path, results: list[Result], data: str | None) -> list[str]:
    """Commands that repeat the run from its config, into the folder ``<run>-again``."""
    again = shlex.quote(f"{folder}-again")
    lines = [f"python tools/train_net.py --config {shlex.quote(f'{folder}/config.yaml')}"]
    lines[0] += f" output={again}"
    lines += _evaluations(again, [result.card for result in results], _sizes(folder))
    lines.append(f"python tools/report.py --run {again}")
    note = Path(data).parent / "synthetic.json" if data else None
    if note is not None and note.exists():
        lines.insert(0, _synthetic_command(note))
    return lines


def _sizes(folder: Path) -> dict[str, Any]:
    """Crop of clips in pixels as the config says, of the sections eval and test."""
    config = read_yaml(folder / "config.yaml")
    size = (config.get("clip") or {}).get("size")
    return {part: (config.get(part) or {}).get("size") or size for part in ("eval", "test")}


def _evaluations(again: str, cards: list[ProtocolCard], sizes: Mapping[str, Any]) -> list[str]:
    """Commands that repeat the evaluations: multi-view classifiers, then one per setting.

    Evaluations of several encoders are left out, since their folders are not known.
    """
    cards = [card for card in cards if not card.joined]
    views = [card for card in cards if card.protocol == "classifier" and not card.variant]
    lines = [
        f"python tools/test_net.py --checkpoint {again} --clips {card.clips_per_video}"
        f" --crops {card.crops_per_clip}{_size(card, sizes['test'])}"
        for card in views
    ]
    by_setting: dict[str, list[ProtocolCard]] = {}
    for card in cards:
        if card not in views:
            setting = _size(card, sizes["eval"])
            if card.variant and card.protocol == "retrieval":
                setting += f" --retrieval {card.variant}"
            setting += f" --stage {card.inner_stage}" if card.inner_stage else ""
            if card.leave_one_out:
                setting += f" --leave-one-out {shlex.quote(card.leave_one_out)}"
            by_setting.setdefault(setting, []).append(card)
    for setting, own in by_setting.items():
        for protocols, perturbations in _protocols_and_perturbations(own):
            command = f"python tools/evaluate.py --checkpoint {again} --protocol {protocols}"
            perturb = "" if perturbations == "plain" else f" --perturb {perturbations}"
            lines.append(command + setting + perturb)
    return lines


def _size(card: ProtocolCard, usual: int | None) -> str:
    """The options of another size than the config's."""
    size = f" --size {card.size}" if usual not in (None, card.size) else ""
    return size + (f" --short-side {card.short_side}" if card.short_side else "")


def _protocols_and_perturbations(cards: list[ProtocolCard]) -> list[tuple[str, str]]:
    """Protocols and perturbations of each command.

    Probes trained on plain clips need all perturbations in one command.
    """
    perturbations = [name for name in PERTURBATIONS if any(card.show == name for card in cards)]
    together = any(card.taught_plain for card in cards)
    commands = []
    for some in [perturbations] if together else [[name] for name in perturbations]:
        names = dict.fromkeys(card.protocol for card in cards if card.show in some)
        commands.append((" ".join(names), " ".join(some)))
    return commands


def _synthetic_command(note: Path) -> str:
    plan = json.loads(note.read_text("utf-8"))
    return (
        f"python datasets/make_synthetic.py --output {shlex.quote(str(note.parent))}"
        f" --videos-per-class {plan['videos_per_class']} --seed {plan['seed']}"
        f" --size {plan['width']}x{plan['height']} --classes {' '.join(plan['classes'])}"
    )
