"""Features of several encoders joined into one vector a clip, such as of frames and differences.

Each encoder takes clips of its own shape. The n-th clips of a video lie at nearly the same place,
since both kinds are spread evenly over it.

Shape suffixes: N clips of all videos, D dims of all encoders.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from cvrl.evaluation.features.extraction import Features


def join_features(parts: Sequence[Features]) -> Features:
    """Concatenate the features of several encoders, each brought to length 1 first.

    Args:
        parts: of one list, with the same number of clips of each video.

    Returns:
        Vectors (N, D) of the videos that every encoder could read; the others are in ``bad``. The
        times are those of the first encoder's clips.

    Example:
        >>> one = torch.tensor([0])
        >>> first = Features(torch.tensor([[3.0, 4.0]]), one, one, one, n_listed=1)
        >>> second = Features(torch.tensor([[0.5]]), one, one, one, n_listed=1)
        >>> [round(x, 2) for x in join_features([first, second]).vectors_ND[0].tolist()]
        [0.6, 0.8, 1.0]
    """
    bad = tuple(dict(one for part in parts for one in reversed(part.bad)).items())
    rows = [set(part.index_N.tolist()) for part in parts]
    kept = [only_rows(part, set.intersection(*rows)) for part in parts]
    if any(not torch.equal(part.index_N, kept[0].index_N) for part in kept):
        raise ValueError("the encoders took different numbers of clips of a video")
    unit = [F.normalize(part.vectors_ND, dim=1) for part in kept]
    return replace(kept[0], vectors_ND=torch.cat(unit, dim=1), bad=bad)


def only_rows(features: Features, rows: set[int]) -> Features:
    """The features of some videos of the list.

    Args:
        features: of the list.
        rows: of the videos.

    Example:
        >>> index = torch.tensor([0, 0, 2])
        >>> clips = Features(torch.ones(3, 1), index, index, index, n_listed=3)
        >>> only_rows(clips, {2}).index_N.tolist()
        [2]
    """
    kept_N = torch.isin(features.index_N, torch.tensor(sorted(rows), dtype=torch.long))
    names = ("vectors_ND", "index_N", "start_N", "end_N")
    return replace(features, **{name: getattr(features, name)[kept_N] for name in names})
