"""Plot the reward of a video along a demonstration, over the frames that were matched."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvrl.evaluation.prediction.reward import Reward
from cvrl.report.plots import ACCENT
from cvrl.utils.io import atomic_path
from cvrl.video.reader import open_video

MOMENTS = 8  # frames in each strip


def plot_reward(
    reward: Reward,
    demonstration: str | os.PathLike[str],
    video: str | os.PathLike[str],
    path: str | os.PathLike[str],
) -> Path:
    """Draw the rewards over time; below, frames of the video and the frames they are matched with.

    Args:
        reward: of the video.
        demonstration: the video it was rewarded along.
        video: the video that was rewarded.
        path: the PNG.

    Raises:
        CorruptVideoError: a video cannot be decoded.
    """
    from matplotlib.figure import Figure

    steps = np.unique(np.linspace(0, len(reward.reward_N) - 1, MOMENTS).round().astype(int))
    strips = (
        ("video", video, reward.seconds_N[steps]),
        ("demonstration", demonstration, reward.matched_N[steps]),
    )
    figure = Figure(figsize=(9, 4.6), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(3, len(steps), height_ratios=[2, 1, 1])
    axes = figure.add_subplot(grid[0, :])
    axes.plot(reward.seconds_N, reward.reward_N, color=ACCENT, marker=".")
    axes.axhline(reward.most, color="0.6", linewidth=0.8, linestyle="--", label="maximum")
    axes.set(xlabel="seconds of the video", ylabel="reward")
    axes.legend(frameon=False, fontsize=8)
    for row, (title, source, seconds) in enumerate(strips, start=1):
        for column, (frame, second) in enumerate(
            zip(_frames(source, seconds), seconds, strict=True)
        ):
            _picture(figure.add_subplot(grid[row, column]), frame, f"{second:.2f} s")
            if column == 0:
                figure.axes[-1].set_ylabel(title, fontsize=8)
    output = Path(path)
    with atomic_path(output) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return output


def _picture(axes: Any, frame_HWC: NDArray[np.uint8], title: str) -> None:
    axes.imshow(frame_HWC)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=7)


def _frames(path: str | os.PathLike[str], seconds: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The frames at the given times."""
    with open_video(path) as video:
        index = np.searchsorted(video.times, seconds + 1e-6, side="right") - 1
        wanted, place = np.unique(index.clip(min=0), return_inverse=True)
        frames: NDArray[np.uint8] = video.frames(wanted)[place]
        return frames
