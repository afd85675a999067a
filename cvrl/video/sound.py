"""The sound of a video file, decoded with PyAV on the clock of its pictures.

Shapes: S samples of one channel.
"""

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.limits import Limits, Work
from cvrl.video.pyav_file import open_container

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

Wave = NDArray[np.float32]
LEAD = 0.5  # seconds decoded before a window, so that the resampler has settled where it starts


def has_sound(path: str | os.PathLike[str], *, limits: Limits = Limits()) -> bool:
    """Whether a file has a stream of sound that can be decoded, as its header says.

    Args:
        path: of the file.
        limits: what it may cost.

    Returns:
        False for a folder of frames.

    Raises:
        CorruptVideoError: the file cannot be opened.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return False
    with open_container(path, limits, limits.work(path)) as container:
        return any(stream.codec_context is not None for stream in container.streams.audio)


def read_sound(
    path: str | os.PathLike[str],
    starts: Sequence[float],
    seconds: float,
    rate: int,
    *,
    limits: Limits = Limits(),
) -> list[Wave]:
    """Decode windows of the first stream of sound, its channels averaged.

    Args:
        path: of the file.
        starts: of each window, in seconds on the clock of ``Video.times``; may be before the sound
            begins or after it ends.
        seconds: length of a window.
        rate: samples a second of what is returned.
        limits: what the file may cost.

    Returns:
        Samples (S,) of each window, S = round(seconds * rate), in [-1, 1]; 0 where there is no
        sound. They are a function of the file and the window alone.

    Raises:
        CorruptVideoError: the file has no sound, or it cannot be decoded.
    """
    path = os.fspath(path)
    work = limits.work(path)
    with open_container(path, limits, work) as container:
        if not container.streams.audio:
            raise CorruptVideoError(path, "has no sound")
        samples = round(seconds * rate)
        return [_window(container, work, start, samples, rate) for start in starts]


def _window(container: "InputContainer", work: Work, start: float, samples: int, rate: int) -> Wave:
    wave_S = np.zeros(samples, np.float32)
    position: int | None = None  # of the next sample, counted from the start of the window
    end = start + samples / rate
    for time, values_S in _mono(container, work, start - LEAD, end + LEAD, rate):
        if position is None:
            position = round((time - start) * rate)
        first, last = max(position, 0), min(position + len(values_S), samples)
        if first < last:
            wave_S[first:last] = values_S[first - position : last - position]
        position += len(values_S)
    return wave_S


def _mono(
    container: "InputContainer", work: Work, start: float, end: float, rate: int
) -> Iterator[tuple[float, Wave]]:
    """Samples of one channel from ``start`` to ``end`` at least, with the time they begin at."""
    from av import AudioResampler

    stream = container.streams.audio[0]
    resampler = AudioResampler(format="flt", layout="mono", rate=rate)
    unit = stream.time_base or 1
    container.seek(max(0, math.floor(start / unit)), stream=stream)
    begun: float | None = None
    for frame in _frames(container, work):
        if frame.time is None or frame.time + frame.samples / frame.sample_rate < start:
            continue
        if frame.time > end:
            break
        begun = frame.time if begun is None else begun
        for resampled in resampler.resample(frame):
            yield begun, resampled.to_ndarray().reshape(-1).astype(np.float32)
    if begun is None:
        return
    for resampled in resampler.resample(None):
        yield begun, resampled.to_ndarray().reshape(-1).astype(np.float32)


def _frames(container: "InputContainer", work: Work) -> "Iterator[AudioFrame]":
    """Decoded frames from where the container was sought to, counted as work."""
    for packet in container.demux(container.streams.audio[0]):
        work.packet(packet.size)
        yield from packet.decode()
