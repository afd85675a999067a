"""What a method remembers of earlier batches: a queue of keys, or an entry for every video.

Both are persistent buffers, written by their owner after the optimiser's step with rows gathered
over all ranks, so that every rank holds the same memory and a checkpoint holds all of it.

Shapes: K entries of a queue, N videos in a bank, B rows written, U different videos among them,
D dimensions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvrl.utils.checks import check_range

NONE = -1  # the video and the group of an entry that nothing was written to


class Queue(nn.Module):
    """The last K keys, oldest overwritten first (He et al., arXiv 1911.05722, sec. 3.2).

    It starts with random directions that belong to no video: a loss over them is finite, and
    :attr:`is_full` says when the last of them has gone.

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

    @property
    def is_full(self) -> bool:
        """Whether every entry is a key that was pushed."""
        return int(self.filled) == len(self.key_KD)

    @property
    def fill(self) -> Tensor:
        """The share of entries that were pushed, in [0, 1]."""
        return self.filled / len(self.key_KD)

    @torch.no_grad()
    def push(self, key_BD: Tensor, video_B: Tensor, group_B: Tensor) -> None:
        """Write keys over the oldest ones, going on at the front where the end is reached.

        Args:
            key_BD: unit norm; of more than K rows the last K stay, as if pushed one by one.
            video_B: the video each key shows.
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
    """One direction for every video, following what was last seen of it (Wu et al., 1805.01978).

    Entries start as random directions. A video's group is known from its first visit on; before
    that its entry shows nothing of it that a group could share.

    Args:
        videos: N >= 1.
        dim: D >= 1.

    Attributes:
        entry_ND: unit norm.
        group_N: the source group of each video, -1 until it is seen.

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
        """Move the entries of some videos: ``entry = unit(momentum * entry + (1 - momentum) * z)``.

        A video that stands in several rows moves once, towards their mean, whatever their order.
        The cost depends on the rows, not on N.

        Args:
            video_B: whose entries.
            z_BD: unit norm, what was seen of them.
            group_B: their source groups, negative for none.
            momentum: share of the old entry, in [0, 1].
        """
        video_U = torch.unique(video_B)
        is_of_UB = video_U[:, None] == video_B[None, :]
        share_UB = is_of_UB.to(self.entry_ND.dtype) / is_of_UB.sum(dim=1, keepdim=True)
        mean_UD = share_UB @ z_BD.to(self.entry_ND.dtype)
        moved_UD = momentum * self.entry_ND[video_U] + (1.0 - momentum) * mean_UD
        self.entry_ND[video_U] = F.normalize(moved_UD)
        self.group_N[video_U] = group_B[is_of_UB.int().argmax(dim=1)]
