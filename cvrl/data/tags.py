"""Labels that are several tags at once: ``"surf+sea"`` is surf and sea.

Shapes: K distinct labels, H tags.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SEPARATOR = "+"


def multi_hot(class_names: Sequence[str]) -> tuple[list[str], Tensor]:
    """The tags of labels.

    Args:
        class_names: K labels, tags joined by ``+``.

    Returns:
        H tags, sorted, and (K, H) zeros and ones.

    Example:
        >>> tags, has_KH = multi_hot(["sea", "sea+surf"])
        >>> tags, has_KH.tolist()
        (['sea', 'surf'], [[1.0, 0.0], [1.0, 1.0]])
    """
    tags_K = [{tag.strip() for tag in name.split(SEPARATOR)} - {""} for name in class_names]
    tags = sorted(set().union(*tags_K))
    has_KH = torch.tensor([[float(tag in own) for tag in tags] for own in tags_K])
    return tags, has_KH
