"""A lock on a run folder or an output file, so that two processes do not write one place.

The lock is the system's (``fcntl.lockf``): it goes with its process, however that ends, so a stale
one is taken over at once. The file beside what is locked says who holds it.
"""

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cvrl.utils.errors import UserError
from cvrl.utils.io import creating, remove_leftovers

logger = logging.getLogger("cvrl")


@contextmanager
def locked(path: str | os.PathLike[str], *, folder: bool = False) -> Iterator[None]:
    """Keep other processes from a file or folder while the block runs.

    Temporary files that a killed holder left are removed.

    Args:
        path: what is to be written.
        folder: whether it is a folder, which is made when missing; its lock is ``.lock`` inside. A
            file has ``.<name>.lock`` beside it.

    Raises:
        UserError: another process holds it; or it cannot be created.

    Example:
        >>> import tempfile
        >>> with locked(tempfile.mkdtemp(), folder=True):
        ...     pass
    """
    target = Path(path)
    place = target if folder else target.parent
    with creating(target):
        place.mkdir(parents=True, exist_ok=True)
        lock = place / ".lock" if folder else place / f".{target.name}.lock"
        descriptor = _acquire(lock, target)
    try:
        former = _owner(descriptor)
        if former:
            logger.info("%s: taken over from %s, which has ended", target, former)
        remove_leftovers(place)
        facts = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(facts).encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(lock: Path, target: Path) -> int:
    """Open and lock the file; that of a holder that has just unlinked it does not count."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            owner = _owner(descriptor) or "another process"
            os.close(descriptor)
            remedy = "wait until it has ended, or give another output"
            raise UserError(target, f"is written by {owner}", remedy) from error
        except OSError as error:  # a file system without locks
            logger.warning("%s: cannot be locked (%s)", target, error.strerror)
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        os.close(descriptor)


def _owner(descriptor: int) -> str:
    """Who wrote the lock file; empty where nobody did, or not to its end.

    It is read through the open file: closing another one of it would release the lock.
    """
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        minutes = (time.time() - facts["since"]) / 60
        return f"process {facts['pid']} on {facts['host']} since {minutes:.0f} min"
    except (OSError, ValueError, KeyError):
        return ""
