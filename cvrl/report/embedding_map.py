"""Project features to two dimensions and plot them: a point per video, coloured by label.

Shapes: V videos, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvrl.report.plots import inline_svg

MIN_FOR_TSNE = 30
MAX_FOR_TSNE = 2000
PALETTE = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1"),
    *("#76b7b2", "#edc948", "#ff9da7", "#9c755f", "#8a8f98"),
)


def project(vectors_VD: NDArray[np.float32], seed: int = 0) -> tuple[NDArray[np.float32], str]:
    """Project features to two dimensions.

    Features are scaled to unit length. From 30 to 2000 videos are projected by t-SNE (van der
    Maaten and Hinton 2008), others by PCA.

    Args:
        vectors_VD: features of at least two videos.
        seed: of t-SNE.

    Returns:
        Positions (V, 2), and the name of the method.

    Raises:
        ValueError: fewer than two features.

    Example:
        >>> positions, method = project(np.eye(5, dtype=np.float32))
        >>> positions.shape, method
        ((5, 2), 'PCA')
    """
    if len(vectors_VD) < 2:
        raise ValueError(f"a map needs at least two videos, not {len(vectors_VD)}")
    length = np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    unit_VD = vectors_VD / np.maximum(length, 1e-12)
    unit_VD = unit_VD - unit_VD.mean(axis=0)
    varies = bool(np.abs(unit_VD).max() > 1e-6)  # t-SNE divides by the spread
    if varies and MIN_FOR_TSNE <= len(unit_VD) <= MAX_FOR_TSNE:
        from sklearn.manifold import TSNE

        tsne = TSNE(perplexity=min(20, len(unit_VD) / 4), init="pca", random_state=seed)
        return np.asarray(tsne.fit_transform(unit_VD), dtype=np.float32), "t-SNE"
    left, strength, _ = np.linalg.svd(unit_VD, full_matrices=False)
    positions = np.zeros((len(unit_VD), 2), dtype=np.float32)
    kept = min(2, len(strength))
    positions[:, :kept] = left[:, :kept] * strength[:kept]
    return positions, "PCA"


def class_colours(names: Sequence[str]) -> dict[str, str]:
    """Choose a colour for each class, as ``#rrggbb``.

    Example:
        >>> class_colours(["hop", "pace"])
        {'hop': '#4e79a7', 'pace': '#f28e2b'}
    """
    if len(names) <= len(PALETTE):
        return dict(zip(names, PALETTE, strict=False))
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    wheel = colormaps["hsv"]
    return {name: to_hex(wheel(place / len(names))) for place, name in enumerate(names)}


def map_svg(positions_V2: NDArray[np.float32], colours: Sequence[str], title: str) -> str:
    """Plot projected features as SVG.

    Args:
        positions_V2: a point per video.
        colours: colour of each point.
        title: alternative text.

    Example:
        >>> map_svg(np.zeros((1, 2), np.float32), ["#ff0000"], "one point").startswith("<svg")
        True
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    x_V, y_V = positions_V2.T
    axes.scatter(x_V, y_V, c=list(colours), s=22, alpha=0.85, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_axis_off()
    return inline_svg(figure, title)
