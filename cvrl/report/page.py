"""Write the report of a run: one self-contained HTML file, and a summary as PNG."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvrl.evaluation.card import Result
from cvrl.evaluation.metrics import row_title
from cvrl.report import plots, sections
from cvrl.report.comparison import Comparison
from cvrl.report.headline import headline
from cvrl.report.media import glimpse, strobe
from cvrl.report.neighbours import Entry, find_neighbours
from cvrl.report.run_summary import RunSummary
from cvrl.report.sections import Content
from cvrl.report.templating import render_template
from cvrl.report.training_pairs import Pair
from cvrl.utils.io import atomic_path

STRIPS = 2  # queries in the summary; each has a row for either network
SECTIONS = (
    ("results", "Results", sections.results),
    ("perturbations", "Clip perturbations", sections.perturbations),
    ("neighbours", "Nearest neighbours", sections.neighbours),
    ("map", "Feature map", sections.feature_map),
    ("training", "Training curves", sections.curves),
    ("clips", "Training clips", sections.pairs),
    ("data", "Data", sections.data),
    ("reproduce", "Reproduce", sections.reproduce),
)


def write_report(
    run: RunSummary,
    comparison: Comparison,
    pairs: Sequence[Pair],
    *,
    k: int = 20,
    temperature: float = 0.07,
    seed: int = 0,
    searches: int = 8,
    perturbed: Sequence[Result] = (),
) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.png`` into the run folder.

    Args:
        run: record of the run.
        comparison: features of its networks.
        pairs: training clips.
        k: neighbours that vote in kNN.
        temperature: of the kNN vote.
        seed: of the queries, the feature map and the folds of the linear probe.
        searches: how many queries are shown.
        perturbed: stored results under clip perturbations, see
            :func:`cvrl.report.run_summary.perturbed_results`.

    Returns:
        Both files.

    Example:
        >>> from cvrl.report.run_summary import read_run
        >>> write_report(read_run("runs/x"), comparison, pairs)  # doctest: +SKIP
        (PosixPath('runs/x/report.html'), PosixPath('runs/x/report.png'))
    """
    neighbourhood = find_neighbours(comparison, shown=searches, seed=seed)
    content = Content(run, comparison, neighbourhood, pairs, k, temperature, seed, perturbed)
    page, picture = run.folder / "report.html", run.folder / "report.png"
    with atomic_path(page) as temporary:
        temporary.write_text(render(content), "utf-8")
    write_summary(content, picture)
    return page, picture


def render(content: Content) -> str:
    """Render the page as HTML.

    Args:
        content: what it shows.
    """
    results = content.run.results
    return render_template(
        "page.html.j2",
        name=content.run.name,
        headline=headline(results[0]) if results else "",
        bars=sections.main_scores(results[0])[1] if results else {},
        sections=[
            (anchor, title, values)
            for anchor, title, build in SECTIONS
            if (values := build(content))
        ],
    )


def write_summary(content: Content, path: str | PathLike[str]) -> None:
    """Draw the scores and some nearest neighbours of both networks as one PNG.

    Args:
        content: what the page shows.
        path: the PNG; replaced as a whole.
    """
    results = content.run.results
    title, scores = sections.main_scores(results[0]) if results else ("not evaluated", {})
    scores = {row_title(name): share for name, share in scores.items()}
    searches = content.neighbourhood.searches
    step = max(len(searches) // STRIPS, 1)
    strips = [
        (
            row_title(network),
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
