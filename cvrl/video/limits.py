"""What one video may cost a worker before it is given up: pixels, frames, seconds."""

import os
import stat
import time
from dataclasses import dataclass, fields

from cvrl.utils.errors import CorruptVideoError


@dataclass(frozen=True)
class Limits:
    """The most one video may cost, so that a hostile file can neither hang nor exhaust a worker.

    Attributes:
        max_pixels: height times width of a frame. The default lets 8K through.
        max_frames: frames in a file. The default is ten hours at 30 frames a second.
        max_seconds: wall time of one ``open_video`` or one ``frames()`` call.

    Raises:
        ValueError: a limit that is not above zero.

    Example:
        >>> Limits(max_seconds=5).max_frames
        1048576
    """

    max_pixels: int = 2**25
    max_frames: int = 2**20
    max_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep."""
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be above 0, got {getattr(self, field.name)}")

    def check_size(self, path: str, height: int, width: int) -> None:
        """Raise where a frame is too large.

        Raises:
            CorruptVideoError: ``height * width`` is over ``max_pixels``.

        Example:
            >>> Limits().check_size("a.mp4", 1080, 1920)
        """
        if height * width > self.max_pixels:
            reason = f"a frame of {width}x{height} is over the limit max_pixels={self.max_pixels}"
            raise CorruptVideoError(path, reason)

    def check_count(self, path: str, frames: int) -> None:
        """Raise where a video has too many frames.

        Raises:
            CorruptVideoError: ``frames`` is over ``max_frames``.

        Example:
            >>> Limits().check_count("a.mp4", 250)
        """
        if frames > self.max_frames:
            raise CorruptVideoError(
                path, f"more frames than the limit max_frames={self.max_frames}"
            )

    def decoder_options(self) -> dict[str, str]:
        """FFmpeg's own limit on size; looser than ours, for it counts padding too.

        Example:
            >>> Limits(max_pixels=10**6).decoder_options()
            {'max_pixels': '2065536'}
        """
        return {"max_pixels": str(2 * self.max_pixels + 2**16)}

    def clock(self, path: str) -> "Clock":
        """A clock that starts now and stops work on ``path`` after ``max_seconds``.

        Example:
            >>> Limits(max_seconds=60).clock("a.mp4").left() > 50
            True
        """
        return Clock(path, self.max_seconds)


class Clock:
    """The time one call may take.

    Args:
        path: the video, for the error.
        seconds: wall time from now.

    Example:
        >>> Clock("a.mp4", 60.0).check()
    """

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, never quite zero: to the libraries zero would mean no limit.

        Example:
            >>> 0 < Clock("a.mp4", 1e-9).left() < 1
            True
        """
        return max(self._end - time.monotonic(), 1e-3)

    def check(self) -> None:
        """Raise when the time is up.

        Raises:
            CorruptVideoError: the call has taken longer than it may.

        Example:
            >>> Clock("a.mp4", 60.0).check()
        """
        if time.monotonic() > self._end:
            reason = f"took longer than the limit max_seconds={self._seconds:g}"
            raise CorruptVideoError(self._path, reason)


def check_file(path: str) -> None:
    """Raise where there is no file to read.

    A pipe or a device is none: reading it may never end, and no clock would be looked at.

    Args:
        path: of the file.

    Raises:
        CorruptVideoError: nothing there, not a regular file, empty, or not to be reached.

    Example:
        >>> check_file("missing.mp4")
        Traceback (most recent call last):
        cvrl.utils.errors.CorruptVideoError: missing.mp4: no such file
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise CorruptVideoError(path, "no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise CorruptVideoError(path, reason_of(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise CorruptVideoError(path, "not a regular file")
    if not status.st_size:
        raise CorruptVideoError(path, "the file is empty")


def reason_of(error: BaseException) -> str:
    """What a library or the system says is wrong, without its numbers.

    Example:
        >>> reason_of(PermissionError(13, "Permission denied")), reason_of(MemoryError())
        ('Permission denied', 'MemoryError')
    """
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
