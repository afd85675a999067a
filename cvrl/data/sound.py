"""The sound that goes with clips: spectrograms of its windows, and which videos have any.

Shapes: L ticks in a video, W windows of sound, S samples, M mel bins, F frames of a spectrogram.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvrl.data.clips import Plan
from cvrl.data.manifest import Manifest
from cvrl.data.view_base import Sound
from cvrl.transforms.log_mel import log_mel
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.log import track
from cvrl.video.limits import Limits
from cvrl.video.sound import has_sound, read_sound

logger = logging.getLogger("cvrl")
READERS = 8  # files opened at a time; it is waiting for the disk that takes the time


def spectrograms(
    path: str, sound: Sound | None, plan: Plan, times_L: NDArray[np.float64], limits: Limits
) -> Tensor | None:
    """The windows of sound that a plan asks for.

    Args:
        path: the video.
        sound: of the views; None where they show no sound.
        plan: whose ``sound_W`` holds the tick in the middle of each window, -1 for silence.
        times_L: when each tick is shown, in seconds.
        limits: what the file may cost.

    Returns:
        Log-mel spectrograms (W, M, F); None where the views show no sound.

    Raises:
        CorruptVideoError: the file has no sound, or it cannot be decoded.
    """
    if sound is None or plan.sound_W is None:
        return None
    heard_W = plan.sound_W >= 0
    starts = times_L[plan.sound_W[heard_W]] - sound.seconds / 2
    read = read_sound(path, starts.tolist(), sound.seconds, sound.rate, limits=limits)
    wave_WS = np.zeros((len(heard_W), round(sound.seconds * sound.rate)), np.float32)
    wave_WS[heard_W] = read
    return torch.stack(
        [
            log_mel(wave_S, sound.rate, bins=sound.bins, window=sound.window, hop=sound.hop)
            for wave_S in torch.from_numpy(wave_WS)
        ]
    )


def with_sound(videos: Manifest) -> Manifest:
    """The videos with a stream of sound; a message says how many have none.

    A file that cannot be opened is kept: the run that reads it reports it with its reason.

    Args:
        videos: the list.

    Raises:
        UserError: no video has sound.
    """
    with ThreadPoolExecutor(READERS) as readers:
        found = readers.map(_may_sound, videos.paths)
        kept_V = np.fromiter(track(found, len(videos), "looking for sound"), bool, len(videos))
    silent = int((~kept_V).sum())
    if silent == len(videos):
        remedy = "use views without sound, or videos that have some"
        raise UserError(videos.source, f"has no sound in any of {len(videos)} videos", remedy)
    if silent:
        first = videos.paths[int(np.argmin(kept_V))]
        logger.warning(
            "%s: %d of %d videos have no sound and are left out, such as %s",
            *(videos.source, silent, len(videos), first),
        )
    return videos.take(np.flatnonzero(kept_V)) if silent else videos


def _may_sound(path: str) -> bool:
    try:
        return has_sound(path)
    except CorruptVideoError:
        return True
