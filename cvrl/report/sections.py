"""The sections of the page: each a list of markup, empty where there is nothing to show."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from cvrl.data.manifest import Manifest
from cvrl.evaluation.card import SCORE_TITLES, Result, card_lines, show_words, warnings_of
from cvrl.evaluation.metrics import metric
from cvrl.report import markup, plots
from cvrl.report.comparison import NAMES, Comparison, knn_scores, linear_score
from cvrl.report.embedding_map import class_colours, map_svg, project
from cvrl.report.headline import headline
from cvrl.report.media import glimpse, webp
from cvrl.report.neighbours import NETWORKS, Entry, Hit, Neighbourhood, Search
from cvrl.report.run_summary import RunFacts, series, training_seconds
from cvrl.report.training_pairs import Pair

CURVES = (
    ("loss", "loss", False),
    ("knn_top1", "kNN top-1, %", True),
    ("classifier_top1", "classifier top-1, %", True),
    ("instance_r1", "finds its own video, %", True),
    ("embedding_std", "embedding std (0 is collapse)", False),
    ("effective_rank", "effective rank", False),
    ("lr", "learning rate", False),
    ("clips_per_s", "clips a second", False),
)
TITLES = {"knn": "kNN", "linear": "linear probe", "instance": "own video"}
ROW_TITLES = {
    "trained": "trained, moving clips",
    "still": "trained, one frame repeated",
    "untrained": "untrained, moving clips",
}
MOST_CLASSES = 30  # more make no readable table of confusions
PAIR_SECONDS = 0.14  # a frame of a sampled clip is shown so long


@dataclass(frozen=True)
class Content:
    """All that the page shows.

    Attributes:
        facts: of the run.
        comparison: features of the trained and the untrained network.
        neighbourhood: searches with both.
        pairs: what the model saw.
        k: neighbours that vote.
        temperature: of a vote.
        seed: of everything drawn.
    """

    facts: RunFacts
    comparison: Comparison
    neighbourhood: Neighbourhood
    pairs: Sequence[Pair]
    k: int = 20
    temperature: float = 0.07
    seed: int = 0


def main_scores(result: Result) -> tuple[str, dict[str, float]]:
    """The score a result is known by, for each of its rows.

    Returns:
        The score's title, and shares by the row's name; rows without it are left out.

    Example:
        >>> from cvrl.evaluation.card import Row, example_card
        >>> main_scores(Result(example_card(), [Row("chance", {"top1": 0.5})]))
        ('kNN top-1 %', {'chance': 0.5})
    """
    key = next(iter(result.rows[0].scores))
    shares = {row.name: row.scores.get(key) for row in result.rows}
    title = f"{_title(result)} {metric(key).title}"
    if metric(key).better == "lower":
        title += " (lower is better)"
    return title, {name: share for name, share in shares.items() if share is not None}


def _title(result: Result) -> str:
    card = result.card
    name = TITLES.get(card.protocol, card.protocol) + (f" ({card.variant})" if card.variant else "")
    return name if card.show == "plain" else f"{name}, {show_words(card)}"


def lead(name: str, results: Sequence[Result]) -> str:
    """The top of the page: what was learned, in one sentence and three bars."""
    title = f"<h1>{escape(name)}</h1>"
    if not results:
        words = "Trained, and not evaluated yet: run tools/evaluate.py, then this again."
        return f'{title}<p class="lead">{words}</p>'
    _, scores = main_scores(results[0])
    claim = headline(results[0])
    return f'{title}<p class="lead">{escape(claim)}</p>{markup.bars(scores.items())}'


def results(found: Sequence[Result]) -> list[str]:
    """Every evaluation as a table, with the card that says what its numbers mean."""
    parts = []
    for result in found:
        keys = list(result.rows[0].scores)
        head = [
            _title(result),
            *(SCORE_TITLES.get(key, key) for key in keys),
        ]
        rows = [
            [row.name, *(_hundredths(row.scores.get(key)) for key in keys)] for row in result.rows
        ]
        card = markup.code("\n".join(card_lines(result.card)))
        folded = markup.details("protocol card", card)
        warned = "".join(f'<p class="warning">{escape(w)}</p>' for w in warnings_of(result.card))
        parts.append(f"<div>{markup.table(head, rows, numeric=len(keys))}{warned}{folded}</div>")
    return [f'<div class="grid tables">{"".join(parts)}</div>'] if parts else []


def motion(content: Content) -> list[str]:
    """How much is lost without motion, and which classes are taken for each other."""
    comparison = content.comparison
    if comparison.train is None:
        return []
    rows = []
    for name in sorted(NAMES, key=list(ROW_TITLES).index):
        top1 = knn_scores(comparison, name, content.k, content.temperature).top1
        linear = linear_score(comparison, name, content.seed)
        rows.append([ROW_TITLES[name], _hundredths(top1), _hundredths(linear)])
    words = (
        "The same encoder is shown its clips, and then clips that repeat their middle frame, on "
        f"both sides of the search: {len(comparison.test)} videos search among "
        f"{len(comparison.train)}. What the second row lacks was learned from motion."
    )
    table = markup.table(["", "kNN top-1 %", "linear top-1 %"], rows, numeric=2)
    return [markup.paragraph(words), table, _confusion(content)]


def neighbours(content: Content) -> list[str]:
    """Queries with what each network finds, moving."""
    hood = content.neighbourhood
    if not hood.searches:
        return []
    trained, untrained = (f"{100 * hood.share_right[name]:.1f} %" for name in NETWORKS)
    if hood.by_label:
        meaning = f"Of the {hood.k} nearest training videos, {trained} are of the query's class"
    else:
        meaning = f"{trained} of clips have their own video's other clip among the {hood.k} nearest"
    words = (
        f"{meaning} after training, {untrained} before: the mean over all {hood.queries} queries. "
        "The queries shown are drawn at random, not chosen by their outcome."
    )
    return [markup.paragraph(words), *(_search(search, content) for search in hood.searches)]


def feature_map(content: Content) -> list[str]:
    """The test videos laid out in two dimensions by each network."""
    comparison = content.comparison
    names = comparison.test.class_names
    labels = comparison.test.label_ids
    if len(labels) < 2:
        return []
    colour_of = class_colours(names)
    wheel = [colour_of[name] for name in names]
    colours = [wheel[label] if label >= 0 else plots.ACCENT for label in labels]
    drawings, method = [], ""
    for name in NETWORKS:
        positions, method = project(comparison.test_means(name).numpy(), content.seed)
        drawing = map_svg(positions, colours, f"map of the {name} network's features")
        drawings.append(f"<figure>{drawing}<figcaption>{name}</figcaption></figure>")
    words = f"{method} of the features of {len(labels)} test videos. Labels only colour the points."
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in colour_of.items()
    )
    legend = f'<div class="legend">{legend}</div>' if names else ""
    return [markup.paragraph(words), f'<div class="grid">{"".join(drawings)}</div>', legend]


def curves(facts: RunFacts) -> list[str]:
    """What was logged while training, a drawing a quantity."""
    drawings, metrics = [], facts.metrics
    for key, title, is_share in CURVES:
        epochs, values = series(metrics, key)
        if values:
            drawings.append(plots.curve(epochs, values, title, percent=is_share))
    if not drawings:
        return []
    words = f"{metrics[-1]['step']} steps"
    seconds = training_seconds(metrics, facts.clips_per_step)
    if seconds is not None:
        words += f" in {seconds / 60:.1f} minutes, evaluations not counted"
    return [markup.paragraph(f"{words}."), f'<div class="grid">{"".join(drawings)}</div>']


def pairs(shown: Sequence[Pair]) -> list[str]:
    """Sampled and augmented clips, moving side by side."""
    if not shown:
        return []
    words = (
        "Clips of one video, sampled and augmented as in training. The encoder is asked to give "
        "the clips of a pair features that are alike, and unlike those of other videos."
    )
    figures = []
    for pair in shown:
        pictures = "".join(
            f'<img loading="lazy" src="{webp(clip_THWC, seconds=PAIR_SECONDS)}" '
            f'alt="clip {number} of {escape(pair.caption)}">'
            for number, clip_THWC in enumerate(pair.clips_VTHWC, start=1)
        )
        caption = f"<figcaption>{escape(pair.caption)}</figcaption>"
        figures.append(f'<figure class="pair">{pictures}{caption}</figure>')
    return [markup.paragraph(words), f'<div class="pairs">{"".join(figures)}</div>']


def data(content: Content) -> list[str]:
    """How many videos of what, and which were left out."""
    comparison = content.comparison
    named = [("train", comparison.train), ("test", comparison.test)]
    there = [(name, part) for name, part in named if part is not None]
    rows = [
        [name, str(len(part)), str(len(set(part.group_ids.tolist()))), _classes(part)]
        for name, part in there
    ]
    parts = [
        markup.paragraph(
            "Videos that this page is drawn from; the cards above say what was scored."
        ),
        markup.table(["part", "videos", "groups", "classes"], rows, numeric=3),
    ]
    if comparison.test.class_names:
        counts = [Counter(part.label_ids.tolist()) for _, part in there]
        by_class = [
            [label, *(str(count[number]) for count in counts)]
            for number, label in enumerate(comparison.test.class_names)
        ]
        table = markup.table(["class", *(name for name, _ in there)], by_class, numeric=len(there))
        parts.append(markup.details("videos by class", table))
    return [*parts, _quarantine(content.facts)]


def reproduce(facts: RunFacts) -> list[str]:
    """The commands that make the run again, its config and what it ran on."""
    parts = [markup.code("\n".join(facts.commands))]
    parts.append(markup.details("config.yaml", markup.code(facts.config)))
    if facts.environment:
        parts.append(markup.details("environment", markup.code(facts.environment)))
    return parts


def _confusion(content: Content) -> str:
    comparison = content.comparison
    names = comparison.test.class_names
    if not 2 <= len(names) <= MOST_CLASSES:
        return ""
    answers = knn_scores(comparison, "trained", content.k, content.temperature).predicted_M
    counts_CC = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts_CC, (comparison.test.label_ids, answers.numpy()), 1)
    drawing = plots.confusion(counts_CC, names, "kNN answers of the trained encoder")
    return f'<div class="narrow">{drawing}</div>'


def _search(search: Search, content: Content) -> str:
    query = markup.figure(
        _moving(search.query, content), search.query.caption, alternative="the query"
    )
    rows = [
        f'<div class="row"><span>{name}</span><div class="found">'
        f"{''.join(_hit(hit, content) for hit in found)}</div></div>"
        for name, found in search.found.items()
    ]
    return f'<div class="search">{query}<div>{"".join(rows)}</div></div>'


def _hit(hit: Hit, content: Content) -> str:
    mark, kind = ("✓", "right") if hit.right else ("✗", "wrong")
    caption = f"{mark} {hit.entry.caption} {hit.similarity:.2f}"
    return markup.figure(_moving(hit.entry, content), caption, kind)


def _moving(entry: Entry, content: Content) -> str:
    frames = glimpse(entry.path, start=entry.start, reader=content.comparison.reader)
    return webp(frames)


def _quarantine(facts: RunFacts) -> str:
    bad = facts.quarantined
    if not bad:
        return markup.paragraph("No video was left out of training.", "faint")
    table = markup.table(["left out", "reason"], bad)
    return markup.details(f"{len(bad)} left out of training as unreadable", table)


def _classes(part: Manifest) -> str:
    return str(len(set(part.label_ids.tolist()) - {-1})) if part.class_names else "-"


def _hundredths(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
