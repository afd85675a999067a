"""The headline of a run's page: the main score of its first result in one sentence."""

from cvrl.evaluation.card import Result
from cvrl.evaluation.metrics import metric

CLAIMS = {
    "knn": "of {n} held-out videos are classified correctly by kNN",
    "linear": "of {n} held-out videos are classified correctly by a linear classifier",
    "instance": "of clips retrieve the other clip of their own video among {n} videos",
}


def headline(result: Result) -> str:
    """State the main score in plain words, with the direction where lower is better.

    Example:
        >>> from cvrl.evaluation.card import Row, example_card
        >>> rows = [Row("trained", {"top1": 0.5}), Row("untrained", {"top1": 0.25})]
        >>> headline(Result(example_card(), rows))
        '50 % of 8 held-out videos are classified correctly by kNN (random init: 25 %)'
    """
    card = result.card
    name = next(iter(result.rows[0].scores))
    shares = {row.name: row.scores.get(name) for row in result.rows}
    shown, initial = shares.get("trained") or 0.0, shares.get("untrained")
    measure = metric(name)
    if measure.better == "higher" and card.protocol in CLAIMS:
        words = f"{100 * shown:.0f} % {CLAIMS[card.protocol].format(n=card.n_scored)}"
        return words if initial is None else f"{words} (random init: {100 * initial:.0f} %)"
    title = measure.title.removesuffix(" %")
    start = "" if initial is None else f"; random init: {100 * initial:.0f} %"
    words = f"{title[0].upper()}{title[1:]}: {100 * shown:.0f} % on {card.n_scored} videos"
    return f"{words} ({measure.direction}{start})"
