"""The page of a run: one HTML file that shows what was learned, and needs nothing but itself."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvrl.report import markup, plots, sections
from cvrl.report.comparison import Comparison
from cvrl.report.media import glimpse, strobe
from cvrl.report.neighbours import Entry, find_neighbours
from cvrl.report.run_summary import RunFacts
from cvrl.report.sections import Content
from cvrl.report.training_pairs import Pair
from cvrl.utils.io import atomic_path

STRIPS = 2  # queries in the summary picture; each takes a row for either network


def write_report(
    facts: RunFacts,
    comparison: Comparison,
    pairs: Sequence[Pair],
    *,
    k: int = 20,
    temperature: float = 0.07,
    seed: int = 0,
    searches: int = 8,
) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.png`` into the run folder.

    Args:
        facts: of the run.
        comparison: features of its networks.
        pairs: what the model saw.
        k: neighbours that vote.
        temperature: of a vote.
        seed: of the choice of queries, of the map and of the probe's folds.
        searches: how many queries are shown.

    Returns:
        Both files.

    Example:
        >>> from cvrl.report.run_summary import read_run
        >>> write_report(read_run("runs/x"), comparison, pairs)  # doctest: +SKIP
        (PosixPath('runs/x/report.html'), PosixPath('runs/x/report.png'))
    """
    neighbourhood = find_neighbours(comparison, shown=searches, seed=seed)
    content = Content(facts, comparison, neighbourhood, pairs, k, temperature, seed)
    page, picture = facts.folder / "report.html", facts.folder / "report.png"
    with atomic_path(page) as temporary:
        temporary.write_text(render(content), "utf-8")
    write_summary(content, picture)
    return page, picture


def render(content: Content) -> str:
    """The page as text.

    Args:
        content: all that it shows.
    """
    results = content.facts.results
    parts = [
        ("results", "Results", sections.results(results)),
        ("motion", "What motion gives", sections.motion(content)),
        ("neighbours", "Nearest neighbours", sections.neighbours(content)),
        ("map", "Map of the features", sections.feature_map(content)),
        ("training", "Training", sections.curves(content.facts)),
        ("views", "What the model sees", sections.pairs(content.pairs)),
        ("data", "Data", sections.data(content)),
        ("again", "Make it again", sections.reproduce(content.facts)),
    ]
    there = [(anchor, title, inner) for anchor, title, inner in parts if inner]
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in there)
    name = content.facts.name
    head = f"{sections.lead(name, results)}\n<nav>{links}</nav>"
    body = [markup.section(anchor, title, *inner) for anchor, title, inner in there]
    foot = "Made by tools/report.py. The page holds all that it shows and asks for nothing else."
    return markup.document(f"{name}: what it learned", head, body, foot)


def write_summary(content: Content, path: str | PathLike[str]) -> None:
    """Draw the outcome as one PNG: the scores, and the same searches by both networks.

    Args:
        content: what the page shows.
        path: the PNG; replaced as a whole.
    """
    results = content.facts.results
    title, scores = sections.main_scores(results[0]) if results else ("not evaluated", {})
    searches = content.neighbourhood.searches
    step = max(len(searches) // STRIPS, 1)
    strips = [
        (
            network,
            [
                (_picture(search.query, content), search.query.caption, None),
                *((_picture(hit.entry, content), hit.entry.caption, hit.right) for hit in found),
            ],
        )
        for search in searches[::step][:STRIPS]
        for network, found in search.found.items()
    ]
    plots.summary_png(path, scores, title, strips)


def _picture(entry: Entry, content: Content) -> NDArray[np.uint8]:
    reader = content.comparison.reader
    return strobe(glimpse(entry.path, start=entry.start, seconds=1.0, reader=reader))
