"""What a video really holds, found by decoding all of it."""

from dataclasses import dataclass, replace

from cvrl.utils.errors import CorruptVideoError
from cvrl.utils.processes import Beat
from cvrl.video.byte_source import video_exists
from cvrl.video.reader import Limits, open_video

BLOCK_BYTES = 2**28
"""Decoded at a time. Every block may start with a seek, so small ones are slow."""


@dataclass(frozen=True)
class Measured:
    """What a scan finds out about a video.

    Attributes:
        fps: mean frames a second.
        frames: frames that decode; None where one of them does not.
        height: in pixels, upright.
        width: in pixels, upright.
        duration: in seconds, the last frame's own time included.
        status: ``ok``, ``corrupt``, ``missing``, ``crashed`` (took its process along, or hung) or
            ``error`` (anything else a decoder did).
        reason: why the status is not ``ok``.

    Example:
        >>> Measured(status="missing", reason="no such file").frames is None
        True
    """

    fps: float | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    duration: float | None = None
    status: str = "ok"
    reason: str | None = None


def check_decodes(
    path: str, beat: Beat = lambda: None, *, limits: Limits | None = None
) -> Measured:
    """Decode every frame of a video, some at a time.

    Args:
        path: a video file or a folder of frames.
        beat: called now and then while it goes on.
        limits: what the video may cost; None is what training allows. Time counts for each block.

    Returns:
        What was found. No video raises: its ``status`` says what is wrong with it.

    Example:
        >>> check_decodes("no/such/file.mp4").status
        'missing'
    """
    if not video_exists(path):
        return Measured(status="missing", reason="no such file")
    found = Measured()
    try:
        with open_video(path, limits=limits or Limits()) as video:
            height, width = video.size
            found = Measured(fps=float(video.fps), height=height, width=width)
            block = max(1, BLOCK_BYTES // (3 * height * width))
            for start in range(0, len(video), block):
                beat()
                video.frames(range(start, min(start + block, len(video))))
            duration = round(float(video.times[-1] - video.times[0] + 1 / video.fps), 6)
            return replace(found, frames=len(video), duration=duration)
    except CorruptVideoError as error:
        return replace(found, status="corrupt", reason=error.reason)
    except Exception as error:  # whatever a library makes of a file must not end the scan of others
        return replace(found, status="error", reason=f"{type(error).__name__}: {error}")
