"""Animated thumbnails for the page: short looping WebP images as data URLs."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvrl.data.dataset import VideoReader

FRAME_SECONDS = 0.08  # 12.5 frames per second: half the size of 25
NOISE = 20  # a pixel that changes by fewer levels is background


def webp(frames_THWC: NDArray[np.uint8], *, seconds: float = FRAME_SECONDS, side: int = 96) -> str:
    """Encode frames as a looping WebP ``data:`` URL.

    Args:
        frames_THWC: RGB frames.
        seconds: duration of each frame.
        side: shorter side in pixels.

    Raises:
        ValueError: no frames, or a wrong shape.

    Example:
        >>> webp(np.zeros((2, 8, 8, 3), np.uint8)).partition(",")[0]
        'data:image/webp;base64'
    """
    if frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3 or not len(frames_THWC):
        raise ValueError(f"frames are (T, H, W, 3) and at least one, not {frames_THWC.shape}")
    height, width = frames_THWC.shape[1:3]
    scale = side / min(height, width)
    size = (round(width * scale), round(height * scale))
    pictures = [Image.fromarray(np.ascontiguousarray(frame)).resize(size) for frame in frames_THWC]
    stream = io.BytesIO()
    pictures[0].save(
        stream,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * seconds),
        loop=0,
        quality=60,
        method=4,
    )
    return data_address(stream.getvalue(), "image/webp")


def strobe(frames_THWC: NDArray[np.uint8], flashes: int = 4) -> NDArray[np.uint8]:
    """Overlay several frames in one image; later frames are more opaque.

    Args:
        frames_THWC: RGB frames of a static camera.
        flashes: number of frames over the background, which is the median over time.

    Returns:
        (H, W, 3).

    Example:
        >>> still = np.full((5, 4, 4, 3), 7, np.uint8)
        >>> bool((strobe(still) == 7).all())
        True
    """
    background_HWC = np.median(frames_THWC, axis=0)
    picture_HWC = background_HWC.copy()
    moments = np.unique(np.linspace(0, len(frames_THWC) - 1, flashes).round().astype(int))
    for strength, moment in zip(np.linspace(0.4, 1.0, len(moments)), moments, strict=True):
        frame_HWC = frames_THWC[moment].astype(np.float64)
        change_HW1 = np.abs(frame_HWC - background_HWC).max(axis=2, keepdims=True)
        share_HW1 = strength * np.clip((change_HW1 - NOISE) / NOISE, 0, 1)
        picture_HWC += share_HW1 * (frame_HWC - picture_HWC)
    return np.asarray(picture_HWC.round(), dtype=np.uint8)


def data_address(content: bytes, kind: str) -> str:
    """Encode bytes as a ``data:`` URL.

    Example:
        >>> data_address(b"abc", "text/plain")
        'data:text/plain;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def glimpse(
    path: str,
    *,
    start: float = 0.0,
    seconds: float = 2.0,
    reader: VideoReader | None = None,
) -> NDArray[np.uint8]:
    """Read a short part of a video, one frame every ``FRAME_SECONDS``.

    Args:
        path: of the video.
        start: seconds after the first frame.
        seconds: duration; shorter if the video ends before.
        reader: opens the file.

    Returns:
        (T, H, W, 3), at least one frame.

    Raises:
        CorruptVideoError: the video cannot be decoded.

    Example:
        >>> glimpse("missing.mp4")
        Traceback (most recent call last):
        cvrl.utils.errors.CorruptVideoError: missing.mp4: no such file
    """
    with (reader or VideoReader()).open(path) as video:
        times = np.asarray(video.times) - video.times[0]
        end = min(start + seconds, times[-1])
        wanted = np.arange(min(start, times[-1]), end + 1e-9, FRAME_SECONDS)
        indices = np.searchsorted(times, wanted + 1e-6, side="right") - 1
        return video.frames(indices.astype(np.int64))
