"""The tables of a study, in Markdown: means over splits, then over seeds, with the extremes."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cvrl.evaluation.card import SCORE_TITLES, main_score
from cvrl.evaluation.metrics import row_title

Records = Sequence[Mapping[str, Any]]
ANCHORS = (
    "untrained",
    "hog_mbh",
    "chance",
    "constant",
    "middle",
)  # what the arms are compared with
NO_SPREAD = frozenset(ANCHORS[1:])  # worked out, not measured


def tabulate(records: Records, arms: Sequence[str], protocols: Sequence[str]) -> str:
    """A table of each protocol's first score, in percent.

    A seed's value is the mean over its splits. An arm that no protocol scored has no row. Arms that
    were also scored behind their projection head have a second one. The rows that arms are compared
    with (random init, chance and, for alignment, the fixed answers) are those of the first arm that
    has them.

    Args:
        records: one a run, protocol and row, each with its scores as shares.
        arms: in the order of the table.
        protocols: in the order of the columns.

    Example:
        >>> records = [
        ...     {"arm": "a", "seed": 0, "protocol": "knn", "row": "trained", "top1": 0.5},
        ...     {"arm": "a", "seed": 0, "protocol": "knn", "row": "untrained", "top1": 0.25},
        ...     {"arm": "a", "seed": 0, "protocol": "knn", "row": "chance", "top1": 0.25},
        ... ]
        >>> print(tabulate(records, ["a"], ["knn"]))
        | | knn top-1 % |
        |---|---|
        | a | 50.0 (50.0 to 50.0) |
        | random init | 25.0 (25.0 to 25.0) |
        | chance | 25.0 |
        <BLANKLINE>
    """
    scores = {protocol: _first_score(records, protocol) for protocol in protocols}
    titles = [f"{protocol} {SCORE_TITLES.get(name, name)}" for protocol, name in scores.items()]
    lines = ["| | " + " | ".join(titles) + " |", "|---" * (len(protocols) + 1) + "|"]
    named = [(arm, [arm], "trained") for arm in arms]
    named += [(f"{arm}, behind its head", [arm], "projected") for arm in arms]
    named += [(row_title(row), list(arms), row) for row in ANCHORS]
    for title, of_arms, row in named:
        found = [
            _of_seeds([r for r in records if (r["protocol"], r["row"]) == (p, row)], of_arms, name)
            for p, name in scores.items()
        ]
        if any(found):
            cells = [_cell(shares, spread=row not in NO_SPREAD) for shares in found]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _first_score(records: Records, protocol: str) -> str:
    """The score a protocol is judged by; top1 where no record has one."""
    names = [main_score(record) for record in records if record["protocol"] == protocol]
    return next((name for name in names if name is not None), "top1")


def _of_seeds(records: Records, arms: Sequence[str], name: str) -> list[float]:
    """Of the first arm with such records, a score in percent for each seed, mean over splits."""
    first = next((arm for arm in arms if any(r["arm"] == arm for r in records)), None)
    of_seed: dict[int, list[float]] = defaultdict(list)
    for record in records:
        if record["arm"] == first:
            of_seed[record["seed"]].append(100 * record[name])
    return [statistics.mean(values) for values in of_seed.values()]


def _cell(shares: Sequence[float], *, spread: bool) -> str:
    if not shares:
        return ""
    between = f" ({min(shares):.1f} to {max(shares):.1f})" if spread else ""
    return f"{statistics.mean(shares):.1f}{between}"


def tabulate_pretext(records: Records, arms: Sequence[str]) -> str:
    """A Markdown table of how well each method solves its own task, in percent.

    Example:
        >>> rows = (("trained", 0.5), ("untrained", 0.2), ("chance", 0.25))
        >>> records = [{"arm": "a", "row": row, "score": "top1", "share": x} for row, x in rows]
        >>> print(tabulate_pretext(records, ["a", "b"]))
        | its own task | top-1 % | random init | chance |
        |---|---|---|---|
        | a | 50.0 (50.0 to 50.0) | 20.0 | 25.0 |
        <BLANKLINE>
    """
    scores = sorted({record["score"] for record in records})
    names = [s for s in scores if s.endswith("top1")] + [s for s in scores if s.endswith("copy")]
    lines = ["| its own task | top-1 % | random init | chance |", "|---" * 4 + "|"]
    for arm in arms:
        for score in names:
            of_row = {
                row: [
                    100 * record["share"]
                    for record in records
                    if (record["arm"], record["row"], record["score"]) == (arm, row, score)
                ]
                for row in ("trained", "untrained", "chance")
            }
            if trained := of_row["trained"]:
                title = arm if score == "top1" else f"{arm}, {score}"
                spread = f"({min(trained):.1f} to {max(trained):.1f})"
                means = [f"{statistics.mean(v):.1f}" if v else "" for v in of_row.values()]
                lines.append(f"| {title} | {means[0]} {spread} | {means[1]} | {means[2]} |")
    return "\n".join(lines) + "\n"
