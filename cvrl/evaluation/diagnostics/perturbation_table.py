"""Motion or scene: one score under every perturbation of the clips, beside the plain one.

Two questions are kept apart, and a table names them:

* *taught on the same clips*: what can be told from such clips at all. A probe learns from training
  clips that show the same as the test clips.
* *taught on plain clips*: what the answer goes by. A probe, or a trained classifier, has learned
  from the plain video, and only what it is tested on has changed. A loss here can also come from
  clips that look strange; a score that stays says that what was taken away was not needed.

Shapes: N clips of all videos, D dimensions; S perturbations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from cvrl.data.dataset import EvalDataset
from cvrl.data.perturbations import PERTURBATIONS, TITLES, Perturbation, moving
from cvrl.evaluation.card import SCORE_TITLES, Result
from cvrl.evaluation.diagnostics.verdict import verdicts
from cvrl.evaluation.features.extraction import Features
from cvrl.evaluation.result_table import render, stage_table

__all__ = ["PERTURBATIONS", "by_perturbation", "motion_table", "moving_note", "pairings", "present"]


def pairings(
    perturbations: Sequence[Perturbation], *, learns: bool
) -> list[tuple[Perturbation, Perturbation | None]]:
    """What the test clips show, and the training clips with them, for every inputs.

    Args:
        perturbations: of the evaluation.
        learns: whether the protocol learns from a training part.

    Example:
        >>> pairings(["plain", "still"], learns=True)
        [('plain', 'plain'), ('still', 'still'), ('still', 'plain')]
        >>> pairings(["plain", "still"], learns=False)
        [('plain', None), ('still', None)]
    """
    if not learns:
        return [(name, None) for name in perturbations]
    same: list[tuple[Perturbation, Perturbation | None]] = [(name, name) for name in perturbations]
    if "plain" not in perturbations:
        return same
    return same + [(name, "plain") for name in perturbations if name != "plain"]


def by_perturbation(
    features: Features, perturbations: Sequence[Perturbation]
) -> dict[Perturbation, Features]:
    """Take apart the features of clips that an ``EvalDataset`` gave under several perturbations.

    Args:
        features: of each video the clips of the first perturbation, then those of the second.
        perturbations: S names.

    Example:
        >>> vectors, zeros = torch.tensor([[1.0], [2.0]]), torch.zeros(2)
        >>> clips = Features(vectors, zeros.long(), zeros, zeros, n_listed=1)
        >>> by_perturbation(clips, ["plain", "still"])["still"].vectors_ND.tolist()
        [[2.0]]
    """
    video_N = features.index_N.long()  # ascending, as the loader keeps the order of the list
    count_V = video_N.bincount(minlength=features.n_listed)
    first_V = count_V.cumsum(0) - count_V
    place_N = torch.arange(len(video_N)) - first_V[video_N]
    perturbation_N = place_N * len(perturbations) // count_V[video_N]
    return {
        name: _rows(features, perturbation_N == number) for number, name in enumerate(perturbations)
    }


def _rows(features: Features, chosen_N: torch.Tensor) -> Features:
    return replace(
        features,
        vectors_ND=features.vectors_ND[chosen_N],
        index_N=features.index_N[chosen_N],
        start_N=features.start_N[chosen_N],
        end_N=features.end_N[chosen_N],
    )


def moving_note(test: EvalDataset, videos: int = 16) -> str:
    """Say how much of the picture is taken for moving, on some videos spread over a list.

    It tells whether the blurred perturbations took away what they should: see
    :func:`cvrl.data.perturbations.moving`.

    Args:
        test: the clips.
        videos: how many at most.

    Example:
        >>> from cvrl.data.clips import ClipSpec
        >>> from cvrl.data.manifest import make_manifest
        >>> videos = make_manifest({"path": ["a.mp4"]}, root="/")
        >>> moving_note(EvalDataset(videos, ClipSpec(8, 4), 1, torch.nn.Identity()))
        'none of 1 videos can be read to see what moves'
    """
    rows = np.unique(np.linspace(0, len(test) - 1, min(videos, len(test))).astype(np.int64))
    how: dict[str, Any] = {"reader": test.reader, "name_bad": True}
    some = EvalDataset(test.manifest.take(rows), test.spec, 1, lambda clips: clips, **how)
    clips = [item.clips_NCTHW for item in map(some.__getitem__, range(len(some))) if not item.bad]
    if not clips:
        return f"none of {len(some)} videos can be read to see what moves"
    share = float(np.mean([moving(clips_NCTHW).float().mean().item() for clips_NCTHW in clips]))
    return (
        f"{100 * share:.0f} % of the picture is taken for moving ({len(clips)} test videos); where"
        " that is most of it the camera moves, and a blurred background or foreground means little"
    )


def present(results: Iterable[Result], folder: str | PathLike[str]) -> list[Result]:
    """Print results and write each; of several perturbations or stages also one table.

    Of several results of a protocol the first is printed with its card. The other cards differ in
    the perturbation or stage and are in their files; notes that only they have are printed.

    Args:
        results: of one evaluation.
        folder: for their JSON files.

    Returns:
        The results.
    """
    console, shown, told = Console(), list[Result](), set[str]()
    for result in results:
        first = all(one.card.protocol != result.card.protocol for one in shown)
        if first:
            console.print(render(result))
        lines = [] if first else [f"note: {n}" for n in result.card.notes if n not in told]
        told.update(result.card.notes)
        for line in (*lines, str(result.write(folder))):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        shown.append(result)
    if len({result.card.show for result in shown}) > 1:
        console.print(motion_table(shown))
        for line in verdicts(shown):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    elif len({result.card.stage for result in shown}) > 1:
        console.print(stage_table(shown))
    return shown


def motion_table(results: Sequence[Result]) -> Table:
    """The score of each protocol as the clips run, and under each perturbation.

    Args:
        results: of one evaluation under several perturbations.

    Returns:
        Something for ``rich.console.Console.print``. Scores are the first that a protocol defines.

    Example:
        >>> from cvrl.evaluation.card import Row, example_card
        >>> result = Result(example_card(), [Row("trained", {"top1": 0.5}), Row("chance", {})])
        >>> motion_table([result]).row_count
        2
    """
    table = Table(title="Motion or scene: what is left of the score", title_justify="left")
    table.add_column("test clips show", no_wrap=True)
    for name in ("taught on the same", "taught on plain", "random init", "chance"):
        table.add_column(name, justify="right")
    asked = [(result.card.protocol, result.card.inner_stage) for result in results]
    for protocol, stage in dict.fromkeys(asked):
        own = [one for one, of in zip(results, asked, strict=True) if of == (protocol, stage)]
        key = next(iter(own[0].rows[0].scores))
        table.add_row(" ".join(filter(None, [protocol, stage, SCORE_TITLES.get(key, key)])))
        for perturbation in dict.fromkeys(result.card.show for result in own):
            table.add_row(*_line([result for result in own if result.card.show == perturbation]))
        table.add_section()
    return table


def _line(results: Sequence[Result]) -> list[str]:
    """The cells of one protocol and perturbation, from its results taught this way and that.

    The random-init baseline is taught as the trained one of the first column that has a number.
    """
    card = results[0].card
    key = next(iter(results[0].rows[0].scores))
    taught = {result.card.train_show: result for result in results}
    if card.protocol == "classifier":
        same, plain = None, taught[None]  # it learned from the plain video before
    elif None in taught:
        same, plain = taught[None], None
    else:
        same, plain = taught.get(card.show), taught.get("plain")
    cells = [_cell(same, "trained", key), _cell(plain, "trained", key)]
    beside = same or plain
    return [
        f"  {TITLES[card.show]}",
        *cells,
        _cell(beside, "untrained", key),
        _cell(beside, "chance", key),
    ]


def _cell(result: Result | None, row: str, key: str) -> str:
    rows = [] if result is None else [one for one in result.rows if one.name == row]
    share = rows[0].scores.get(key) if rows else None
    return "" if share is None else f"{100 * share:.1f}"
