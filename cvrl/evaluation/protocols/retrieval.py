"""Video retrieval: do the training videos nearest to a test video show the same class?

The training part is the gallery and the test part asks. Published numbers come from two recipes
that differ in clips, features and centring and must not share a table:

* ``vcop`` (Xu et al., CVPR 2019): ten clips a video, the centre of 112 pixels of frames stretched
  to 128 x 171 (scaled to the encoder's size), the last map max-pooled by two in height and
  width and kept spatial, its mean over the clips, cosine. Their loader leaves out the last videos
  of a list that do not fill a batch; here all are scored.
* ``coclr`` (Han et al., arXiv 2010.09709): windows that overlap by half, the centre of 224 pixels
  of frames with a short side of 256 (scaled to the encoder's size), their mean feature, from
  which each part's own mean is taken, cosine. The queries are centred together, so a score depends
  on which others are asked (transductive). Their transform jitters colours; here it does not.
* ``default``: evenly spread clips, their mean feature, the gallery's mean taken from both parts,
  cosine. Deterministic, and each query stands alone.

Shape suffixes: M queries, N gallery videos, Q queries of a chunk, D dims; B clips, C, T, H, W.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvrl.evaluation.protocols.chance import (
    random_average_precision,
    random_median_rank,
    random_recall,
)
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import UserError
from cvrl.utils.seed import torch_generator

RetrievalRecipe = Literal["default", "vcop", "coclr"]
RECIPES: tuple[RetrievalRecipe, ...] = ("default", "vcop", "coclr")
VCOP_CLIPS = 10
RANKS = (1, 5, 10, 20, 50)
DIGITS = 9  # cosines of float32 features that agree to so many are equal
FOR_TIES = 6  # the key of the draws that order equal cosines


@dataclass(frozen=True)
class RetrievalScores:
    """How soon the queries find a video of their class.

    Attributes:
        recall: for each k, the share of queries with one or more hits among the first k; None
            where k is all of the gallery or more, which says nothing.
        mean_ap: average precision over the whole gallery, mean over the queries of a class and
            then over the classes; in [0, 1].
        median_rank: of the first hit, counted from 1; a query without any counts as one more than
            its candidates.
        n_unmatched: queries that no candidate can answer, misses all.
    """

    recall: dict[int, float | None]
    mean_ap: float
    median_rank: float
    n_unmatched: int


@dataclass(frozen=True)
class Search:
    """Who looks for what among whom.

    Attributes:
        query_labels_M: classes of the queries.
        gallery_labels_N: classes of the gallery.
        query_groups_M: source groups of the queries; with ``gallery_groups_N``, candidates of a
            query's own group do not exist for it.
        gallery_groups_N: source groups of the gallery, numbered alike.

    Raises:
        UserError: an empty part, or a query that is left without a candidate.

    Example:
        >>> labels = torch.tensor([0, 1])
        >>> Search(labels, labels).counts()[0].tolist()
        [2, 2]
    """

    query_labels_M: Tensor
    gallery_labels_N: Tensor
    query_groups_M: Tensor | None = None
    gallery_groups_N: Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.query_labels_M) or not len(self.gallery_labels_N):
            raise UserError("retrieval", "a part holds no videos", "check the list and its splits")
        alone = int((torch.from_numpy(self.counts()[0]) == 0).sum())
        if alone:
            reason = f"{alone} queries have no candidate outside their own group"
            raise UserError("--leave-same-group-out", reason, "give a larger training part")

    def candidates(self, query_Q: Tensor) -> tuple[Tensor, Tensor]:
        """Which gallery videos some queries may find, and which of these are right: (Q, N) each."""
        right_QN = self.query_labels_M[query_Q, None] == self.gallery_labels_N
        allowed_QN = torch.ones_like(right_QN)
        if self.query_groups_M is not None and self.gallery_groups_N is not None:
            allowed_QN = self.query_groups_M[query_Q, None] != self.gallery_groups_N
        return allowed_QN, right_QN & allowed_QN

    def counts(self, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
        """Candidates of each query and right ones among them, integers (M,)."""
        parts = [
            torch.stack([kind.sum(dim=1) for kind in self.candidates(query_Q)])
            for query_Q in torch.split(torch.arange(len(self.query_labels_M)), chunk)
        ]
        n_M, r_M = torch.cat(parts, dim=1).numpy()
        return n_M, r_M


def unit_features(
    query_MD: Tensor, gallery_ND: Tensor, recipe: RetrievalRecipe
) -> tuple[Tensor, Tensor]:
    """Centre the videos' features as a recipe says and bring them to length 1, in float64.

    Args:
        query_MD: mean features of the queries.
        gallery_ND: mean features of the gallery.
        recipe: whose means are taken off.

    Example:
        >>> query, gallery = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 2.0]])
        >>> [part.tolist() for part in unit_features(query, gallery, "default")]
        [[[1.0, 0.0]], [[0.0, -1.0], [0.0, 1.0]]]
    """
    query_MD, gallery_ND = query_MD.double(), gallery_ND.double()
    mean_D = gallery_ND.mean(dim=0)
    if recipe == "default":
        query_MD, gallery_ND = query_MD - mean_D, gallery_ND - mean_D
    elif recipe == "coclr":
        query_MD, gallery_ND = query_MD - query_MD.mean(dim=0), gallery_ND - mean_D
    return F.normalize(query_MD, dim=1), F.normalize(gallery_ND, dim=1)


def retrieve(
    query_MD: Tensor, gallery_ND: Tensor, search: Search, *, seed: int = 0, chunk: int = 256
) -> RetrievalScores:
    """Rank the gallery for every query by dot product, and score the ranking.

    Equal candidates stand in an order drawn for each query, so that neither the order of the list
    nor a collapsed encoder earns anything.

    Args:
        query_MD: unit features, (M, D).
        gallery_ND: unit features, (N, D).
        search: labels and groups of both.
        seed: of the order of equal candidates.
        chunk: queries ranked at a time; bounds memory at chunk x N numbers.

    Example:
        >>> corners, labels = torch.eye(3).double(), torch.tensor([0, 1, 2])
        >>> found = retrieve(corners, corners, Search(labels, labels))
        >>> found.recall[1], found.mean_ap, found.median_rank
        (1.0, 1.0, 1.0)
    """
    generator = torch_generator(seed, FOR_TIES)
    rank, precision = [], []
    for query_Q in torch.split(torch.arange(len(query_MD)), chunk):
        allowed_QN, right_QN = search.candidates(query_Q)
        key_QN = (query_MD[query_Q] @ gallery_ND.T).double().round(decimals=DIGITS)
        draw_QN = torch.rand(key_QN.shape, generator=generator, dtype=torch.float64)
        key_QN += 0.5 * 10**-DIGITS * draw_QN
        key_QN[~allowed_QN] = -torch.inf
        hit_QN = right_QN.gather(1, key_QN.argsort(dim=1, descending=True))
        found_Q = hit_QN.any(dim=1)
        rank.append(torch.where(found_Q, hit_QN.int().argmax(dim=1), allowed_QN.sum(dim=1)) + 1)
        precision.append(_average_precision(hit_QN))
    n_M, r_M = search.counts()
    rank_M, precision_M = torch.cat(rank).numpy(), torch.cat(precision).numpy()
    return _scores(
        lambda k: (rank_M <= k) & (r_M > 0), precision_M, float(np.median(rank_M)), n_M, r_M, search
    )


def chance_retrieval(search: Search) -> RetrievalScores:
    """What a random ranking of each query's candidates scores: the exact mean over all rankings.

    The median rank is that of all queries and rankings taken together.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> chance_retrieval(Search(labels, labels)).recall[1]
        0.5
    """
    n_M, r_M = search.counts()
    return _scores(
        lambda k: random_recall(n_M, r_M, k),
        random_average_precision(n_M, r_M),
        random_median_rank(n_M, r_M),
        n_M,
        r_M,
        search,
    )


class MaxPooledMap(nn.Module):
    """The feature that VCOP searches by: the last map, max-pooled by two in height and width.

    For its network and clips of 16 frames of 112 x 112 pixels these are 512 x 2 x 3 x 3 = 9216
    numbers.

    Args:
        encoder: whose ``res5`` is pooled.

    Raises:
        UserError: a network without such a map.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> MaxPooledMap(build_encoder("r3d_small", width=2))(torch.rand(1, 3, 16, 64, 64)).shape
        torch.Size([1, 32])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if not isinstance(encoder, Encoder):
            raise UserError("retrieval by vcop", "the network has no map res5", "use build_encoder")
        self.encoder = encoder

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """The pooled map of each clip, flattened: (B, D)."""
        map_BCTHW = self.encoder.stages(clips_BCTHW)["res5"]
        kernel = (1, min(2, map_BCTHW.shape[3]), min(2, map_BCTHW.shape[4]))
        return F.max_pool3d(map_BCTHW, kernel).flatten(1)


def _average_precision(hit_QN: Tensor) -> Tensor:
    """Average precision of each ranking; 0 where nothing is right."""
    place_N = torch.arange(1, hit_QN.shape[1] + 1, dtype=torch.float64)
    precision_QN = hit_QN.cumsum(dim=1) / place_N
    return (precision_QN * hit_QN).sum(dim=1) / hit_QN.sum(dim=1).clamp(min=1)


def _scores(
    found_by: Callable[[int], np.ndarray],
    precision_M: np.ndarray,
    median_rank: float,
    n_M: np.ndarray,
    r_M: np.ndarray,
    search: Search,
) -> RetrievalScores:
    """Means over the queries; average precision over classes."""
    labels_M = search.query_labels_M.numpy()
    by_class = [precision_M[labels_M == c].mean() for c in np.unique(labels_M)]
    return RetrievalScores(
        recall={k: float(found_by(k).mean()) if k < n_M.min() else None for k in RANKS},
        mean_ap=float(np.mean(by_class)),
        median_rank=median_rank,
        n_unmatched=int((r_M == 0).sum()),
    )
