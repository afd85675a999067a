"""Plots with matplotlib: curves and confusion matrices as SVG, the summary of a run as PNG.

The SVGs use the text colour of the page (``currentColor``), so they suit light and dark mode.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvrl.utils.io import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"  # replaced by currentColor in the SVG
ACCENT = "#3b82c4"
RIGHT, WRONG = "#2e9e5b", "#d1495b"
BAR_COLOURS = {"trained": ACCENT, "random init": "#9aa5b1"}  # by title of the row
OTHER_BAR = "#c9d1d9"
LONGEST_NAME = 24  # characters of a class name in a plot
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cvrl",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # class names may hold "$"
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def curve(
    epochs: Sequence[float], values: Sequence[float], title: str, *, percent: bool = False
) -> str:
    """Plot one quantity over training as SVG.

    Args:
        epochs: x values.
        values: y values.
        title: of the plot.
        percent: whether values are shares, which are shown as percentages with markers.

    Example:
        >>> curve([0.0, 1.0], [2.0, 1.0], "loss").startswith("<svg")
        True
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(3.4, 2.1), layout="constrained")
        axes = figure.add_subplot()
        scale = 100 if percent else 1
        marker = "o" if percent or len(values) < 4 else None
        shown = [scale * value for value in values]
        axes.plot(epochs, shown, color=ACCENT, linewidth=1.6, marker=marker, markersize=3.5)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.15, color=INK)
        axes.margins(x=0.02)
        return inline_svg(figure, f"{title} over {len(values)} points")


def confusion(counts_CC: NDArray[np.int64], names: Sequence[str], title: str) -> str:
    """Plot a confusion matrix as SVG.

    Args:
        counts_CC: videos by true class (rows) and predicted class (columns).
        names: of the classes.
        title: of the plot.

    Example:
        >>> confusion(np.eye(2, dtype=np.int64), ["hop", "pace"], "kNN").startswith("<svg")
        True
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = _confusion_figure(counts_CC, names, title)
        return inline_svg(figure, f"{title}: rows are true classes, columns are predicted classes")


def confusion_png(
    path: str | os.PathLike[str], counts_CC: NDArray[np.int64], names: Sequence[str], title: str
) -> None:
    """Plot a confusion matrix as PNG.

    Args:
        path: the PNG; replaced as a whole.
        counts_CC: videos by true class (rows) and predicted class (columns).
        names: of the classes.
        title: of the plot.

    Example:
        >>> import tempfile
        >>> counts = np.eye(2, dtype=np.int64)
        >>> confusion_png(tempfile.mkdtemp() + "/c.png", counts, ["hop", "pace"], "test")
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = _confusion_figure(counts_CC, names, title)
        dpi = min(150, 4000 / figure.get_figwidth())  # hundreds of classes: at most 4000 pixels
        with atomic_path(path) as temporary, any_script():
            figure.savefig(temporary, format="png", dpi=dpi, facecolor="white")


def _confusion_figure(counts_CC: NDArray[np.int64], names: Sequence[str], title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    shown = [shortened(name) for name in names]
    side = 1.0 + 0.34 * len(names) + 0.08 * max(map(len, shown))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    for row, column in np.argwhere(counts_CC > 0):
        corner = (column - 0.5, row - 0.5)
        share = float(share_CC[row, column])  # opacity, which suits any background
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=ACCENT, alpha=share, linewidth=0))
        axes.text(column, row, counts_CC[row, column], ha="center", va="center", fontsize=8)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_aspect("equal")
    ticks = range(len(names))
    axes.set_xticks(ticks, shown, rotation=90)
    axes.set_yticks(ticks, shown)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


def inline_svg(figure: Figure, title: str) -> str:
    """Convert a figure to an SVG element that fills the width of its parent.

    The same figure gives the same text: the SVG has no date, and its ids have a fixed salt.

    Args:
        figure: INK in it becomes the text colour of the page.
        title: alternative text.
    """
    from matplotlib import rc_context

    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cvrl"}), any_script():
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    head, _, body = text.partition(">")
    box = re.search(r'viewBox="[^"]+"', head)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S).replace(INK, "currentColor")
    label = title.replace("&", "and").replace('"', "'").replace("<", "(").replace(">", ")")
    return f'<svg {box[0] if box else ""} role="img" aria-label="{label}">{body.strip()}'


def summary_png(
    path: str | os.PathLike[str],
    scores: Mapping[str, float],
    title: str,
    strips: Sequence[tuple[str, Sequence[tuple[NDArray[np.uint8], str, bool | None]]]],
) -> None:
    """Draw the scores of a run as bars, and rows of nearest neighbours, as PNG.

    Args:
        path: the PNG; replaced as a whole.
        scores: shares in [0, 1] by title of the row.
        title: of the bars.
        strips: rows of images: a name, and images (H, W, 3), each with a caption and whether it is
            a correct neighbour (None for the query).
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = max((len(pictures) for _, pictures in strips), default=0)
    height = max(2.6, 1.02 * len(strips))
    with rc_context({"font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=(3.0 + 1.15 * columns, height), layout="constrained")
        halves: Any = figure.subfigures(1, 2, width_ratios=(3.0, max(1.15 * columns, 0.1)))
        _bars(halves[0].add_subplot(), scores, title)
        if strips:
            grid = halves[1].subplots(len(strips), columns, squeeze=False)
            for row, (name, pictures) in zip(grid, strips, strict=True):
                _strip(row, name, pictures)
        with atomic_path(path) as temporary, any_script():
            figure.savefig(temporary, format="png", dpi=150, facecolor="white")


@contextmanager
def any_script() -> Iterator[None]:
    """Ignore warnings about characters that matplotlib's font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def shortened(name: str) -> str:
    """Shorten a name to fit beside a plot.

    Example:
        >>> shortened("a class with a very long name")
        'a class with a very lon…'
    """
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _bars(axes: Axes, scores: Mapping[str, float], title: str) -> None:
    names = list(scores)
    values = [100 * scores[name] for name in names]
    colours = [BAR_COLOURS.get(name, OTHER_BAR) for name in names]
    bars = axes.barh(range(len(names)), values, color=colours, height=0.62)
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, min(100.0, 1.25 * max(values)) if any(values) else 1)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])


def _strip(
    row: NDArray[Any], name: str, pictures: Sequence[tuple[NDArray[np.uint8], str, bool | None]]
) -> None:
    for axes in row:
        axes.set_axis_off()
    for axes, (picture_HWC, caption, right) in zip(row, pictures, strict=False):
        axes.set_axis_on()
        axes.imshow(picture_HWC)
        axes.set_xticks([])
        axes.set_yticks([])
        colour = "#222222" if right is None else RIGHT if right else WRONG
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=2.2)
        mark = "" if right is None else "✓ " if right else "✗ "
        axes.set_title(f"{mark}{shortened(caption)}", fontsize=7, color=colour, pad=4)
    row[0].set_ylabel(name, fontsize=8)
