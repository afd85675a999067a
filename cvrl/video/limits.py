"""What one video may cost before it is given up, counted in work and not in hours.

A long file, or a busy machine, is no reason to refuse a video. So bytes, packets, frames and pixels
are counted, some of them in proportion to the file, and time is that of the processor since the
last packet or frame came.
"""

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, fields

from cvrl.utils.errors import CorruptVideoError

READ_SLACK = 2**26  # bytes read beyond `max_read_ratio`; a container repeats its headers
PIXEL_SLACK = 2**36  # pixels decoded beyond `max_pixel_ratio`: a minute or so
PATIENCE = 5  # waits for a disk of so many times `max_seconds`


@dataclass(frozen=True)
class Limits:
    """The most one video may cost, so that a hostile file can neither hang nor exhaust a worker.

    In the config of a run they are the keys ``data.limits.*``.

    Attributes:
        max_pixels: height times width of a frame. The default lets 8K through.
        max_frames: frames in a file. The default is ten hours at 30 frames a second.
        max_packets: packets of all streams, sound and subtitles too.
        max_bytes: size of the file.
        max_seconds: processor time from one packet or frame to the next, in one ``open_video`` or
            ``frames()`` call; waiting for a disk or for other processes does not count.
        max_read_ratio: bytes of packets read in one call, in sizes of the file.
        max_pixel_ratio: pixels decoded in one call, per byte of the file.

    Raises:
        ValueError: a limit that is not above zero.

    Example:
        >>> Limits(max_seconds=5).max_frames
        1048576
    """

    max_pixels: int = 2**25
    max_frames: int = 2**20
    max_packets: int = 2**24
    max_bytes: int = 2**40
    max_seconds: float = 60.0
    max_read_ratio: float = 8.0
    max_pixel_ratio: float = 2.0**16

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

    def work(self, path: str) -> "Work":
        """A count of the work on one video, from nothing.

        Raises:
            CorruptVideoError: the file has more bytes than ``max_bytes``.

        Example:
            >>> Limits(max_seconds=60.0).work("a.mp4").patience
            300.0
        """
        size = os.path.getsize(path) if os.path.isfile(path) else None
        if size is not None and size > self.max_bytes:
            reason = f"a file of {size} bytes is over the limit max_bytes={self.max_bytes}"
            raise CorruptVideoError(path, reason)
        return Work(path, self, size)


class Work:
    """The work that one call does on a video, held against the limits as it is done.

    Args:
        path: the video, for the error.
        limits: what it may cost.
        size: of the file in bytes; None where work is not held against it.

    Attributes:
        bytes_read: of packets, so far.
        watch: is told ``bytes_read`` after each packet, to show progress.

    Example:
        >>> work = Work("a.mp4", Limits(), size=5000)
        >>> work.packet(100)
        >>> work.frame(1080, 1920)
        >>> work.bytes_read
        100
    """

    def __init__(self, path: str, limits: Limits, size: int | None = None) -> None:
        self._path = path
        self._limits = limits
        self._most_bytes = self._most_pixels = float("inf")
        if size is not None:
            self._most_bytes = READ_SLACK + limits.max_read_ratio * size
            self._most_pixels = PIXEL_SLACK + limits.max_pixel_ratio * size
        self.bytes_read = 0
        self.watch: Callable[[int], None] | None = None
        self._packets = 0
        self._pixels = 0
        self._last = time.thread_time()

    @property
    def patience(self) -> float:
        """Seconds to wait for one answer of the library: a disk may be slow, but not for ever."""
        return max(PATIENCE * self._limits.max_seconds, 1e-3)  # 0 would mean no limit

    def packet(self, size: int) -> None:
        """Count a packet that has been read.

        Raises:
            CorruptVideoError: a limit is passed.
        """
        self.check()
        self._packets += 1
        self.bytes_read += size
        if self._packets > self._limits.max_packets:
            self._refuse("has more packets than", "max_packets")
        if self.bytes_read > self._most_bytes:
            self._refuse("has packets of more bytes, in sizes of the file, than", "max_read_ratio")
        if self.watch is not None:
            self.watch(self.bytes_read)
        self._last = time.thread_time()

    def frame(self, height: int, width: int) -> None:
        """Count a frame that has been decoded.

        Raises:
            CorruptVideoError: a limit is passed.
        """
        self.check()
        self._pixels += height * width
        if self._pixels > self._most_pixels:
            self._refuse("has more pixels for a byte of the file than", "max_pixel_ratio")
        self._last = time.thread_time()

    def check(self) -> None:
        """Raise where the processor has been at work for too long with nothing to show for it.

        Raises:
            CorruptVideoError: it has been.
        """
        if time.thread_time() - self._last > self._limits.max_seconds:
            self._refuse("gave nothing for longer than", "max_seconds")

    def _refuse(self, reason: str, limit: str) -> None:
        value = getattr(self._limits, limit)
        raise CorruptVideoError(self._path, f"{reason} the limit {limit}={value:.12g}")


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
