"""Values of the page's sections; ``templates/<section>.html.j2`` lays each of them out.

A section without anything to show is an empty dictionary.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvrl.data.manifest import Manifest
from cvrl.data.perturbations import PERTURBATIONS, Perturbation
from cvrl.data.perturbations import TITLES as PERTURBATION_TITLES
from cvrl.evaluation.card import (
    SCORE_TITLES,
    Result,
    Row,
    card_lines,
    percent,
    show_words,
    warnings_of,
)
from cvrl.evaluation.metrics import metric, row_title
from cvrl.report import plots
from cvrl.report.comparison import Comparison, knn_scores, linear_score
from cvrl.report.embedding_map import class_colours, map_svg, project
from cvrl.report.media import glimpse, webp
from cvrl.report.neighbours import NETWORKS, Entry, Neighbourhood
from cvrl.report.run_summary import RunSummary, series, training_seconds
from cvrl.report.training_pairs import Pair

Section = dict[str, Any]
CURVES = (
    ("loss", "loss", False),
    ("knn_top1", "kNN top-1, %", True),
    ("classifier_top1", "classifier top-1, %", True),
    ("instance_r1", "instance retrieval R@1, %", True),
    ("embedding_std", "embedding std (0 is collapse)", False),
    ("effective_rank", "effective rank", False),
    ("lr", "learning rate", False),
    ("clips_per_s", "clips per second", False),
)
PROTOCOL_TITLES = {"knn": "kNN", "linear": "linear probe", "instance": "instance retrieval"}
MAX_CLASSES = 30  # a larger confusion matrix cannot be read
FRAME_SECONDS = 0.14  # how long each frame of a training clip is shown


@dataclass(frozen=True)
class Content:
    """Everything that the page shows.

    Attributes:
        run: record of the run.
        comparison: features of the trained and the random-init network.
        neighbourhood: nearest neighbours by both.
        pairs: training clips.
        k: neighbours that vote in kNN.
        temperature: of the kNN vote.
        seed: of every random choice.
        perturbed: stored results under clip perturbations; without any, repeated frames are scored
            on the features of `comparison`.
    """

    run: RunSummary
    comparison: Comparison
    neighbourhood: Neighbourhood
    pairs: Sequence[Pair]
    k: int = 20
    temperature: float = 0.07
    seed: int = 0
    perturbed: Sequence[Result] = ()


def main_scores(result: Result) -> tuple[str, dict[str, float]]:
    """The first score of a result for each of its rows, the best row first.

    Returns:
        Title of the score, and shares by name of the row; rows without the score are left out.

    Example:
        >>> from cvrl.evaluation.card import example_card
        >>> rows = [Row("chance", {"top1": 0.5}), Row("trained", {"top1": 0.75})]
        >>> main_scores(Result(example_card(), rows))
        ('kNN top-1 %', {'trained': 0.75, 'chance': 0.5})
    """
    key = next(iter(result.rows[0].scores))
    title = f"{_title(result)} {metric(key).title}"
    if metric(key).better == "lower":
        title += " (lower is better)"
    shares = {row.name: row.scores.get(key) for row in best_first(result.rows)}
    return title, {name: share for name, share in shares.items() if share is not None}


def best_first(rows: Sequence[Row]) -> list[Row]:
    """Sort rows by their first score in its metric's direction; rows without it come last.

    Example:
        >>> rows = [Row("a", {"alignment_error": 0.4}), Row("b", {"alignment_error": 0.3})]
        >>> [row.name for row in best_first(rows)]
        ['b', 'a']
    """
    key = next(iter(rows[0].scores))
    sign = -1 if metric(key).better == "higher" else 1

    def rank(row: Row) -> tuple[bool, float]:
        share = row.scores.get(key)
        return share is None, sign * (share or 0.0)

    return sorted(rows, key=rank)


def results(content: Content) -> Section:
    """A table for each evaluation, with its protocol card."""
    tables = []
    for result in content.run.results:
        keys = list(result.rows[0].scores)
        tables.append(
            {
                "head": [_title(result), *(SCORE_TITLES.get(key, key) for key in keys)],
                "rows": [
                    [row_title(row.name), *(percent(row.scores.get(key)) for key in keys)]
                    for row in best_first(result.rows)
                ],
                "warnings": warnings_of(result.card),
                "card": "\n".join(card_lines(result.card)),
            }
        )
    return {"tables": tables} if tables else {}


def perturbations(content: Content) -> Section:
    """Scores on clips as they run and on perturbed clips, and the confusion matrix of kNN."""
    comparison = content.comparison
    if comparison.train is None:
        return {}
    if content.perturbed:
        counts = (content.perturbed[0].card.n_scored, content.perturbed[0].card.n_train)
        head, rows = _stored_rows(content.perturbed)
    else:
        counts = (len(comparison.test), len(comparison.train))
        head, rows = ["", "kNN top-1 %", "linear probe top-1 %"], _computed_rows(content)
    return {
        "n_test": counts[0],
        "n_train": counts[1],
        "head": head,
        "rows": rows,
        "confusion": _confusion(content),
    }


def neighbours(content: Content) -> Section:
    """Queries with the nearest neighbours that each network finds."""
    hood = content.neighbourhood
    if not hood.searches:
        return {}
    searches = [
        {
            "source": _thumbnail(search.query, content),
            "caption": search.query.caption,
            "found": {
                network: [
                    {
                        "source": _thumbnail(hit.entry, content),
                        "caption": f"{hit.entry.caption} {hit.similarity:.2f}",
                        "right": hit.right,
                    }
                    for hit in hits
                ]
                for network, hits in search.found.items()
            },
        }
        for search in hood.searches
    ]
    trained, random_init = (hood.share_right[name] for name in NETWORKS)
    return {
        "by_label": hood.by_label,
        "k": hood.k,
        "queries": hood.queries,
        "trained": trained,
        "random_init": random_init,
        "searches": searches,
    }


def feature_map(content: Content) -> Section:
    """The test videos in two dimensions, by the features of each network."""
    comparison = content.comparison
    labels = comparison.test.label_ids
    if len(labels) < 2:
        return {}
    colour_of = class_colours(comparison.test.class_names)
    by_label = list(colour_of.values())
    colours = [by_label[label] if label >= 0 else plots.ACCENT for label in labels]
    drawings, method = {}, ""
    for name in NETWORKS:
        positions, method = project(comparison.test_means(name).numpy(), content.seed)
        title = f"feature map of the {row_title(name)} network"
        drawings[name] = map_svg(positions, colours, title)
    return {"method": method, "videos": len(labels), "drawings": drawings, "colours": colour_of}


def curves(content: Content) -> Section:
    """A curve for each quantity that was logged in training."""
    drawings, metrics = [], content.run.metrics
    for key, title, is_share in CURVES:
        epochs, values = series(metrics, key)
        if values:
            drawings.append(plots.curve(epochs, values, title, percent=is_share))
    if not drawings:
        return {}
    seconds = training_seconds(metrics, content.run.clips_per_step)
    return {"steps": metrics[-1]["step"], "seconds": seconds, "drawings": drawings}


def pairs(content: Content) -> Section:
    """Sampled and augmented training clips."""
    shown = [
        {
            "caption": pair.caption,
            "sources": [webp(clip, seconds=FRAME_SECONDS) for clip in pair.clips_VTHWC],
        }
        for pair in content.pairs
    ]
    return {"pairs": shown} if shown else {}


def data(content: Content) -> Section:
    """Counts of videos, groups and classes for each split, and the unreadable videos."""
    named = {"train": content.comparison.train, "test": content.comparison.test}
    splits = {name: split for name, split in named.items() if split is not None}
    counts = [Counter(split.label_ids.tolist()) for split in splits.values()]
    return {
        "splits": [
            [name, len(split), len(set(split.group_ids.tolist())), _classes(split)]
            for name, split in splits.items()
        ],
        "head": ["class", *splits],
        "by_class": [
            [label, *(count[number] for count in counts)]
            for number, label in enumerate(content.comparison.test.class_names)
        ],
        "unreadable": content.run.quarantined,
    }


def reproduce(content: Content) -> Section:
    """Commands that repeat the run, its config and its environment."""
    run = content.run
    return {"commands": run.commands, "config": run.config, "environment": run.environment}


def _title(result: Result) -> str:
    card = result.card
    name = PROTOCOL_TITLES.get(card.protocol, card.protocol)
    name += f" ({card.variant})" if card.variant else ""
    return name if card.show == "plain" else f"{name}, {show_words(card)}"


def _stored_rows(stored: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Table of stored results: a column for each protocol, a row for each perturbation."""
    by_key = {(result.card.protocol, result.card.show): result for result in stored}
    protocols = list(dict.fromkeys(protocol for protocol, _ in by_key))
    titles = [main_scores(by_key[protocol, "plain"])[0] for protocol in protocols]

    def cells(perturbation: Perturbation, *names: str) -> list[str]:
        found = [by_key.get((protocol, perturbation)) for protocol in protocols]
        return [percent(_main_score(result, names)) for result in found]

    perturbations = [name for name in PERTURBATIONS if any(name == own for _, own in by_key)]
    rows = [[f"trained, {PERTURBATION_TITLES[n]}", *cells(n, "trained")] for n in perturbations]
    rows.append(["random init, as it runs", *cells("plain", "random_init", "untrained")])
    return ["", *titles], rows


def _main_score(result: Result | None, names: Sequence[str]) -> float | None:
    rows = [] if result is None else [row for row in result.rows if row.name in names]
    return next(iter(rows[0].scores.values())) if rows else None


def _computed_rows(content: Content) -> list[list[str]]:
    titles = {
        "trained": "trained, as it runs",
        "still": "trained, one frame repeated",
    }
    rows = []
    for name, title in titles.items():
        top1 = knn_scores(content.comparison, name, content.k, content.temperature).top1
        linear = linear_score(content.comparison, name, content.seed)
        rows.append([title, percent(top1), percent(linear)])
    return rows


def _confusion(content: Content) -> str:
    comparison = content.comparison
    names = comparison.test.class_names
    if not 2 <= len(names) <= MAX_CLASSES:
        return ""
    predicted = knn_scores(comparison, "trained", content.k, content.temperature).predicted_M
    counts_CC = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts_CC, (comparison.test.label_ids, predicted.numpy()), 1)
    return plots.confusion(counts_CC, names, "kNN predictions of the trained encoder")


def _thumbnail(entry: Entry, content: Content) -> str:
    return webp(glimpse(entry.path, start=entry.start, reader=content.comparison.reader))


def _classes(split: Manifest) -> str:
    return str(len(set(split.label_ids.tolist()) - {-1})) if split.class_names else "-"
