"""Writing files so that a reader never meets half of one."""

import csv
import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING

import psutil

from cvrl.utils import remote
from cvrl.utils.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


_LEFTOVER = re.compile(r"^\..*\.(\d+)\.tmp(\.\w+)?$")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFullError(UserError):
    """A file could not be written since the disk, or the quota, is full."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends well.

    The file is flushed to disk before it is renamed, so after a crash ``path`` holds either the
    old content or the whole new one. When the block raises, the temporary file is removed. The file
    gets the permissions that the umask gives, whoever writes it.

    Args:
        path: the final name; its folder is made when missing. A URL is written to by an upload.

    Yields:
        The name to write to. It keeps the suffix of ``path``.

    Raises:
        DiskFullError: there is no space left.
        UserError: a file of that name cannot be created.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(path)
    if remote.is_remote(path):
        with TemporaryDirectory() as place:
            yield Path(place) / target.name
            remote.upload(Path(place) / target.name, path)
        return
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    with creating(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        temporary.touch()
        permissions = temporary.stat().st_mode
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        with creating(target):
            os.chmod(temporary, permissions)
            os.replace(temporary, target)
    except Exception as error:
        if _is_full(error):
            raise _full(target) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def reserve(stream: IO[bytes], size: int) -> None:
    """Take ``size`` bytes of the disk for an open file, so that a full disk is met at once.

    Writing to a memory map of a file without its space ends the process with SIGBUS where the disk
    is full.

    Raises:
        OSError: there is no space left.
    """
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, size)


def remove_leftovers(folder: str | os.PathLike[str], *, least_age_s: float = 0.0) -> None:
    """Remove the temporary files of processes that were killed while they wrote.

    Args:
        folder: where to look; not in the folders inside it.
        least_age_s: seconds since the last change below which a file stays; for folders that
            processes of other machines write to.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".note.4194305.tmp.txt").touch()
        >>> remove_leftovers(folder)
        >>> list(folder.iterdir())
        []
    """
    if not os.path.isdir(folder):
        return
    for item in os.scandir(folder):
        found = _LEFTOVER.match(item.name)
        if found is None or psutil.pid_exists(int(found[1])):
            continue
        with suppress(FileNotFoundError):  # another process removes them too
            if time.time() - item.stat().st_mtime >= least_age_s:
                os.unlink(item.path)


@contextmanager
def creating(target: Path) -> Iterator[None]:
    """Turn the errors of creating a file or folder inside the block into one line.

    Raises:
        DiskFullError: there is no space left.
        UserError: it cannot be created.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _full(target) from error
        reason = f"cannot be created ({error.strerror})"
        raise UserError(target, reason, "give a place that can be written to") from error


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is the cause; libraries raise errors of their own over the system's."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _full(target: Path) -> DiskFullError:
    place = target.parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e6
    reason = f"the disk is full ({free:,.0f} MB left), the file was not written"
    return DiskFullError(target, reason, "make space and give the same command again")


def write_csv(table: "pa.Table", path: Path) -> None:
    r"""Write CSV with quotes only where a value needs them, which pyarrow's writer cannot.

    Args:
        table: of text, numbers and nulls; a null becomes an empty field.
        path: the file, written in place: give the name that :func:`atomic_path` yields.

    Example:
        >>> import tempfile
        >>> import pyarrow as pa
        >>> path = Path(tempfile.mkdtemp()) / "list.csv"
        >>> write_csv(pa.table({"path": ["a, b.mp4"], "label": [None]}), path)
        >>> path.read_text().split("\n")
        ['path,label', '"a, b.mp4",', '']
    """
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table.column_names)
        for batch in table.to_batches(max_chunksize=10_000):
            writer.writerows(zip(*(column.to_pylist() for column in batch), strict=True))
