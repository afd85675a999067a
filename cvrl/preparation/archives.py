"""Archives as the owners of data sets ship them, unpacked without trust and without repetition.

zip and tar (plain, gzip, bzip2, xz) are read by Python; rar needs one of the programs in
``_TOOLS``. What an archive is, its first bytes say. Parts whose names differ only in a number at
the end (``videos-00``, ``videos-01``, or ``.zip.001``) are read as one archive if only the first
begins like one. Archives inside an archive are unpacked too, and removed after.
"""

import io
import json
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cvrl.data.sources.file_types import IMAGE_SUFFIXES, is_video_name
from cvrl.preparation.archive_limits import Budget, check_depth, size_below, size_of
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.log import track
from cvrl.utils.processes import Beat, Lost, map_in_processes
from cvrl.video.limits import reason_of

_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x1f\x8b", "tar"),
    (b"BZh", "tar"),
    (b"\xfd7zXZ\x00", "tar"),
)
_USTAR = 257  # where a plain tar says what it is
_TOOLS: dict[str, Callable[[str, str], list[str]]] = {
    "bsdtar": lambda archive, folder: ["-x", "-f", archive, "-C", folder],
    "unrar": lambda archive, folder: ["x", "-y", "-idq", "-p-", archive, f"{folder}/"],
    "7zz": lambda archive, folder: ["x", "-y", "-bd", f"-o{folder}", archive],
    "7z": lambda archive, folder: ["x", "-y", "-bd", f"-o{folder}", archive],
    "unar": lambda archive, folder: ["-q", "-no-directory", "-o", folder, archive],
}
_DONE = ".unpacked"
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError)
_OWNER = "get the archive from its owner"
_CHUNK = 2**20
_LOOK_EVERY_S = 5.0  # at what a program has unpacked
Parts = tuple[Path, ...]


def kind_of(path: Path) -> str | None:
    """What kind of archive a file is: zip, tar or rar; None for anything else.

    Example:
        >>> kind_of(Path(__file__)) is None
        True
    """
    with open(path, "rb") as stream:
        head = stream.read(_USTAR + 5)
    if head[_USTAR:] == b"ustar":
        return "tar"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def find_archives(path: Path) -> list[Path]:
    """The archives that a user means by a path: the file itself, or those in a folder.

    A folder that holds videos, however deep, is taken to be unpacked.

    Raises:
        UserError: there is nothing, or a file that is no archive.

    Example:
        >>> find_archives(Path("."))
        []
    """
    if path.is_dir():
        if any(is_video_name(name) for _, _, names in os.walk(path) for name in names):
            return []
        files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
        return [file for parts in _families(files) for file in parts if kind_of(parts[0])]
    if not path.is_file():
        raise UserError(path, "no such file or folder", "check the path")
    return [path]


def unpack(
    archives: Sequence[Path], folder: Path, *, workers: int, listed: int | None = None
) -> None:
    """Unpack archives into one folder; what an earlier run has unpacked is kept.

    Args:
        archives: files; parts of a split archive side by side.
        folder: where to; made here, or by an earlier call.
        workers: processes for zip and tar; 0 works in this one.
        listed: videos that the official list names, which bounds what an archive may hold.

    Raises:
        UserError: not an archive, broken, unsafe, nested too deep, too large for what it is (see
            :mod:`cvrl.preparation.archive_limits`), no program for it, or the disk is full.

    Example:
        >>> base = Path(tempfile.mkdtemp())
        >>> with zipfile.ZipFile(base / "videos.zip", "w") as file:
        ...     file.writestr("run/a.avi", "frames")
        >>> unpack([base / "videos.zip"], base / "videos", workers=0)
        >>> (base / "videos/run/a.avi").read_text()
        'frames'
    """
    done = folder / _DONE
    if folder.exists() and not done.exists() and any(folder.iterdir()):
        reason = "holds files already that come from no archive"
        raise UserError(folder, reason, "give another --root, or name that folder as the source")
    done.mkdir(parents=True, exist_ok=True)
    _unpack_all(_families(archives), folder, done, workers, listed)
    depth = 0
    while inner := [parts for parts in _families(_loose_files(folder)) if kind_of(parts[0])]:
        depth += 1
        check_depth(depth, inner[0][0])
        for where in sorted({parts[0].parent for parts in inner}):
            here = [p for p in inner if p[0].parent == where]
            _unpack_all(here, where, done, workers, listed)
        for part in (part for parts in inner for part in parts):
            part.unlink()


def _unpack_all(
    families: Sequence[Parts], folder: Path, done: Path, workers: int, listed: int | None
) -> None:
    waiting = [parts for parts in families if not _note(parts, done).exists()]
    for parts in waiting:
        if kind_of(parts[0]) is None:
            remedy = "give .zip, .tar.gz or .rar files as their owner ships them"
            raise UserError(parts[0], "is no archive", remedy)
    by_tool = [parts for parts in waiting if kind_of(parts[0]) == "rar"]
    jobs = [(parts, folder, listed) for parts in waiting if parts not in by_tool]
    outcomes = map_in_processes(_unpack_one, jobs, workers=workers)
    for position, outcome in track(outcomes, len(jobs), "unpacking", "archives"):
        parts = jobs[position][0]
        if isinstance(outcome, Lost):
            raise UserError(parts[0], outcome.reason, "run the same command again")
        if outcome is not None:
            raise outcome
        _mark(parts, done)
    for parts in track(by_tool, len(by_tool), "unpacking", "archives"):
        _unpack_rar(parts[0], folder, done, Budget(parts[0], size_of(parts), folder, listed))
        _mark(parts, done)


def _note(parts: Parts, done: Path) -> Path:
    """The file that says an archive is unpacked; another one when the archive changes."""
    status = [os.stat(part) for part in parts]
    size, changed = sum(s.st_size for s in status), max(s.st_mtime_ns for s in status)
    return done / f"{parts[0].name}-{size}-{changed}"


def _mark(parts: Parts, done: Path) -> None:
    with atomic_path(_note(parts, done)) as temporary:
        temporary.write_text(json.dumps([str(part) for part in parts]))


def _families(files: Sequence[Path]) -> list[Parts]:
    """Files that belong together, by a number at the end of their names, in its order."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for file in sorted(set(files), key=lambda file: (file.parent, _part(file.name))):
        found.setdefault((file.parent, _part(file.name)[0]), []).append(file)
    families: list[Parts] = []
    for parts in found.values():
        whole = len(parts) > 1 and kind_of(parts[0]) and not any(map(kind_of, parts[1:]))
        families += [tuple(parts)] if whole else [(part,) for part in parts]
    return families


def _part(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.+[-_.])(\d+)", name)
    return (match[1], int(match[2])) if match else (name, 0)


def _loose_files(folder: Path) -> list[Path]:
    """Files that are neither videos nor frames: archives among them were inside others."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != _DONE]
        suffixes = ((name, os.path.splitext(name)[1].lower()) for name in names)
        kept = [n for n, suffix in suffixes if suffix not in IMAGE_SUFFIXES | {".txt", ".json"}]
        found += [Path(where, name) for name in kept if not is_video_name(name)]
    return found


def _unpack_one(job: tuple[Parts, Path, int | None], beat: Beat) -> UserError | None:
    """Unpack a zip or tar; errors are returned, since processes pass on nothing else."""
    parts, folder, listed = job
    budget = Budget(parts[0], size_of(parts), folder, listed)
    try:
        with ExitStack() as stack:
            stream: IO[bytes] = io.BufferedReader(_Joined(parts), _CHUNK)
            stack.enter_context(stream)
            members = _zip_members if kind_of(parts[0]) == "zip" else _tar_members
            for name, size, opened in members(stack, stream):
                _extract(parts[0], folder, name, size, opened, beat, budget)
    except UserError as error:
        return error
    except _BROKEN as error:
        return UserError(parts[0], f"cannot be unpacked: {reason_of(error)}", _remedy(error))
    return None


def _remedy(error: BaseException) -> str:
    full = isinstance(error, OSError) and error.errno in (28, 122)  # ENOSPC, EDQUOT
    return "make room and run the same command again" if full else "get the archive again"


Member = tuple[str, int | None, Callable[[], IO[bytes]]]


def _zip_members(stack: ExitStack, stream: IO[bytes]) -> Iterator[Member]:
    """Name, size and content of each file; size None marks what is no plain file."""
    archive = stack.enter_context(zipfile.ZipFile(stream))
    for info in archive.infolist():
        if not info.is_dir():
            link = (info.external_attr >> 16) & 0o170000 == 0o120000
            size = None if link else info.file_size
            yield info.filename, size, partial(archive.open, info)


def _tar_members(stack: ExitStack, stream: IO[bytes]) -> Iterator[Member]:
    archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r|*"))  # noqa: SIM115
    for info in archive:
        if not info.isdir():
            size = info.size if info.isreg() else None
            yield info.name, size, partial(_content, archive, info)


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(info)
    assert stream is not None, "asked for plain files only"
    return stream


def _extract(
    archive: Path,
    folder: Path,
    name: str,
    size: int | None,
    opened: Callable[[], IO[bytes]],
    beat: Beat,
    budget: Budget,
) -> None:
    """Write one member, unless it is there already in its full size."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts:
        raise UserError(archive, f"its member {name!r} has no name of its own", _OWNER)
    if size is None or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        kind = "a link or device" if size is None else "outside the folder"
        reason = f"its member {name!r} is {kind}, and nothing of it is trusted"
        raise UserError(archive, reason, _OWNER)
    beat()
    target = folder / path
    if target.exists() and target.stat().st_size == size:
        return
    budget.take(size)
    with opened() as source, atomic_path(target) as temporary:
        with open(temporary, "wb") as stream:
            while chunk := source.read(_CHUNK):
                stream.write(chunk)
                beat()
        if temporary.stat().st_size != size:
            raise EOFError(f"'{name}' ends early")


def _unpack_rar(archive: Path, folder: Path, done: Path, budget: Budget) -> None:
    """Unpack by a program: beside the rest, looked through, and only then moved in."""
    found = [(name, shutil.which(name)) for name in _TOOLS]
    programs = [(name, program) for name, program in found if program]
    if not programs:
        remedy = "install one, as in `apt install libarchive-tools`, or unpack the archive yourself"
        raise UserError(archive, f"no program for .rar found ({', '.join(_TOOLS)})", remedy)
    said = ""
    for name, program in programs:
        apart = done / "rar"
        shutil.rmtree(apart, ignore_errors=True)
        apart.mkdir()
        command = [program, *_TOOLS[name](os.path.abspath(archive), os.path.abspath(apart))]
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            status = _run_bounded(command, apart, budget, output)
            output.seek(0)
            said = f"{name}: {(output.read().strip().splitlines() or ['no message'])[-1]}"
        if status == 0:
            _move_in(archive, apart, folder)
            return
    raise UserError(archive, f"cannot be unpacked: {said}", "get the archive again")


def _run_bounded(command: list[str], apart: Path, budget: Budget, output: IO[str]) -> int:
    """Run a program that unpacks, and look every few seconds at how much it has written."""
    written = 0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    ) as program:
        while True:
            with suppress(subprocess.TimeoutExpired):
                program.wait(timeout=_LOOK_EVERY_S)
            there = size_below(apart)
            try:
                budget.take(there - written)
            except UserError:
                program.kill()
                raise
            written = there
            if program.returncode is not None:
                return program.returncode


def _move_in(archive: Path, apart: Path, folder: Path) -> None:
    """Move plain files from one folder into another; anything else is refused."""
    members = [path for path in sorted(apart.rglob("*")) if path.is_symlink() or not path.is_dir()]
    for source in members:
        name = source.relative_to(apart)
        if source.is_symlink() or not source.is_file():
            raise UserError(archive, f"its member '{name}' is a link or device", _OWNER)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, folder / name)
    shutil.rmtree(apart)


class _Joined(io.RawIOBase):
    """Files read one after another as if they were one, from any place."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._streams = [open(part, "rb") for part in parts]  # noqa: SIM115 - closed in close()
        sizes = [os.stat(part).st_size for part in parts]
        self._starts = [sum(sizes[:place]) for place in range(len(sizes))]
        self._size, self._at = sum(sizes), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        place = max(p for p, start in enumerate(self._starts) if start <= self._at)
        stream = self._streams[place]
        stream.seek(self._at - self._starts[place])
        count = stream.readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        super().close()
