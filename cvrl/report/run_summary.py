"""What a run folder says about its run, read once for the page."""

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from cvrl.data.perturbations import SHOWS
from cvrl.evaluation.card import ProtocolCard, Result, read_result
from cvrl.utils.errors import UserError
from cvrl.utils.log import read_metrics

ORDER = {"knn": 0, "linear": 1, "instance": 2}  # of the tables; other protocols follow by name


@dataclass(frozen=True)
class RunFacts:
    """The written record of a run.

    Attributes:
        folder: of the run.
        config: the text of ``config.yaml``.
        environment: the text of ``env.txt``; empty where there is none.
        metrics: the records of ``metrics.jsonl``.
        results: of every evaluation in ``eval/``.
        quarantined: (path, reason) of every video that was left out.
        commands: what makes the same run again, a line a command.
        clips_per_step: clips an optimiser step; 0 where that is not known.
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
) -> RunFacts:
    """Read a run folder.

    Args:
        folder: that a training run wrote.
        data: the list or folder it was trained on, for the commands; synthetic data is told apart
            by the note beside it.
        clips_per_step: clips an optimiser step, which the run's length in minutes follows from.

    Raises:
        UserError: no run folder, or a result that cannot be read.

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
    results = [_read_result(path) for path in sorted((folder / "eval").glob("*.json"))]
    results.sort(key=_rank)
    return RunFacts(
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
    """One quantity of the metrics over epochs, records without it left out.

    Args:
        metrics: records with ``epoch``, or ``step`` where that is missing.
        key: the quantity.

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
    """How long the steps took, from their logged speed; None where none is logged.

    Args:
        metrics: records with ``step`` and ``clips_per_s``, the speed since the record before.
        clips_per_step: clips an optimiser step.

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


def _read_result(path: Path) -> Result:
    try:
        return read_result(path)
    except (ValueError, KeyError, TypeError) as error:
        remedy = "delete it and run tools/evaluate.py again"
        raise UserError(path, "is no result of an evaluation", remedy) from error


def _read_quarantine(path: Path) -> list[tuple[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return [(row["path"], row["reason"]) for row in csv.DictReader(stream)]


def _rank(result: Result) -> tuple[int, bool, int, str]:
    card, last = result.card, len(ORDER)
    return SHOWS.index(card.show), card.taught_plain, ORDER.get(card.protocol, last), card.protocol


def _commands(folder: Path, results: list[Result], data: str | None) -> list[str]:
    """The run again, into a folder beside it, from its own complete config."""
    again = shlex.quote(f"{folder}-again")
    lines = [f"python tools/train_net.py --config {shlex.quote(f'{folder}/config.yaml')}"]
    lines[0] += f" output={again}"
    lines += _evaluations(again, [result.card for result in results])
    lines.append(f"python tools/report.py --run {again}")
    note = Path(data).parent / "synthetic.json" if data else None
    if note is not None and note.exists():
        lines.insert(0, _synthetic_command(note))
    return lines


def _evaluations(again: str, cards: list[ProtocolCard]) -> list[str]:
    """The commands that give these results again: those of many views, then by recipe and show."""
    views = [card for card in cards if card.protocol == "classifier" and not card.variant]
    lines = [
        f"python tools/test_net.py --checkpoint {again} --clips {card.clips_per_video}"
        f" --crops {card.crops_per_clip}"
        for card in views
    ]
    by_recipe: dict[str, list[ProtocolCard]] = {}
    for card in cards:
        if card not in views:
            recipe = f" --retrieval {card.variant}" if card.protocol == "retrieval" else ""
            by_recipe.setdefault(recipe if card.variant else "", []).append(card)
    for recipe, own in by_recipe.items():
        for protocols, shows in _protocols_and_shows(own):
            command = f"python tools/evaluate.py --checkpoint {again} --protocol {protocols}"
            lines.append(command + recipe + ("" if shows == "plain" else f" --show {shows}"))
    return lines


def _protocols_and_shows(cards: list[ProtocolCard]) -> list[tuple[str, str]]:
    """What each command is given: all shows at once where a probe was taught on plain clips."""
    shows = [show for show in SHOWS if any(card.show == show for card in cards)]
    together = any(card.taught_plain for card in cards)
    commands = []
    for some in [shows] if together else [[show] for show in shows]:
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
