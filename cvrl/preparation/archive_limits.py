"""How much an archive may become on disk, so that a small hostile one cannot fill it.

Three bounds hold: what the official list can need, the free space, and a ratio to the size of the
archive. Videos hardly shrink in an archive (a ratio of 1), text by 10 to 20, and a bomb by 1000.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cvrl.utils.errors import UserError

MAX_DEPTH = 4  # archives in archives in archives
MAX_RATIO = 100
FLOOR_BYTES = 64 * 2**20  # allowed whatever the ratio
VIDEO_BYTES = 256 * 2**20  # of a listed clip, on average
SPARE_BYTES = 64 * 2**20  # left free on the disk


class Budget:
    """The bytes that one archive may still unpack.

    Args:
        archive: for messages.
        packed: its size in bytes, all parts together.
        folder: where it is unpacked.
        listed: videos in the official list; None where it is not known.

    Example:
        >>> Budget(Path("bomb.zip"), 10_000, Path("."), listed=None).take(10**12)
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: bomb.zip: would unpack to 1,000,000 MB or more, over 100 ...
    """

    def __init__(self, archive: Path, packed: int, folder: Path, listed: int | None) -> None:
        self._archive = archive
        self._folder = folder
        self._taken = 0
        self._by_ratio = max(FLOOR_BYTES, MAX_RATIO * packed)
        self._by_list = None if listed is None else max(FLOOR_BYTES, VIDEO_BYTES * listed)

    def take(self, size: int) -> None:
        """Count a member before it is written.

        Raises:
            UserError: it goes over one of the bounds.
        """
        self._taken += size
        free = shutil.disk_usage(_existing(self._folder)).free
        words = f"would unpack to {self._taken / 1e6:,.0f} MB or more"
        if self._taken > self._by_ratio:
            reason = f"{words}, over {MAX_RATIO} times its size"
        elif self._by_list is not None and self._taken > self._by_list:
            reason = f"{words}, far more than the listed videos can need"
        elif size + SPARE_BYTES > free:
            remedy = "make room and run the same command again"
            raise UserError(self._archive, f"{words}; {free / 1e6:,.0f} MB are free", remedy)
        else:
            return
        raise UserError(self._archive, reason, "unpack it yourself where you trust it")


def check_depth(depth: int, inner: Path) -> None:
    """Refuse archives that are nested too deep.

    Raises:
        UserError: naming the innermost one met.

    Example:
        >>> check_depth(1, Path("a.zip"))
    """
    if depth > MAX_DEPTH:
        reason = f"is an archive inside {depth} others, more than {MAX_DEPTH}"
        raise UserError(inner, reason, "get the archive from its owner")


def size_of(parts: Sequence[Path]) -> int:
    """Bytes of an archive, all parts together."""
    return sum(os.stat(part).st_size for part in parts)


def size_below(folder: Path) -> int:
    """Bytes of the files in a folder and below."""
    return sum(
        os.lstat(os.path.join(where, name)).st_size
        for where, _, names in os.walk(folder)
        for name in names
    )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
