"""One line on what a score rests on: appearance or motion, the background or what moves."""

from collections.abc import Sequence
from math import sqrt

from cvrl.data.perturbations import TITLES, Perturbation
from cvrl.evaluation.card import Result, main_score
from cvrl.evaluation.metrics import metric

MOSTLY = 0.8  # of what is above chance, kept without motion: the score rests on appearance
HARDLY = 0.5
WITHOUT_MOTION: tuple[Perturbation, ...] = ("still", "shuffled")


def verdicts(results: Sequence[Result]) -> list[str]:
    """Conclude from the scores of one evaluation under several perturbations.

    Compared is what is left of the distance between the plain score and chance, where the probe has
    learned from clips perturbed alike.

    Args:
        results: of one evaluation.

    Returns:
        A line for each protocol that was also scored on still or shuffled clips.

    Example:
        >>> from dataclasses import replace
        >>> from cvrl.evaluation.card import Row, example_card
        >>> def scored(show, share):
        ...     rows = [Row("trained", {"top1": share}), Row("chance", {"top1": 0.1})]
        ...     return Result(replace(example_card(), show=show, train_show=show), rows)
        >>> for line in verdicts([scored("plain", 0.9), scored("still", 0.86)]):
        ...     print(line)  # doctest: +ELLIPSIS
        verdict (knn top-1 %): one frame repeated keeps 95 % of what is above chance: the score ...
    """
    lines = []
    asked = [(result.card.protocol, result.card.inner_stage) for result in results]
    for which in dict.fromkeys(asked):
        alike = [result for result, of in zip(results, asked, strict=True) if of == which]
        own = [result for result in alike if not result.card.taught_plain]
        by_show = {result.card.show: result for result in own}
        if "plain" in by_show and any(show in by_show for show in WITHOUT_MOTION):
            lines.append(_verdict(by_show))
    return lines


def _verdict(by_show: dict[Perturbation, Result]) -> str:
    plain = by_show["plain"]
    key = main_score(plain.row("trained").scores)
    chance = plain.row("chance").scores.get(key) if key else None
    if key is None or chance is None:
        return f"verdict ({plain.card.protocol}): none, since chance is not known for its score"
    name = f"verdict ({plain.card.protocol} {plain.card.inner_stage or ''} {metric(key).title})"
    name = name.replace("  ", " ")
    score = plain.row("trained").scores[key] or 0.0
    above = score - chance if metric(key).better == "higher" else chance - score
    noise = 2 * sqrt(max(score * (1 - score), 1e-9) / max(plain.card.n_scored, 1))
    if above <= noise:
        return f"{name}: none, since the plain score cannot be told from chance"
    kept = {
        show: ((result.row("trained").scores[key] or 0.0) - chance) / (score - chance)
        for show, result in by_show.items()
        if show != "plain" and result.row("trained").scores.get(key) is not None
    }
    parts = [f"{TITLES[show]} keeps {100 * share:.0f} %" for show, share in kept.items()]
    least = min(share for show, share in kept.items() if show in WITHOUT_MOTION)
    rests = "both on appearance and on motion"
    if least >= MOSTLY:
        rests = "mostly on appearance"
    elif least <= HARDLY:
        rests = "mostly on motion"
    doubt = ""
    if (1 - least) * above <= noise and least < MOSTLY:
        doubt = f" (not certain with {plain.card.n_scored} videos)"
    return f"{name}: {', '.join(parts)} of what is above chance: the score rests {rests}{doubt}"
