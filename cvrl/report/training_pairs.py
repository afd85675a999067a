"""Training clips of some videos, sampled and augmented as in the run.

Shapes: V clips of a video, C channels, T frames, H W pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cvrl.data.dataset import TrainDataset
from cvrl.data.sampler import Visit
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.seed import numpy_rng

MEAN, STD = 0.45, 0.225  # of the recipes' `normalise`


@dataclass(frozen=True)
class Pair:
    """The clips of one video as in a training step.

    Attributes:
        caption: label or file name, and where the clips start.
        clips_VTHWC: uint8.
    """

    caption: str
    clips_VTHWC: NDArray[np.uint8]


def draw_pairs_of_run(
    dataset: TrainDataset, *, count: int = 6, seed: int = 0, normalised: bool = False
) -> list[Pair]:
    """Sample clips of some videos as in the first epoch.

    Args:
        dataset: training samples, augmented on the worker.
        count: maximum number of videos, drawn at random.
        seed: of the choice of videos.
        normalised: whether the recipe normalises; it is undone here.

    Returns:
        The pairs; fewer than `count` if videos cannot be read.
    """
    manifest = dataset.manifest
    pairs = []
    for row in numpy_rng(seed).permutation(len(manifest))[:count]:
        try:
            sample = dataset[Visit(0, int(row))]
        except (CorruptVideoError, UserError):
            break  # too many are unreadable; the page lists them
        entry = manifest.row(sample.video_id)
        name = entry["label"] if entry["label"] is not None else Path(entry["path"]).name
        starts = " and ".join(f"{float(start):.1f} s" for start in sample.time_V)
        clips_VCTHW = sample.clips_VCTHW.float()
        clips_VCTHW = clips_VCTHW * STD + MEAN if normalised else clips_VCTHW
        levels = (clips_VCTHW.clamp(0, 1) * 255).round().to(torch.uint8)
        pairs.append(Pair(f"{name}, from {starts}", levels.permute(0, 2, 3, 4, 1).numpy()))
    return pairs
