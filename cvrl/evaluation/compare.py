"""Several results in one table, but only where their cards say that they can be compared.

Weights and seed may differ, for they are what is compared. Whatever else a card holds has to agree,
unless the user names it: then it has a column of its own.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cvrl.evaluation.card import (
    SCORE_TITLES,
    ProtocolCard,
    Result,
    card_lines,
    counted,
    percent,
    read_result,
    title,
)
from cvrl.evaluation.metrics import row_title
from cvrl.utils.errors import UserError

COMPARED = frozenset({"weights_sha256", "seed"})
DERIVED = frozenset({"untrained", "notes"})  # words that follow from other fields and the rows
OWN_ROWS = frozenset({"hog_mbh", "from_scratch"})  # which a result may have or not
ACROSS = (
    "encoder", "clips_per_video", "clip_frames", "clip_stride", "short_video", "size",
    "short_side", "stage",
    "show", "train_show", "train", "n_train", "cvrl_version",
)  # fmt: skip
"""Fields that a user may compare results across; all others decide what the question was."""


def read_results(paths: Iterable[str | PathLike[str]]) -> dict[str, Result]:
    """Read results by the name that the table gives them.

    Args:
        paths: JSON files of evaluations; of a folder, every one below it.

    Returns:
        Results by run folder where a file lies in its ``eval``, else by file.

    Raises:
        UserError: a file that is no result, or a folder without any.

    Example:
        >>> read_results(["no/such.json"])
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: no/such.json: no such file; give results of tools/evaluate.py
    """
    found: dict[str, Result] = {}
    for path in map(Path, paths):
        files = (
            sorted(p for p in path.rglob("*.json") if _is_result(p)) if path.is_dir() else [path]
        )
        if not files:
            raise UserError(path, "holds no results", "give results of tools/evaluate.py")
        for file in files:
            found[str(file)] = _read(file)
    return found


def compare(named: Mapping[str, Result], across: Sequence[str] = ()) -> RenderableType:
    """Put results into one table, the trained rows side by side.

    Args:
        named: two results or more.
        across: fields that may differ besides weights and seed, each of which becomes a column.

    Raises:
        UserError: a field that must agree does not (the message has both values), fewer than two
            results, or a field of ``across`` that decides what is asked.

    Example:
        >>> from cvrl.evaluation.card import Row, example_card
        >>> rows = [Row("trained", {"top1": 0.5}), Row("chance", {"top1": 0.25})]
        >>> one = Result(example_card(), rows)
        >>> two = Result(dataclasses.replace(example_card(), n_train=6), rows)
        >>> compare({"a.json": one, "b.json": two})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: b.json: n_train is 6, and 12 in a.json; ...
    """
    for field in across:
        if field not in ACROSS:
            reason = "decides what was asked and cannot be compared across"
            raise UserError(f"--across {field}", reason, f"use {', '.join(ACROSS)}")
    if len(named) < 2:
        raise UserError("--compare", "needs two results or more", "give more files, or a folder")
    names = short_names(list(named))
    first_name, first = next(iter(named.items()))
    for name, result in named.items():
        _check_agree(first_name, first, name, result, set(across))
    keys = list(first.row("chance").scores)
    table = Table(title=f"{title(first.card)} on {counted(first.card)}", title_justify="left")
    for column in ("", *across, "seed"):
        table.add_column(column)
    for key in keys:
        table.add_column(SCORE_TITLES.get(key, key), justify="right")
    for name, row, card in _lines(dict(zip(names, named.values(), strict=True))):
        facts = [_short(getattr(card, field)) if card else "" for field in (*across, "seed")]
        table.add_row(row_title(name), *facts, *(percent(row.get(key)) for key in keys))
    return Group(table, Text("\n".join(_words(named, across))))


def tables(named: Mapping[str, Result], across: Sequence[str] = ()) -> list[RenderableType]:
    """Compare what a folder holds: a table for each protocol, variant and kind of clip.

    Args:
        named: results; a protocol with a single one has no table.
        across: as for :func:`compare`.

    Raises:
        UserError: as for :func:`compare`, or no protocol has two results.
    """
    plain: dict[str, Any] = {"show": "plain", "train_show": None, "stage": "pooled"}
    crossed = {field: plain[field] for field in across if field in plain}
    by_title: dict[str, dict[str, Result]] = {}
    for name, result in named.items():
        by_title.setdefault(title(dataclasses.replace(result.card, **crossed)), {})[name] = result
    several = [group for group in by_title.values() if len(group) > 1]
    if not several:
        raise UserError("--compare", "no protocol has two results", "give more runs")
    return [compare(group, across) for group in several]


def compare_files(
    paths: Sequence[str | PathLike[str]], across: Sequence[str] = ()
) -> list[RenderableType]:
    """Read results and compare them: files in one table, folders in one a protocol.

    Args:
        paths: JSON files, or folders of runs.
        across: as for :func:`compare`.

    Raises:
        UserError: as for :func:`read_results` and :func:`compare`.
    """
    named = read_results(paths)
    if any(Path(path).is_dir() for path in paths):
        return tables(named, across)
    return [compare(named, across)]


def short_names(paths: Sequence[str]) -> list[str]:
    """Name results by what tells their paths apart.

    Example:
        >>> short_names(["runs/a/eval/knn.json", "runs/b/eval/knn.json"])
        ['a', 'b']
        >>> short_names(["a/knn.json", "a/linear.json"])
        ['knn.json', 'linear.json']
    """
    parts = [Path(path).parts for path in paths]
    while all(len(p) > 1 for p in parts) and len({p[-1] for p in parts}) == 1:
        parts = [p[:-1] for p in parts]
    while all(len(p) > 1 for p in parts) and len({p[0] for p in parts}) == 1:
        parts = [p[1:] for p in parts]
    return ["/".join(p) for p in parts]


def _lines(
    named: Mapping[str, Result],
) -> Iterable[tuple[str, Mapping[str, float | None], ProtocolCard | None]]:
    """Rows of the table: each result's own ones, what all share once."""
    longest = max(named.values(), key=lambda result: len(result.rows))
    others = {row.name: row for result in named.values() for row in result.rows[:-1]}
    order = [*{row.name: row for row in longest.rows[:-1]} | others, longest.rows[-1].name]
    for row_name in order:
        rows = {
            name: row.scores
            for name, result in named.items()
            for row in result.rows
            if row.name == row_name
        }
        first = next(iter(rows.values()))
        if row_name != "trained" and all(scores == first for scores in rows.values()):
            yield row_name, first, None
            continue
        for name, scores in rows.items():
            label = name if row_name == "trained" else f"{row_title(row_name)}, {name}"
            yield label, scores, named[name].card


def _check_agree(
    first_name: str, first: Result, name: str, result: Result, across: set[str]
) -> None:
    """Refuse a card that differs from the first one in a field that must agree."""
    one, two = dataclasses.asdict(first.card), dataclasses.asdict(result.card)
    free = COMPARED | DERIVED | across | ({"train_list"} if "train" in across else set())
    for part in ("test", "train"):
        if one[f"{part}_list"] and one[f"{part}_list"] == two[f"{part}_list"]:
            free |= {part}  # the same videos under another path
    differ = [field for field in one if field not in free and one[field] != two[field]]
    differ.sort(key=ACROSS.__contains__)  # first what no flag allows
    if differ:
        field, more = differ[0], f"; so do {', '.join(differ[1:])}" if differ[1:] else ""
        remedy = "evaluate both alike"
        if field in ACROSS:
            remedy += f", or compare across it with --across {' '.join([*sorted(across), field])}"
        reason = f"{field} is {_short(two[field])}, and {_short(one[field])} in {first_name}{more}"
        raise UserError(name, reason, remedy)
    chances = [r.row("chance").scores for r in (first, result)]
    same_chance = chances[0] == chances[1] or not across.isdisjoint({"train", "n_train"})
    shared = [[row.name for row in r.rows if row.name not in OWN_ROWS] for r in (first, result)]
    if not same_chance or shared[0] != shared[1]:
        reason = f"its rows or its chance are not those of {first_name}"
        raise UserError(name, reason, "evaluate both with one version of cvrl")


def _words(named: Mapping[str, Result], across: Sequence[str]) -> list[str]:
    """The card that all share, without what differs, and every note once."""
    first = next(iter(named.values())).card
    lines = [x for x in card_lines(first) if not x.startswith(("weights", "random init", "note"))]
    told = ", ".join(["weights", "seed", *across])
    notes = dict.fromkeys(note for result in named.values() for note in result.card.notes)
    return [*lines, f"compared: {told}; the rest as in the first", *(f"note: {n}" for n in notes)]


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    return "none" if value is None or value == "" else str(value)


def _is_result(path: Path) -> bool:
    """Whether a JSON file in a folder of runs is a result; other files lie there too."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError:
        return False
    return isinstance(data, dict) and {"card", "rows"} <= set(data)


def _read(path: Path) -> Result:
    remedy = "give results of tools/evaluate.py"
    if not path.exists():
        raise UserError(path, "no such file", remedy)
    try:
        return read_result(path)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(path, f"is no result of an evaluation: {error}", remedy) from error
