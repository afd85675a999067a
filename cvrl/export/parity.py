"""The check of an exported file: its answers on real clips beside those of the model.

Shapes: N clips, T frames, S rows and columns, C = 3 channels, D dimensions of an answer.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest
from cvrl.export.portable import Model, Portable, encoder_of
from cvrl.transforms.recipe import Recipe
from cvrl.utils.errors import UserError

Floats = npt.NDArray[np.float32]
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """How close the answers of an exported file are to those of the model.

    Attributes:
        clips: number of real clips that were compared.
        difference: the largest absolute difference, divided by the largest absolute value of the
            model's answers where that is above 1.
        cosine: the smallest cosine between two answers to a clip.
        runtime: what ran the file, with its version.
    """

    clips: int
    difference: float
    cosine: float
    runtime: str


def real_clips(model: Model, videos: Manifest, count: int) -> Tensor:
    """Clips of some videos, resized and cropped as the model wants them.

    Args:
        model: its encoder says how clips are taken.
        videos: of which up to ``count``, spread over the list, give their middle clip; those that
            cannot be decoded are left out.
        count: N at most.

    Returns:
        uint8 frames (N, T, S, S, 3).

    Raises:
        UserError: none of the videos can be decoded.
    """
    encoder = encoder_of(model)
    crop, _ = cast(Recipe, encoder.preprocess).split()
    rows = np.unique(np.linspace(0, len(videos) - 1, count).round().astype(int))
    chosen = EvalDataset(videos.take(rows), encoder.clip, 1, crop, name_bad=True)
    items = [item for item in (chosen[row] for row in range(len(chosen))) if not item.bad]
    if not items:
        raise UserError("the videos", "cannot be decoded", "check them with cvrl inspect")
    return torch.cat([item.clips_NCTHW for item in items]).permute(0, 2, 3, 4, 1).contiguous()


def answers_of(model: Model, frames_NTSSC: Tensor) -> Floats:
    """What the model itself answers, (N, D), by its own preprocessing."""
    answers = [model(clips_of(model, frames[None])) for frames in frames_NTSSC]
    return cast(Floats, torch.cat(answers).float().detach().numpy())


def clips_of(model: Model, frames_NTSSC: Tensor) -> Tensor:
    """The model's input, float (N, 3, T, S, S), of frames that are resized and cropped."""
    _, rest = cast(Recipe, encoder_of(model).preprocess).split()
    return rest(frames_NTSSC.permute(0, 4, 1, 2, 3))


def input_of(portable: Portable, frames_NTSSC: Tensor) -> Tensor:
    """What the exported graph is fed for these frames."""
    if portable.takes == "uint8":
        return frames_NTSSC
    return clips_of(portable.model, frames_NTSSC)


def compare(expected_ND: Floats, given_ND: Floats, runtime: str) -> Parity:
    """Compare the answers of a file with those of the model.

    Example:
        >>> answers = np.array([[3.0, 4.0]], dtype=np.float32)
        >>> compare(answers, answers, "x 1.0")
        Parity(clips=1, difference=0.0, cosine=1.0, runtime='x 1.0')
    """
    scale = max(1.0, float(np.abs(expected_ND).max()))
    difference = float(np.abs(expected_ND - given_ND).max()) / scale
    pair = torch.from_numpy(expected_ND).double(), torch.from_numpy(given_ND).double()
    cosine = float(F.cosine_similarity(*pair).min())
    return Parity(len(expected_ND), difference, cosine, runtime)


def check(parity: Parity) -> None:
    """Refuse a file whose answers differ by more than ``TOLERANCE``.

    Raises:
        UserError: they do.
    """
    if not parity.difference <= TOLERANCE:
        reason = f"answers of {parity.runtime} differ by {parity.difference:.1e} from the model's"
        raise UserError("the exported file", reason, f"at most {TOLERANCE:.0e} is allowed")
