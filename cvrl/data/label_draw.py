"""Which videos of a list keep their label, where only a few are to have one."""

import numpy as np
from numpy.typing import NDArray

from cvrl.data.manifest import Manifest
from cvrl.utils.errors import UserError
from cvrl.utils.seed import numpy_rng

FOR_LABELS = 5  # last part of the key of the draw


def draw_labelled(
    videos: Manifest, *, per_class: int | None = None, fraction: float | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Draw as many videos of every class, or the same share of every class.

    The classes are shuffled once by the seed and the first videos taken, so that of two draws with
    one seed the smaller lies in the larger. Videos are drawn, not source groups: two clips of one
    scene may both have a label, as where people label clips.

    Args:
        videos: the list; those without a label are never drawn.
        per_class: videos of each class, >= 1.
        fraction: of each class, in (0, 1], rounded, and at least one video.
        seed: of the draw.

    Returns:
        Rows of the list, ascending.

    Raises:
        UserError: a class has too few videos, or none has a label.
        ValueError: not one of ``per_class`` and ``fraction``.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> names = [f"{i}.mp4" for i in range(6)]
        >>> videos = make_manifest({"path": names, "label": list("aabbbb")}, root="/")
        >>> rows = draw_labelled(videos, fraction=0.5)
        >>> videos.label_ids[rows].tolist()
        [0, 1, 1]
    """
    if (per_class is None) == (fraction is None):
        raise ValueError("give per_class or fraction, and not both")
    if not (videos.label_ids >= 0).any():
        raise UserError(videos.source, "has no labels to draw from", "give a list with labels")
    drawn = []
    for label, name in enumerate(videos.class_names):
        rows = numpy_rng(seed, label, FOR_LABELS).permutation(
            np.flatnonzero(videos.label_ids == label)
        )
        count = per_class if per_class is not None else max(1, round((fraction or 0) * len(rows)))
        if count > len(rows) > 0:
            reason = f"has {len(rows)} training videos of class {name}, fewer than {count}"
            raise UserError(videos.source, reason, f"use data.labels_per_class={len(rows)}")
        drawn.append(rows[:count])
    return np.sort(np.concatenate(drawn))
