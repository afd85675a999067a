"""Plot a study: a dot per run, a line for random init and one for chance."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from cvrl.evaluation.card import SCORE_TITLES, main_score
from cvrl.evaluation.metrics import row_title
from cvrl.report.plots import ACCENT, STYLE
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#8a94a0"


def plot_study(records: Sequence[Mapping[str, Any]], path: str | PathLike[str]) -> None:
    """Plot the results of :func:`cvrl.engine.studies.study.run_study`.

    Args:
        records: dictionaries with arm, seed, protocol, row and scores in [0, 1]; the first score of
            each protocol is drawn, and records without one are left out.
        path: the PNG.

    Raises:
        UserError: no scores to plot.

    Example:
        >>> import tempfile
        >>> one = {"arm": "CVRL", "seed": 0, "protocol": "knn", "row": "trained", "top1": 0.5}
        >>> rest = [{**one, "row": row, "top1": 0.25} for row in ("untrained", "chance")]
        >>> plot_study([one, *rest], tempfile.mkdtemp() + "/study.png")
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = [
        {**record, "score": name, "share": record[name]}
        for record in records
        if (name := main_score(record)) is not None
    ]
    if not drawn:
        raise UserError(path, "no results to plot", "run the study first")
    protocols = list(dict.fromkeys(record["protocol"] for record in drawn))
    arms = list(dict.fromkeys(record["arm"] for record in drawn))
    with rc_context({**STYLE, "text.color": "black", **_black()}):
        size = (2.2 + 2.6 * len(protocols), 0.9 + 0.28 * len(arms))
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        panels = figure.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
        for axes, protocol in zip(panels, protocols, strict=True):
            of_protocol = [r for r in drawn if r["protocol"] == protocol]
            _panel(axes, of_protocol, arms)
            title = f"{protocol.replace('_', ' ')} {SCORE_TITLES[of_protocol[0]['score']]}"
            axes.set_title(title, fontsize=9)
        panels[0].set_yticks(range(len(arms)), arms)
        panels[0].invert_yaxis()
        panels[-1].legend(fontsize=7, frameon=False, loc="lower right")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150)


def _panel(axes: Axes, records: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> None:
    """Plot one protocol: a dot per seed, a bar for their mean."""
    for place, arm in enumerate(arms):
        scores = [100 * r["share"] for r in records if (r["arm"], r["row"]) == (arm, "trained")]
        if scores:
            axes.barh(place, statistics.mean(scores), height=0.6, color=ACCENT, alpha=0.35)
            axes.plot(scores, [place] * len(scores), "o", markersize=4, color=ACCENT)
    for row, style in (("untrained", "--"), ("chance", ":")):
        scores = [100 * r["share"] for r in records if r["row"] == row]
        if scores:
            axes.axvline(statistics.mean(scores), color=GREY, linestyle=style, label=row_title(row))
    axes.set_xlim(left=0)


def _black() -> Any:
    keys = ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    return dict.fromkeys(keys, "black")
