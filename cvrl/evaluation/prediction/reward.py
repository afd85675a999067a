"""The reward of a video for following a demonstration, moment by moment.

Sermanet et al., "Time-Contrastive Networks: Self-Supervised Learning from Video" (TCN, arXiv
1704.06888), section 5.1; the equation is that of
:func:`cvrl.evaluation.protocols.alignment.imitation_reward`.

Shapes: T moments of the demonstration, N of the video, D dimensions of an embedding.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import make_manifest
from cvrl.evaluation.features.extraction import extract_features
from cvrl.evaluation.protocols.alignment import (
    Match,
    distances,
    imitation_reward,
    match_steps,
)
from cvrl.models.backbones import Encoder
from cvrl.utils.checks import check_range
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

Floats = NDArray[np.float64]
COLUMNS = ("seconds", "demonstration_seconds", "reward")


@dataclass(frozen=True)
class Reward:
    """The reward of each moment of a video.

    Attributes:
        seconds_N: start of each moment's clip in the video.
        matched_N: start of the demonstration's clip that it is held against, in seconds.
        reward_N: the rewards; the most is -beta sqrt(gamma).
        most: that.
    """

    seconds_N: Floats
    matched_N: Floats
    reward_N: Floats
    most: float


def reward_along(
    encoder: Encoder,
    demonstration: str | os.PathLike[str],
    video: str | os.PathLike[str],
    *,
    every: float = 0.25,
    alpha: float = 0.5,
    beta: float = 0.5,
    gamma: float = 1e-3,
    match: Match = "time",
    stage: Literal["pooled", "projected"] | None = None,
) -> Reward:
    """Reward each moment of a video for being like the demonstration's.

    Args:
        encoder: with the clip, size and preprocessing it was loaded with.
        demonstration: the video that shows what is to be done.
        video: the video that is rewarded.
        every: seconds between moments, > 0; each is a clip of the encoder.
        alpha: weight of the squared distance, >= 0.
        beta: weight of its rounded root, >= 0.
        gamma: what rounds the root off at 0, >= 0.
        match: by ``time``, the n-th moment of one with the n-th of the other, or by ``dtw``.
        stage: ``pooled`` features or those ``projected`` by the head; None: projected where there
            is a head, which is what TCN's loss compares.

    Raises:
        UserError: a number out of range, or videos of different numbers of moments under ``time``.
        CorruptVideoError: a video cannot be decoded.
    """
    check_range("--every", every, "(0, inf)")
    for name, value in (("--alpha", alpha), ("--beta", beta), ("--gamma", gamma)):
        check_range(name, value, "[0, inf)")
    shown, done = embed(encoder, (demonstration, video), every=every, stage=stage)
    if match == "time" and len(shown[0]) != len(done[0]):
        reason = f"has {len(done[0])} moments and the demonstration {len(shown[0])}"
        raise UserError(video, reason, "use --match dtw, or videos of one length")
    square_TN = distances(shown[1], done[1]).square().numpy()
    how = {"alpha": alpha, "beta": beta, "gamma": gamma}
    return Reward(
        seconds_N=done[0],
        matched_N=shown[0][match_steps(square_TN, match)],
        reward_N=imitation_reward(shown[1], done[1], match=match, **how),
        most=-beta * float(np.sqrt(gamma)),
    )


def embed(
    encoder: Encoder,
    videos: tuple[str | os.PathLike[str], ...],
    *,
    every: float,
    stage: Literal["pooled", "projected"] | None = None,
) -> list[tuple[Floats, Tensor]]:
    """Start times (N,) and embeddings (N, D) of the moments of each video; see above."""
    stage = stage or ("pooled" if encoder.projector is None else "projected")
    paths = [os.path.abspath(video) for video in videos]
    dataset = EvalDataset(
        make_manifest({"path": paths}, root="/"),
        encoder.clip,
        1,
        encoder.preprocess,  # type: ignore[arg-type]
        every_seconds=every,
    )
    features = extract_features(encoder, dataset, projector=encoder.projector, stage=stage)
    rows = [features.index_N == row for row in range(len(videos))]
    return [(features.start_N[row].double().numpy(), features.vectors_ND[row]) for row in rows]


def write_reward(reward: Reward, path: str | os.PathLike[str]) -> Path:
    """Write a CSV with a row a moment: its time, the demonstration's, and the reward.

    Example:
        >>> import tempfile
        >>> one = np.array([0.5])
        >>> file = write_reward(Reward(one, one, -one, 0.0), tempfile.mkdtemp() + "/reward.csv")
        >>> file.read_text().split()
        ['seconds,demonstration_seconds,reward', '0.5,0.5,-0.5']
    """
    output = Path(path)
    with atomic_path(output) as temporary, open(temporary, "w", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(COLUMNS)
        rows = zip(reward.seconds_N, reward.matched_N, reward.reward_N, strict=True)
        lines.writerows([f"{value:.6g}" for value in row] for row in rows)
    return output
