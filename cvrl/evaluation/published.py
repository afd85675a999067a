"""Published figures beside measured ones, in a table of their own.

A published figure was measured by others, mostly on other data and larger networks. It is shown and
never written into a result nor compared with one.
"""

import csv
from os import PathLike
from pathlib import Path

from rich.table import Table

from cvrl.evaluation.card import SCORE_TITLES
from cvrl.utils.errors import UserError

REQUIRED = ("name", "source")


def published_table(path: str | PathLike[str]) -> Table:
    r"""Read figures from a CSV file and lay them out for a terminal.

    Args:
        path: CSV with a header: ``name``, ``source`` (paper and table), scores in percent by their
            names in a result (``top1``, ``r1`` ...), and whatever else is to be shown.

    Raises:
        UserError: no such file, no name, source or score, or a score that is not in [0, 100].

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "published.csv"
        >>> _ = file.write_text("name,data,top1,source\nX,UCF101,70.5,their Table 2\n")
        >>> table = published_table(file)
        >>> table.row_count, [column.header for column in table.columns]
        (1, ['name', 'data', 'top-1 %', 'source'])
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(path, f"cannot be read: {error.strerror}", "give a CSV file") from error
    columns = list(rows[0]) if rows else []
    scores = [column for column in columns if column in SCORE_TITLES]
    if not scores or not set(REQUIRED).issubset(columns):
        remedy = "write a header such as name,data,top1,source"
        raise UserError(path, "has no figures with name, source and a score", remedy)
    table = Table(title="Published, not measured here", title_justify="left")
    for column in columns:
        table.add_column(SCORE_TITLES.get(column, column))
    for line, row in enumerate(rows, start=2):
        _check(path, line, row, scores)
        table.add_row(*(row[column] or "-" for column in columns))
    return table


def _check(
    path: str | PathLike[str], line: int, row: dict[str, str | None], scores: list[str]
) -> None:
    """Refuse a row without name or source, of another length, or with an impossible score."""
    remedy = "give a name, a source, and scores in percent"
    if None in row or None in row.values() or not all(row[key] for key in REQUIRED):
        raise UserError(f"{path}, line {line}", "lacks a field or has too many", remedy)
    for name in scores:
        text = row[name] or "0"
        try:
            is_percent = 0 <= float(text) <= 100
        except ValueError:
            is_percent = False
        if not is_percent:
            raise UserError(f"{path}, line {line}", f"{name} '{text}' is no percentage", remedy)
