"""Find files that are one file under several names, and byte-identical copies."""

import hashlib
import os
import stat
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress

from cvrl.utils.errors import CorruptVideoError
from cvrl.utils.file_names import file_path
from cvrl.video.byte_source import byte_count, find_source, open_bytes
from cvrl.video.frame_folder import frame_files, is_frames

_BLOCK = 2**20
_END = 2**16


def file_id(path: str) -> tuple[int, int] | str:
    """What identifies a file whatever its name: device and inode, or where it is missing its path.

    Example:
        >>> file_id("no/such/file") == file_id("no/such/../such/file")
        True
    """
    try:
        status = os.stat(file_path(path))
    except (OSError, ValueError):
        return os.path.abspath(path)
    return status.st_dev, status.st_ino


def same_files(paths: Sequence[str]) -> list[list[int]]:
    """Rows that are one file: links, and paths written differently.

    Args:
        paths: of files, or of folders of frames.

    Returns:
        Lists of two rows or more each.

    Example:
        >>> same_files(["a/b.mp4", "a/./b.mp4", "c.mp4"])
        [[0, 1]]
    """
    return _alike(range(len(paths)), lambda row: file_id(paths[row]))


def same_contents(paths: Sequence[str]) -> list[list[int]]:
    """Rows of one content: one file, or byte-identical copies.

    Only files of equal size are read: first their ends, then all of those whose ends are equal. Two
    folders of frames are copies if their frames are, in order. What is missing equals nothing.

    Args:
        paths: of files, or of folders of frames.

    Returns:
        Lists of two rows or more each.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name, text in (("a.mp4", "xy"), ("b.mp4", "xz"), ("copy.mp4", "xy")):
        ...     _ = (folder / name).write_text(text)
        >>> same_contents([str(folder / name) for name in ("a.mp4", "b.mp4", "copy.mp4")])
        [[0, 2]]
    """
    ids = [file_id(path) for path in paths]
    first = list(dict(zip(reversed(ids), reversed(range(len(ids))), strict=True)).values())
    contents: dict[int, Hashable] = {}
    for sized in _alike(sorted(first), lambda row: _size(paths[row])):
        for ends in _alike(sized, lambda row: _digest(paths[row], whole=False)):
            contents |= {row: _digest(paths[row], whole=True) for row in ends}
    by_id = {ids[row]: content for row, content in contents.items() if content is not None}
    return _alike(range(len(paths)), lambda row: by_id.get(ids[row], ids[row]))


def _alike(rows: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """The rows that share a key with another row; None is no key."""
    alike: dict[Hashable, list[int]] = {}
    for row in rows:
        found = key(row)
        if found is not None:
            alike.setdefault(found, []).append(row)
    return [members for members in alike.values() if len(members) > 1]


def _files(path: str) -> list[str]:
    """A video's files: itself, or its frames; empty for what cannot be read."""
    if find_source(path) is not None:
        return [path]
    path = file_path(path)
    with suppress(OSError, ValueError):
        if is_frames(path):
            return frame_files(path)
        if stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for ever
            return [path]
    return []


def _size(path: str) -> Hashable:
    """What is cheap to know of the content."""
    files = _files(path)
    try:
        return (len(files), byte_count(files[0])) if files else None
    except (OSError, CorruptVideoError):
        return None


def _digest(path: str, *, whole: bool) -> Hashable:
    """A hash of the content, or of its ends."""
    files = _files(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        for file in files if whole else (files[0], files[-1]):
            with open_bytes(file) as stream:
                if whole:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
                    continue
                digest.update(stream.read(_END))
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _END))
                digest.update(stream.read(_END))
    except (OSError, CorruptVideoError):
        return None
    return digest.hexdigest()
