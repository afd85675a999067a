"""Memories of earlier batches: a queue of keys, and a bank with one entry per video.

Both are persistent buffers. Methods write to them after the optimiser step, with rows gathered over
all ranks, so every rank holds the same memory and a checkpoint contains all of it.

Shapes: K entries of a queue, N videos in a bank, V views, B rows written, U distinct videos among
them, D dimensions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.utils import dist
from cvrl.utils.checks import check_range

NONE = -1  # video and group of an entry that was never written


class Queue(nn.Module):
    """The last K keys, oldest overwritten first (He et al., arXiv 1911.05722, sec. 3.2).

    It starts with random unit vectors that belong to no video, so a loss over them is finite;
    :attr:`is_full` tells when all of them have been overwritten.

    Args:
        size: K >= 1.
        dim: D >= 1.

    Attributes:
        key_KD: unit norm.
        video_K: the video of each key, -1 for none; ``group_K`` likewise.

    Example:
        >>> queue = Queue(size=4, dim=2)
        >>> ids = torch.arange(3)
        >>> queue.push(torch.eye(3, 2), video_B=ids, group_B=ids)
        >>> queue.push(torch.eye(3, 2), video_B=ids + 3, group_B=ids)
        >>> queue.video_K.tolist(), queue.is_full
        ([4, 5, 2, 3], True)
    """

    key_KD: Tensor
    video_K: Tensor
    group_K: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        check_range("queue size", size, "[1, inf)")
        self.register_buffer("key_KD", F.normalize(torch.randn(size, dim)))
        self.register_buffer("video_K", torch.full((size,), NONE))
        self.register_buffer("group_K", torch.full((size,), NONE))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self._staged: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def is_full(self) -> bool:
        """Whether every entry holds a pushed key."""
        return int(self.filled) == len(self.key_KD)

    @property
    def fill(self) -> Tensor:
        """Fraction of entries that hold a pushed key, in [0, 1]."""
        return self.filled / len(self.key_KD)

    @torch.no_grad()
    def stage(self, key_VBD: Tensor, batch_video_B: Tensor, batch_group_B: Tensor) -> None:
        """Hold the keys of a batch, gathered over all ranks, until :meth:`push_staged`.

        Args:
            key_VBD: unit norm, of all ranks; view by view.
            batch_video_B: this rank's videos, as in ``Batch.video_id_B``.
            batch_group_B: their source groups.
        """
        V = len(key_VBD)
        video_M, group_M = dist.gather(batch_video_B), dist.gather(batch_group_B)
        self._staged.append((key_VBD.flatten(0, 1), video_M.repeat(V), group_M.repeat(V)))

    def push_staged(self) -> None:
        """Push the keys held by :meth:`stage`; call it after the optimiser step."""
        for key_MD, video_M, group_M in self._staged:
            self.push(key_MD, video_M, group_M)
        self._staged = []

    @torch.no_grad()
    def push(self, key_BD: Tensor, video_B: Tensor, group_B: Tensor) -> None:
        """Overwrite the oldest keys, wrapping around at the end.

        Args:
            key_BD: unit norm; of more than K rows the last K remain, as if pushed one by one.
            video_B: video of each key.
            group_B: its source group, negative for none.
        """
        K, B = len(self.key_KD), len(key_BD)
        place_B = (self.pointer + torch.arange(B, device=key_BD.device)) % K
        place_K = place_B[-K:]  # no place twice
        self.key_KD[place_K] = key_BD[-K:].to(self.key_KD.dtype)
        self.video_K[place_K] = video_B[-K:]
        self.group_K[place_K] = group_B[-K:]
        self.pointer.add_(B).remainder_(K)
        self.filled.add_(B).clamp_(max=K)


class Bank(nn.Module):
    """One unit vector per video, a moving average of its embeddings (Wu et al., 1805.01978).

    Entries start as random unit vectors. A video's group is stored at its first update.

    Args:
        videos: N >= 1.
        dim: D >= 1.

    Attributes:
        entry_ND: unit norm.
        group_N: source group of each video, -1 before its first update.

    Example:
        >>> bank = Bank(videos=5, dim=2)
        >>> seen = torch.tensor([3])
        >>> bank.update(seen, torch.tensor([[1.0, 0.0]]), group_B=seen, momentum=0.0)
        >>> bank.entry_ND[3].tolist(), bank.group_N.tolist()
        ([1.0, 0.0], [-1, -1, -1, 3, -1])
    """

    entry_ND: Tensor
    group_N: Tensor

    def __init__(self, videos: int, dim: int) -> None:
        super().__init__()
        check_range("videos of the bank", videos, "[1, inf)")
        self.register_buffer("entry_ND", F.normalize(torch.randn(videos, dim)))
        self.register_buffer("group_N", torch.full((videos,), NONE))

    @torch.no_grad()
    def update(self, video_B: Tensor, z_BD: Tensor, group_B: Tensor, momentum: float) -> None:
        """Update entries: ``entry = normalise(momentum * entry + (1 - momentum) * z)``.

        A video with several rows is updated once, towards their mean, whatever their order. The
        cost depends on B, not on N.

        Args:
            video_B: videos to update.
            z_BD: their embeddings, unit norm.
            group_B: their source groups, negative for none.
            momentum: weight of the old entry, in [0, 1].
        """
        video_U = torch.unique(video_B)
        is_of_UB = video_U[:, None] == video_B[None, :]
        share_UB = is_of_UB.to(self.entry_ND.dtype) / is_of_UB.sum(dim=1, keepdim=True)
        mean_UD = share_UB @ z_BD.to(self.entry_ND.dtype)
        moved_UD = momentum * self.entry_ND[video_U] + (1.0 - momentum) * mean_UD
        self.entry_ND[video_U] = F.normalize(moved_UD)
        self.group_N[video_U] = group_B[is_of_UB.int().argmax(dim=1)]
