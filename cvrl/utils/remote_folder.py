"""A remote folder and its copy on this machine, where a run or an extraction works.

Copies lie in ``$CVRL_CACHE``, by default ``~/.cache/cvrl``, and are left there: a next command
fetches what has changed.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from cvrl.utils import remote
from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")
CHECKPOINTS = "checkpoints/"


def local_copy(path: remote.AnyPath) -> Path:
    """Where on this machine a remote file or folder has its copy; a local path is itself.

    Example:
        >>> local_copy("runs/x").as_posix(), local_copy("s3://bucket/runs/x").name
        ('runs/x', 'x')
    """
    if not remote.is_remote(path):
        return Path(path)
    url = remote.to_url(path).rstrip("/")
    place = os.environ.get("CVRL_CACHE") or os.path.expanduser("~/.cache/cvrl")
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Path(place) / "remote" / key / url.rpartition("/")[2]


def fetch(path: remote.AnyPath) -> Path:
    """Copy a remote file, or the files of a run without its checkpoints; a local path is itself.

    Raises:
        UserError: nothing there, or it cannot be read.

    Example:
        >>> fetch("runs/x").as_posix()
        'runs/x'
    """
    if not remote.is_remote(path):
        return Path(path)
    target = local_copy(path)
    if remote.exists(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        remote.download(path, target)
        return target
    folder = RemoteFolder(path)
    folder.pull(checkpoints=False)
    if not folder.local.exists():
        raise UserError(remote.to_url(path), "no such file or folder", "check the name")
    return folder.local


class RemoteFolder:
    """A run folder in an object store.

    Args:
        url: of the folder.

    Attributes:
        local: its copy on this machine.
    """

    def __init__(self, url: remote.AnyPath) -> None:
        self.url = remote.to_url(url).rstrip("/")
        self.local = local_copy(url)
        self._pushed: dict[str, tuple[int, int]] = {}

    def pull(self, *, checkpoints: bool = True) -> None:
        """Fetch the folder, unless the copy has a later checkpoint, as after a store failed.

        Args:
            checkpoints: fetch them too, and take away what is not in the store.

        Raises:
            UserError: the store cannot be read.
        """
        there = remote.sizes_below(self.url)
        if not checkpoints:
            there = {k: size for k, size in there.items() if not k.startswith(CHECKPOINTS)}
        elif there and _newest(self._files()) > _newest(there):
            logger.warning("%s is behind %s, from which the run goes on", self.url, self.local)
            return
        elif self.local.exists():
            shutil.rmtree(self.local)
        for name in there:
            target = self.local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            remote.download(f"{self.url}/{name}", target)
        self._pushed = {name: state for name, state in self._files().items() if name in there}

    def compare(self) -> None:
        """Look which files here are in the store already, by their sizes."""
        there = remote.sizes_below(self.url)
        files = self._files().items()
        self._pushed = {name: state for name, state in files if there.get(name) == state[0]}

    def push(self) -> None:
        """Store what has changed since the last call, then remove checkpoints that are gone here.

        Raises:
            UserError: the store cannot be written.
        """
        files = self._files()
        for name in sorted(files, key=lambda name: (not name.startswith(CHECKPOINTS), name)):
            if self._pushed.get(name) != files[name]:
                remote.upload(self.local / name, f"{self.url}/{name}")
                self._pushed[name] = files[name]
        for name in self._pushed.keys() - files.keys():
            remote.remove(f"{self.url}/{name}")
            del self._pushed[name]

    def _files(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of the files here, by name; none that is being written."""
        found = {}
        for path in self.local.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                status = path.stat()
                name = path.relative_to(self.local).as_posix()
                found[name] = (status.st_size, status.st_mtime_ns)
        return found


def pull_output(output: str | None) -> None:
    """Fetch the run that a remote output holds, in the first process of a machine.

    Raises:
        UserError: the store cannot be read.
    """
    if remote.is_remote(output or "") and os.environ.get("LOCAL_RANK", "0") == "0":
        RemoteFolder(output or "").pull()


def storing(output: str | None, *, is_main: bool) -> Callable[[], None]:
    """What stores a run where its output is remote; elsewhere, and on other ranks, nothing."""
    if not (is_main and remote.is_remote(output or "")):
        return lambda: None
    folder = RemoteFolder(output or "")
    folder.compare()
    return folder.push


def _newest(names: Iterable[str]) -> str:
    return max((name for name in names if name.startswith(CHECKPOINTS)), default="")
