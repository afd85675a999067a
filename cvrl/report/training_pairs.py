"""Training clips of some videos, sampled and augmented as in the run.

Shapes: V clips of a video, C channels, T frames, H W pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def draw_pairs_of_run(dataset: TrainDataset, *, count: int = 6, seed: int = 0) -> list[Pair]:
    """Sample clips of some videos as in the first epoch.

    Args:
        dataset: training samples, augmented on the worker.
        count: maximum number of videos, drawn at random.
        seed: of the choice of videos.

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
        levels = as_levels(sample.clips_VCTHW, dataset.crop.normalised)
        pairs.append(Pair(f"{name}, from {starts}", levels.permute(0, 2, 3, 4, 1).numpy()))
    return pairs


def as_levels(clips: Tensor, normalised: bool = False) -> Tensor:
    """Convert augmented clips to uint8.

    Args:
        clips: floats in [0, 1], or normalised by the recipe; any shape.
        normalised: whether to undo the normalisation.

    Example:
        >>> as_levels(torch.tensor([0.0, 1.0])).tolist()
        [0, 255]
    """
    clips = clips.float() * STD + MEAN if normalised else clips.float()
    return (clips.clamp(0, 1) * 255).round().to(torch.uint8)
