"""Does an embedding know what moment of an event it sees? Measures over sequences of frames.

* Alignment error (TCN, Sermanet et al., arXiv 1704.06888, 4.1): each frame of one camera is matched
  to the nearest frame of another camera of the same event; how far off is the match, as a share of
  the length. Its anchors are exact: 1/3 for a random match, 1/2 for an embedding that never
  changes, and 1/4 for whoever answers with the middle of the event, which is the one to beat.
* Phase Kendall's tau (TCC, Dwibedi et al., arXiv 1904.07846): do matches between any two sequences
  run forward. A sequence that is matched to a single frame has no tau, and counts as 0: TCC's code
  leaves it out, which flatters an embedding that has collapsed.
* The reward of following a demonstration (TCN, 5.1).

Distances are Euclidean, between embeddings as they are.

Shapes: N frames of a sequence, M of another, T frames of a demonstration, P steps of a path, D
dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvrl.data.manifest import Manifest
from cvrl.evaluation.features.extraction import Features
from cvrl.utils.errors import UserError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Match = Literal["time", "dtw"]


@dataclass(frozen=True)
class AlignmentScores:
    """How well the films of events are aligned.

    Attributes:
        error: alignment error, mean over pairs of cameras, both directions, and events, in [0, 1).
        forward: the error from each camera to a later one, which is all that TCN reports.
        backward: the error from each camera to an earlier one.
        kendall_tau: mean over ordered pairs of all films, in [-1, 1].
        n_events: events scored.
        n_pairs: pairs of films of one event, each counted once.
        lengths: frames that the films of each event were compared over.
    """

    error: float
    forward: float
    backward: float
    kendall_tau: float
    n_events: int
    n_pairs: int
    lengths: list[int]


def distances(a_ND: Tensor, b_MD: Tensor) -> Tensor:
    """Euclidean distances (N, M) in float64, exactly 0 between equal vectors.

    Example:
        >>> distances(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).tolist()
        [[5.0]]
    """
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(a_ND.double(), b_MD.double(), compute_mode=exact)


def alignment_error(a_ND: Tensor, b_ND: Tensor) -> float:
    """Mean |i - j| / N, where j is the frame of b nearest to frame i of a.

    Args:
        a_ND: embeddings of one camera's film, frame by frame.
        b_ND: those of another, row i showing the same moment. Of equal distances the first wins.

    Returns:
        A share of the length in [0, 1); 0 is perfect.

    Raises:
        ValueError: films of different lengths, or empty ones.

    Example:
        >>> phase = torch.arange(10.0)[:, None]
        >>> alignment_error(phase, phase + 0.1), alignment_error(phase, torch.zeros(10, 1))
        (0.0, 0.45)
    """
    if len(a_ND) != len(b_ND) or len(a_ND) == 0:
        raise ValueError(f"films of {len(a_ND)} and {len(b_ND)} frames cannot be aligned")
    nearest_N = distances(a_ND, b_ND).argmin(dim=1)
    frame_N = torch.arange(len(a_ND), device=nearest_N.device)
    return float((frame_N - nearest_N).abs().double().mean()) / len(a_ND)


def random_match_error(length: int) -> float:
    """What matching frames at random gives, on average: (N^2 - 1) / (3 N^2).

    Example:
        >>> round(random_match_error(100), 4)
        0.3333
    """
    return (length**2 - 1) / (3 * length**2)


def constant_match_error(length: int, answer: int) -> float:
    """What matching every frame to frame ``answer`` gives.

    Args:
        length: N.
        answer: 0 is what an embedding that never changes gives; the middle is the best.

    Example:
        >>> constant_match_error(100, answer=0), constant_match_error(100, answer=50)
        (0.495, 0.25)
    """
    return float(np.abs(np.arange(length) - answer).mean()) / length


def kendall_tau(rank_N: Ints) -> float:
    """Kendall's tau-b between the order of a sequence and the numbers in it.

    Returns:
        1 where they only rise, -1 where they only fall; 0 where all are equal, for which tau is not
        defined.

    Example:
        >>> kendall_tau(np.array([1, 2, 4])), kendall_tau(np.array([3, 1, 1])) < 0
        (1.0, True)
    """
    rises_P = np.sign(rank_N[None, :] - rank_N[:, None])[np.triu_indices(len(rank_N), k=1)]
    untied = np.count_nonzero(rises_P)
    return float(rises_P.sum() / np.sqrt(len(rises_P) * untied)) if untied else 0.0


def phase_tau(sequences: Sequence[Tensor]) -> float:
    """Mean Kendall's tau over ordered pairs of sequences, of any lengths.

    For each frame of the first, the nearest of the second is found; tau says how far those run in
    order.

    Args:
        sequences: embeddings (N, D) of two or more films.

    Raises:
        ValueError: fewer than two.

    Example:
        >>> phase = torch.arange(5.0)[:, None]
        >>> phase_tau([phase, phase + 0.1]), phase_tau([phase, torch.zeros(5, 1)])
        (1.0, 0.0)
    """
    if len(sequences) < 2:
        raise ValueError("Kendall's tau needs two sequences")
    taus = [
        kendall_tau(distances(a_ND, b_MD).argmin(dim=1).cpu().numpy())
        for a_ND, b_MD in permutations(sequences, 2)
    ]
    return float(np.mean(taus))


def score_alignment(films: Sequence[Sequence[Tensor]]) -> AlignmentScores:
    """Score the films of several events.

    Args:
        films: for each event the embeddings (N, D) of its cameras, in one order for all. Films of
            one event are compared over the length of the shortest.

    Raises:
        ValueError: no event, or one with a single film.

    Example:
        >>> phase = torch.arange(8.0)[:, None]
        >>> score_alignment([[phase, phase + 0.2]]).error
        0.0
    """
    if not films or any(len(event) < 2 for event in films):
        raise ValueError("every event needs films of two cameras, and there must be one")
    lengths = [min(len(film) for film in event) for event in films]
    forward, backward = [], []
    for event, length in zip(films, lengths, strict=True):
        pairs = list(combinations([film[:length] for film in event], 2))
        forward.append(float(np.mean([alignment_error(a, b) for a, b in pairs])))
        backward.append(float(np.mean([alignment_error(b, a) for a, b in pairs])))
    return AlignmentScores(
        error=float(np.mean(forward + backward)),
        forward=float(np.mean(forward)),
        backward=float(np.mean(backward)),
        kendall_tau=phase_tau([film for event in films for film in event]),
        n_events=len(films),
        n_pairs=sum(len(event) * (len(event) - 1) // 2 for event in films),
        lengths=lengths,
    )


def films_by_event(features: Features, videos: Manifest) -> list[list[Tensor]]:
    """Sort the features of a list of films into events, each film's clips in order of time.

    Args:
        features: of dense clips of every film, equally far apart.
        videos: the films, with their event in column ``event``.

    Raises:
        UserError: the list names no events, or an event has a single film.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> videos = make_manifest({"path": ["a/0.mp4", "a/1.mp4"], "event": ["a", "a"]}, root="/")
        >>> row, at = torch.tensor([0, 0, 1, 1]), torch.zeros(4)
        >>> found = films_by_event(Features(torch.rand(4, 3), row, at, at, 2), videos)
        >>> [len(event) for event in found], found[0][1].shape
        ([2], torch.Size([2, 3]))
    """
    check_events(videos)
    events: dict[str, list[Tensor]] = {}
    for row, event in enumerate(videos.table["event"].to_pylist()):
        events.setdefault(event, []).append(features.vectors_ND[features.index_N == row])
    return list(events.values())


def check_events(videos: Manifest) -> None:
    """Refuse a list that does not show every event by two cameras or more.

    Raises:
        UserError: what is missing.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> check_events(make_manifest({"path": ["a.mp4"]}, root="/"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: manifest: does not name events seen by several cameras; ...
    """
    remedy = "give folders of events, and each camera's file as data.cameras or --cameras"
    if "event" not in videos.table.column_names:
        raise UserError(videos.source, "does not name events seen by several cameras", remedy)
    names, counts = np.unique(videos.table["event"].to_pylist(), return_counts=True)
    if counts.min() < 2:
        raise UserError(f"{videos.source}, event {names[counts.argmin()]}", "has one film", remedy)


def dtw(cost_TN: Floats) -> Ints:
    """The cheapest way through two sequences in step (dynamic time warping).

    Each step of the path goes on in one sequence or in both; it begins with the first frames and
    ends with the last. Of equal costs, going on in both wins.

    Args:
        cost_TN: what it costs to match frame t of one with frame n of the other.

    Returns:
        (P, 2) matched frames, ascending in both columns.

    Raises:
        ValueError: an empty sequence.

    Example:
        >>> dtw(np.array([[0.0, 1.0, 4.0], [4.0, 1.0, 0.0]])).tolist()
        [[0, 0], [0, 1], [1, 2]]
    """
    T, N = cost_TN.shape
    if T == 0 or N == 0:
        raise ValueError("an empty sequence cannot be matched")
    total = np.full((T + 1, N + 1), np.inf)
    total[0, 0] = 0.0
    for t in range(T):
        for n in range(N):
            total[t + 1, n + 1] = cost_TN[t, n] + min(total[t, n], total[t, n + 1], total[t + 1, n])
    path = [(T - 1, N - 1)]
    while path[-1] != (0, 0):
        t, n = path[-1]
        before = [(t - 1, n - 1), (t - 1, n), (t, n - 1)]
        path.append(min(before, key=lambda step: total[step[0] + 1, step[1] + 1]))
    return np.array(path[::-1], dtype=np.int64)


def match_steps(square_TN: Floats, match: Match) -> Ints:
    """The step of a demonstration that each step of an execution is held against.

    Args:
        square_TN: squared distances between step t of the demonstration and n of the execution.
        match: ``time``: step n against step n of a demonstration as long; ``dtw``: against the
            nearest of those that warping matches it with, so pace does not count.

    Returns:
        (N,) steps of the demonstration, ascending.

    Raises:
        ValueError: another length under ``time``, or another ``match``.

    Example:
        >>> match_steps(np.array([[0.0, 1.0, 4.0], [4.0, 1.0, 0.0]]), "dtw").tolist()
        [0, 0, 1]
    """
    if match == "time":
        if square_TN.shape[0] != square_TN.shape[1]:
            raise ValueError(f"{square_TN.shape} steps cannot be matched by time; use match='dtw'")
        return np.arange(square_TN.shape[1])
    if match != "dtw":
        raise ValueError(f"match is 'time' or 'dtw', not {match!r}")
    on_path_TN = np.full(square_TN.shape, np.inf)
    row_P, column_P = dtw(square_TN).T
    on_path_TN[row_P, column_P] = square_TN[row_P, column_P]
    nearest_N: Ints = on_path_TN.argmin(axis=0)
    return nearest_N


def imitation_reward(
    demonstration_TD: Tensor,
    execution_ND: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    gamma: float = 1e-3,
    match: Match = "time",
) -> Floats:
    """R(v, w) = -alpha ||w - v||^2 - beta sqrt(gamma + ||w - v||^2) at each step of an execution.

    The square pulls from afar, the root goes on pulling when close. The most it can be is
    -beta sqrt(gamma), not 0.

    Args:
        demonstration_TD: embeddings v of what was shown.
        execution_ND: embeddings w of what was done.
        alpha: weight of the square.
        beta: weight of the root.
        gamma: what rounds the root off at 0, >= 0.
        match: see :func:`match_steps`.

    Returns:
        (N,) rewards.

    Raises:
        ValueError: another length under ``time``, or another ``match``.

    Example:
        >>> shown = torch.tensor([[0.0], [1.0]])
        >>> imitation_reward(shown, shown + 2.0, beta=0.0).tolist()
        [-2.0, -2.0]
    """
    square_TN = distances(demonstration_TD, execution_ND).square().cpu().numpy()
    square_N = square_TN[match_steps(square_TN, match), np.arange(square_TN.shape[1])]
    reward_N: Floats = -alpha * square_N - beta * np.sqrt(gamma + square_N)
    return reward_N
