"""The tables of a study, in Markdown: means over splits, then over seeds, with the extremes."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def tabulate(
    records: Sequence[Mapping[str, Any]], arms: Sequence[str], protocols: Sequence[str]
) -> str:
    """A Markdown table of top-1 in percent: mean over the seeds, and the lowest to the highest.

    A seed's value is the mean over its splits. An arm that no protocol scored has no row. The
    untrained row is the first arm's that has one: it is over networks of its architecture.

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
        | untrained | 25.0 (25.0 to 25.0) |
        | chance | 25.0 |
        <BLANKLINE>
    """
    lines = ["| | " + " | ".join(f"{protocol} top-1 %" for protocol in protocols) + " |"]
    lines.append("|---" * (len(protocols) + 1) + "|")
    rows = [(arm, [arm], "trained") for arm in arms]
    rows += [(name, list(arms), name) for name in ("untrained", "chance")]
    for title, of_arms, row in rows:
        cells = [_cell(records, of_arms, protocol, row) for protocol in protocols]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(
    records: Sequence[Mapping[str, Any]], arms: Sequence[str], protocol: str, row: str
) -> str:
    """The mean of the first arm that has such records, and its extremes over the seeds."""
    found = [r for r in records if (r["protocol"], r["row"]) == (protocol, row)]
    first = next((arm for arm in arms if any(r["arm"] == arm for r in found)), None)
    of_seed: dict[int, list[float]] = defaultdict(list)
    for record in found:
        if record["arm"] == first:
            of_seed[record["seed"]].append(100 * record["top1"])
    if not of_seed:
        return ""
    means = [statistics.mean(values) for values in of_seed.values()]
    spread = f" ({min(means):.1f} to {max(means):.1f})" if row != "chance" else ""
    return f"{statistics.mean(means):.1f}{spread}"


def tabulate_pretext(records: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> str:
    """A Markdown table of how well each method solves its own task, in percent.

    Example:
        >>> rows = (("trained", 0.5), ("untrained", 0.2), ("chance", 0.25))
        >>> records = [{"arm": "a", "row": row, "score": "top1", "share": x} for row, x in rows]
        >>> print(tabulate_pretext(records, ["a", "b"]))
        | its own task | top-1 % | untrained | chance |
        |---|---|---|---|
        | a | 50.0 (50.0 to 50.0) | 20.0 | 25.0 |
        <BLANKLINE>
    """
    scores = sorted({record["score"] for record in records})
    names = [s for s in scores if s.endswith("top1")] + [s for s in scores if s.endswith("copy")]
    lines = ["| its own task | top-1 % | untrained | chance |", "|---" * 4 + "|"]
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
