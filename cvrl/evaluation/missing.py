"""Videos of a list that are not there or cannot be decoded: an error, or counted by name.

By default the first of them ends an evaluation. Where a user allows it, the data set names such
files instead (``EvalDataset(..., name_bad=True)``), and :func:`account_for` says which part of the
list was scored. Either way every listed video is scored or named; a protocol cannot lose one.

Shape suffixes: V videos scored, N clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvrl.data.dataset import BadVideo
from cvrl.data.manifest import Manifest
from cvrl.utils.errors import CorruptVideoError, UserError

NAMED = 5  # missing videos that a card names


@dataclass(frozen=True)
class Account:
    """Where the videos of a list went.

    Attributes:
        manifest: the videos scored, in the order of the list.
        row_V: their rows in the list.
        bad: path and reason of each of the others.
        n_listed: videos in the list: ``len(row_V) + len(bad)``.
    """

    manifest: Manifest
    row_V: NDArray[np.int64]
    bad: tuple[BadVideo, ...]
    n_listed: int

    @property
    def names(self) -> list[str]:
        """``path: reason`` of the first few that are missing, for a card."""
        return [f"{path}: {reason}" for path, reason in self.bad[:NAMED]]

    def renumber(self, index_N: Tensor) -> Tensor:
        """Rows of ``manifest`` for rows of the whole list.

        Args:
            index_N: rows of videos that were scored.

        Example:
            >>> from cvrl.data.manifest import make_manifest
            >>> videos = make_manifest({"path": ["a.mp4", "b.mp4"]}, root="/")
            >>> kept = account_for(videos, torch.tensor([1]), [("/a.mp4", "no such file")])
            >>> kept.renumber(torch.tensor([1, 1])).tolist(), kept.names
            ([0, 0], ['/a.mp4: no such file'])
        """
        place = torch.full((self.n_listed,), -1)
        place[torch.from_numpy(self.row_V)] = torch.arange(len(self.row_V))
        return place[index_N]


def account_for(manifest: Manifest, index_N: Tensor, bad: Sequence[BadVideo] = ()) -> Account:
    """Say which videos of a list were scored, and refuse to lose one.

    Args:
        manifest: the list.
        index_N: the row of every clip that was scored.
        bad: path and reason of the videos that could not be read, as the loader's batches name
            them.

    Raises:
        CorruptVideoError: a video was neither scored nor named.
        UserError: none could be read.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> videos = make_manifest({"path": ["a.mp4", "b.mp4"]}, root="/")
        >>> account_for(videos, torch.tensor([1, 1]))
        Traceback (most recent call last):
        cvrl.utils.errors.CorruptVideoError: /a.mp4: gave no clip; 1 of 2 videos were scored
    """
    row_V = np.unique(index_N.cpu().numpy()).astype(np.int64)
    named = {path for path, _ in bad}
    for row in np.setdiff1d(np.arange(len(manifest)), row_V):
        if manifest.path(int(row)) not in named:
            reason = f"gave no clip; {len(row_V)} of {len(manifest)} videos were scored"
            raise CorruptVideoError(manifest.path(int(row)), reason)
    if not len(row_V):
        path, reason = bad[0]
        raise UserError(path, reason, f"none of the {len(manifest)} videos can be decoded")
    assert len(row_V) + len(bad) == len(manifest)
    whole = len(row_V) == len(manifest)
    kept = manifest if whole else manifest.take(row_V)
    return Account(kept, row_V, tuple(bad), len(manifest))
