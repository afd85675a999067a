"""Bad videos met while training: named once each, counted, and too many of them end the run."""

import csv
import logging
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from cvrl.data.dataset import BadVideo
from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")
HEADER = ("path", "reason")


class Quarantine:
    """The list ``quarantine.csv`` of a run folder.

    Args:
        folder: the run folder; a list that is there already is read.
        videos: training videos of the run.
        max_fraction: the share of them that may be bad.
        writes: False keeps the list in memory only, for ranks other than the first.

    Example:
        >>> import tempfile
        >>> quarantine = Quarantine(tempfile.mkdtemp(), videos=10, max_fraction=0.5)
        >>> quarantine.add([("a.mp4", "no video stream"), ("a.mp4", "no video stream")])
        >>> quarantine.count
        1
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        videos: int,
        max_fraction: float,
        *,
        writes: bool = True,
    ) -> None:
        self.path = Path(folder) / "quarantine.csv"
        self.most = max_fraction * videos
        self.videos = videos
        self.writes = writes
        self._reasons: dict[str, str] = {}
        if self.path.exists():
            with open(self.path, newline="") as stream:
                self._reasons = {row["path"]: row["reason"] for row in csv.DictReader(stream)}

    @property
    def count(self) -> int:
        """Different bad videos met so far."""
        return len(self._reasons)

    def add(self, bad: Iterable[BadVideo]) -> None:
        """Name the videos that are new.

        Raises:
            UserError: more than the allowed share of the videos is bad.
        """
        for path, reason in bad:
            if path in self._reasons:
                continue
            self._reasons[path] = reason
            if self.writes:
                logger.warning("%s: %s; left out of training", path, reason)
                self._append(path, reason)
        if self.count > self.most:
            raise UserError(
                f"{self.count} of {self.videos} videos",
                f"cannot be decoded, the first is {next(iter(self._reasons))}",
                f"see {self.path}; run tools/inspect_data.py, or raise data.max_bad_fraction",
            )

    def _append(self, path: str, reason: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with open(self.path, "a", newline="") as stream:
            writer = csv.writer(stream)
            if is_new:
                writer.writerow(HEADER)
            writer.writerow((path, reason))
