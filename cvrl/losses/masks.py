"""Who is compared with whom: one pair of masks serves every contrastive loss.

Shape suffixes: A anchors, K keys.
"""

from torch import Tensor


def same_group(group_A: Tensor, group_K: Tensor) -> Tensor:
    """Mark the keys that come from the same source group as the anchor.

    A group is the scene, person or original film that several videos were cut from. A negative id
    means "no group known" and matches nothing, not even another negative id.

    Args:
        group_A: integer group ids of the anchors, shape (A,).
        group_K: integer group ids of the keys, shape (K,).

    Returns:
        Boolean tensor of shape (A, K).

    Example:
        >>> import torch
        >>> same_group(torch.tensor([3, -1]), torch.tensor([3, 4, -1])).tolist()
        [[True, False, False], [False, False, False]]
    """
    return (group_A[:, None] == group_K[None, :]) & (group_A[:, None] >= 0)


def view_masks(
    video_A: Tensor,
    view_A: Tensor,
    video_K: Tensor,
    view_K: Tensor,
    group_A: Tensor | None = None,
    group_K: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Say which keys are positive and which are negative for each anchor; the others are ignored.

    Positive: another view of the anchor's video. Negative: any view of another video. Ignored: the
    anchor itself, and other videos of its group, which may show the very same scene: as negatives
    they would push near-duplicates apart (UCF101 has 4 to 7 such clips a group).

    Args:
        video_A: which video each anchor shows, integers (A,); ``video_K``, (K,), for the keys.
        view_A: which view of its video it is, integers (A,); ``view_K`` likewise.
        video_K: see ``video_A``.
        view_K: see ``view_A``.
        group_A: source group of each anchor, integers (A,), negative for none; ``group_K`` too.
        group_K: see ``group_A``.

    Returns:
        Two boolean tensors (A, K), positive and negative. They never overlap.

    Example:
        >>> import torch
        >>> video, view = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
        >>> positive, negative = view_masks(video, view, video, view)
        >>> positive[0].tolist(), negative[0].tolist()
        ([False, False, True, False], [False, True, False, True])
    """
    if (group_A is None) != (group_K is None):
        raise ValueError("group ids are needed for the anchors and the keys, or for neither")
    same_video = video_A[:, None] == video_K[None, :]
    positive = same_video & (view_A[:, None] != view_K[None, :])
    negative = ~same_video
    if group_A is not None and group_K is not None:
        negative &= ~same_group(group_A, group_K)
    return positive, negative
