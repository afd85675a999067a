"""What was found out about a file before any of its frames was asked for, and its copy on disk."""

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvrl.utils.io import atomic_path
from cvrl.video.orientation import Turn
from cvrl.video.packets import Packets, Timeline

logger = logging.getLogger("cvrl")
MOST_BYTES = 2**30  # of one folder: thousands of hours of video
_VERSION = 1  # of the files; others are not read


@dataclass(frozen=True)
class PacketIndex:
    """The packets and times of a file.

    Attributes:
        packets: of the video stream.
        timeline: None where timestamps do not tell frames apart: a frame is known by its place.
        times_N: seconds at which the frames are shown.
        fps: mean frames a second.
        coded_size: height and width as decoded, before the turn.
        turn: what makes a frame upright.
        skips: the decoder may leave out frames which no other is predicted from.
        by_decord: decord2 is wanted and may be asked.
        unfiltered: the decoder does not smooth block edges.
    """

    packets: Packets
    timeline: Timeline | None
    times_N: NDArray[np.float64]
    fps: float
    coded_size: tuple[int, int]
    turn: Turn
    skips: bool
    by_decord: bool
    unfiltered: bool

    def save(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        columns: dict[str, Any] = {**self.packets.columns(), "times": self.times_N}
        if self.timeline is not None:
            columns |= {"rows": self.timeline.rows, "firsts": self.timeline.firsts}
        facts = {
            "fps": self.fps,
            "coded_size": self.coded_size,
            "turn": asdict(self.turn),
            "skips": self.skips,
            "by_decord": self.by_decord,
            "unfiltered": self.unfiltered,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, facts=np.array(json.dumps(facts)), **columns)

    @classmethod
    def load(cls, path: Path) -> "PacketIndex":
        """Read what :meth:`save` wrote.

        Raises:
            OSError: there is no such file.
            EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile: it is damaged.
        """
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as held:
            facts = json.loads(str(held["facts"]))
            packets = Packets.of_columns(*(held[name] for name in ("pts", "dts", "size", "keys")))
            timeline = None
            if "rows" in held:
                timeline = Timeline(np.sort(held["pts"]), held["rows"], held["firsts"])
            times_N = held["times"]
        height, width = facts.pop("coded_size")
        turn = Turn(**facts.pop("turn"))
        return cls(packets, timeline, times_N, coded_size=(height, width), turn=turn, **facts)


class PacketIndexStore:
    """Indices of long files on disk, so that only the first visit of all runs reads such a file.

    Args:
        folder: where they are kept; made when first needed.
        most_bytes: of all files in the folder; beyond, those used least lately are removed.

    Example:
        >>> import tempfile
        >>> PacketIndexStore(tempfile.mkdtemp()).get("a file never seen") is None
        True
    """

    def __init__(self, folder: str | Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder = Path(folder)
        self._most_bytes = most_bytes

    def get(self, key: Hashable) -> PacketIndex | None:
        """What was kept under a key; None where there is nothing, or nothing readable."""
        file = self._file(key)
        try:
            found = PacketIndex.load(file)
        except FileNotFoundError:
            return None
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            logger.debug("%s is read anew: %s", key, error)
            return None
        with suppress(OSError):  # a shared folder may be read-only
            os.utime(file)  # used last, removed last
        return found

    def put(self, key: Hashable, found: PacketIndex) -> None:
        """Keep an index; a folder that cannot be written to is no error."""
        try:
            found.save(self._file(key))
            self._trim()
        except OSError as error:
            logger.debug("%s is not kept: %s", key, error)

    def _trim(self) -> None:
        """Remove the files used least lately until the others fit."""
        files = [(file.stat(), file) for file in self.folder.glob("[0-9a-f]*.npz")]
        total = sum(status.st_size for status, _ in files)
        for status, file in sorted(files, key=lambda pair: pair[0].st_mtime_ns):
            if total <= self._most_bytes:
                return
            file.unlink(missing_ok=True)  # another process may trim too
            total -= status.st_size

    def _file(self, key: Hashable) -> Path:
        name = hashlib.sha256(repr((_VERSION, key)).encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / f"{name[:32]}.npz"


def user_store() -> PacketIndexStore:
    """The store in the user's cache folder: ``$XDG_CACHE_HOME/cvrl``, else ``~/.cache/cvrl``.

    Example:
        >>> user_store().folder.name
        'packet_index'
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return PacketIndexStore(Path(cache) / "cvrl" / "packet_index")
