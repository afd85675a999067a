"""A result laid out for a terminal: the scores, the folds of a cross-validation, the card."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cvrl.evaluation.card import (
    SCORE_TITLES,
    Result,
    card_lines,
    counted,
    percent,
    title,
    warnings_of,
)
from cvrl.evaluation.metrics import row_title

MONITORS = ("median_rank", "embedding_std", "effective_rank")


def render(result: Result) -> RenderableType:
    """Lay a result out for a terminal: the scores, then the card.

    Args:
        result: of one protocol.

    Returns:
        Something for ``rich.console.Console.print``.
    """
    table = Table(title=f"{title(result.card)} on {counted(result.card)}", title_justify="left")
    table.add_column("", min_width=max(len(row_title(row.name)) for row in result.rows))
    names = list(result.row("chance").scores)
    for name in names:
        table.add_column(SCORE_TITLES.get(name, name), justify="right")
    for row in result.rows:
        table.add_row(row_title(row.name), *(percent(row.scores.get(name)) for name in names))
    warnings = [Text(line, style="bold red") for line in warnings_of(result.card)]
    tables = [table, *([fold_table(result)] if result.card.n_folds else [])]
    return Group(
        *tables, *warnings, Text("\n".join([*_monitors(result), *card_lines(result.card)]))
    )


def fold_table(result: Result) -> Table:
    """The top-1 score of each fold by each network.

    Args:
        result: of a cross-validation.

    Example:
        >>> from cvrl.evaluation.card import Row, example_card
        >>> folds = [{"held_out": "eli", "videos": 4, "top1": 0.75}]
        >>> rows = [Row("trained", {"top1": 0.75}, {"folds": folds}), Row("chance", {"top1": 0.25})]
        >>> fold_table(Result(example_card(), rows)).row_count
        1
    """
    rows = [row for row in result.rows if "folds" in row.details]
    table = Table(title="top-1 % of each fold", title_justify="left")
    for name in (
        f"held-out {result.card.leave_one_out}",
        "videos",
        *(row_title(row.name) for row in rows),
    ):
        table.add_column(name, justify="right" if table.columns else "left")
    for folds in zip(*(row.details["folds"] for row in rows), strict=True):
        scores = [percent(fold["top1"]) for fold in folds]
        table.add_row(folds[0]["held_out"], str(folds[0]["videos"]), *scores)
    return table


def stage_table(results: Sequence[Result]) -> Table:
    """The main score of each stage of the encoder, beside the other rows.

    Args:
        results: of one evaluation of several stages.

    Example:
        >>> from cvrl.evaluation.card import Row, example_card
        >>> rows = [Row("trained", {"top1": 0.5}), Row("chance", {"top1": 0.25})]
        >>> stage_table([Result(example_card(), rows)]).row_count
        1
    """
    table = Table(title="Stages of the encoder", title_justify="left")
    names = dict.fromkeys(row.name for result in results for row in result.rows)
    for name in ("protocol", "stage", *names):
        table.add_column(row_title(name), justify="right" if name in names else "left")
    for protocol in dict.fromkeys(result.card.protocol for result in results):
        for result in (one for one in results if one.card.protocol == protocol):
            key = next(iter(result.rows[0].scores))
            scores = {row.name: percent(row.scores.get(key)) for row in result.rows}
            title = f"{protocol} {SCORE_TITLES.get(key, key)}"
            table.add_row(title, result.card.stage, *(scores.get(name, "") for name in names))
        table.add_section()
    return table


def _monitors(result: Result) -> list[str]:
    """A line for each measure of the features themselves, which would make the table too wide."""
    return [
        f"{name.replace('_', ' ')}: "
        + ", ".join(
            f"{row_title(row.name)} {row.details[name]:.2f}"
            for row in result.rows
            if row.details.get(name) is not None
        )
        for name in MONITORS
        if result.rows[0].details.get(name) is not None
    ]
