"""Does a clip find the other clip of its own video? A score that needs no labels.

Shape suffixes: V videos, N clips, P picked clips (two a video), Q queries of a chunk, D dims.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cvrl.evaluation.features.extraction import Features
from cvrl.utils.errors import UserError

TIE = 1e-9  # cosines of float32 features closer than this are equal


@dataclass(frozen=True)
class InstanceScores:
    """How often a clip finds its partner; every score is a share in [0, 1].

    Attributes:
        r1: share of clips whose nearest candidate is the other clip of their video.
        r5: share that has it among the five nearest.
        chance_r1: r1 of a random order of the candidates.
        chance_r5: r5 of a random order.
        alignment: mean squared distance between partners on the unit sphere; 0 is equal.
        n_queries: clips that searched, two a video.
        n_same_clip: videos so short that both of their clips start at the same time. They are
            scored, but they are hits for nothing.
    """

    r1: float
    r5: float
    chance_r1: float
    chance_r5: float
    alignment: float
    n_queries: int
    n_same_clip: int


def instance_retrieval(
    features: Features, group_id: Tensor | None = None, chunk: int = 1024
) -> InstanceScores:
    """Let the first and the last clip of each video look for each other among all videos' clips.

    The candidates of a clip are its partner and both clips of every other video, less those of its
    own group, which may show the same scene. Similarity is the cosine. Candidates as near as the
    partner stand in random order with it, so a collapsed encoder gets exactly chance.

    Args:
        features: two or more clips of each video.
        group_id: source group of each video, integers (V,); None or negative: no group.
        chunk: queries compared at a time.

    Raises:
        UserError: a video with one clip only, or fewer than two videos.

    Example:
        >>> seconds, video = torch.zeros(4), torch.tensor([0, 0, 1, 1])
        >>> clips = Features(torch.eye(2)[video], video, seconds, seconds, n_listed=2)
        >>> instance_retrieval(clips).r1
        1.0
    """
    first_V, last_V = _first_and_last(features)
    n_videos = features.n_listed
    rows_P = torch.cat([first_V, last_V])
    unit_PD = F.normalize(features.vectors_ND[rows_P].double(), dim=1)
    group_V = torch.full((n_videos,), -1) if group_id is None else group_id.cpu()
    queries = torch.split(torch.arange(len(rows_P)), chunk)
    counts = [_count_rivals(unit_PD, group_V, query_Q) for query_Q in queries]
    nearer_P, tied_P, rivals_P = torch.cat(counts, dim=1).double()
    return InstanceScores(
        r1=_recall(1, nearer_P, tied_P),
        r5=_recall(5, nearer_P, tied_P),
        chance_r1=_recall(1, torch.zeros_like(rivals_P), rivals_P),
        chance_r5=_recall(5, torch.zeros_like(rivals_P), rivals_P),
        alignment=float((unit_PD[:n_videos] - unit_PD[n_videos:]).square().sum(dim=1).mean()),
        n_queries=len(rows_P),
        n_same_clip=int((features.start_N[first_V] == features.start_N[last_V]).sum()),
    )


def _count_rivals(unit_PD: Tensor, group_V: Tensor, query_Q: Tensor) -> Tensor:
    """For each query, how many rivals are nearer than its partner, as near, or at all: (3, Q)."""
    n_videos = len(group_V)
    video_P = torch.arange(n_videos).repeat(2)
    group_P = group_V.repeat(2)
    similarity_QP = unit_PD[query_Q] @ unit_PD.T
    partner_Q = (query_Q + n_videos) % len(unit_PD)
    ahead_QP = similarity_QP - similarity_QP.gather(1, partner_Q[:, None])
    same_group_QP = (group_P[query_Q, None] == group_P) & (group_P[query_Q, None] >= 0)
    rival_QP = (video_P[query_Q, None] != video_P) & ~same_group_QP
    tied_QP = ahead_QP.abs() < TIE
    nearer_QP = (ahead_QP > 0) & ~tied_QP
    return torch.stack([(kind & rival_QP).sum(1) for kind in (nearer_QP, tied_QP, rival_QP)])


def _recall(k: int, nearer_P: Tensor, tied_P: Tensor) -> float:
    """Mean chance that the partner is among the first k, ties in random order."""
    return float(((k - nearer_P) / (tied_P + 1)).clamp(0, 1).mean())


def _first_and_last(features: Features) -> tuple[Tensor, Tensor]:
    """Rows of the earliest and the latest clip of each video, in the order of the list."""
    if features.n_listed < 2:
        raise UserError("instance retrieval", "needs two videos or more", "give a larger list")
    count_V = features.index_N.bincount(minlength=features.n_listed)
    if bool((count_V < 2).any()):
        raise UserError(
            "instance retrieval", "needs two clips of each video or more", "use --clips 2 or more"
        )
    order_N = torch.argsort(features.index_N, stable=True)
    end_V = count_V.cumsum(0)
    return order_N[end_V - count_V], order_N[end_V - 1]
