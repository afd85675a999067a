"""Pack the videos of a list into tars of equal size: few large files in place of many small ones.

The tars have WebDataset's layout: a video is three members that follow one another, named by its
row in the list: ``000000012.json`` (its columns), ``000000012.cls`` (the number of its class, where
it has a label) and ``000000012.mp4`` (the file, byte by byte). An index beside them says where each
video is (:mod:`cvrl.data.sources.shard_index`), so that it is read without the others.

What is written is a function of the list and the files: sizes are known before anything is written,
a run that was killed goes on with the shards it lacks, and processes write shards side by side.
"""

import errno
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cvrl.data.manifest import Manifest
from cvrl.data.sources.shard_index import COLUMNS, INDEX_NAME, without_addresses, write_index
from cvrl.utils import remote
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.file_names import file_path
from cvrl.utils.io import DiskFullError, atomic_path
from cvrl.utils.log import track
from cvrl.utils.processes import Beat, Lost, map_in_processes
from cvrl.video.byte_source import byte_count, open_bytes, stamp_of
from cvrl.video.frame_folder import is_frames

_BLOCK = 512  # of a tar
_COPIED = 2**22  # bytes at a time
_END = 2 * _BLOCK


@dataclass(frozen=True)
class Sample:
    """A video to be written.

    Attributes:
        path: of the file, or an address.
        size: bytes.
        notes: the members before it, names and contents.
        name: of its member.
    """

    path: str
    size: int
    notes: tuple[tuple[str, bytes], ...]
    name: str

    @property
    def offset(self) -> int:
        """First byte of the video, from the start of the sample."""
        return sum(_BLOCK + _padded(len(content)) for _, content in self.notes) + _BLOCK

    @property
    def span(self) -> int:
        """Bytes of the sample in the tar."""
        return self.offset + _padded(self.size)


@dataclass(frozen=True)
class Shard:
    """A tar to be written."""

    path: str
    samples: tuple[Sample, ...]

    @property
    def size(self) -> int:
        """Bytes of the tar."""
        return sum(sample.span for sample in self.samples) + _END


def write_shards(
    manifest: Manifest, folder: str | os.PathLike[str], *, max_bytes: int, workers: int = 0
) -> list[Shard]:
    """Pack all videos of a list into shards, with an index.

    Args:
        manifest: the videos; none of them a folder of images.
        folder: for the shards, a path or URL; made when missing.
        max_bytes: of a shard. A video that is larger has one of its own.
        workers: processes that write.

    Returns:
        The shards, in order.

    Raises:
        UserError: a video that cannot be read, a folder of images, a list that is in the folder
            already with other videos, or a full disk.
    """
    place = Path(folder)
    shards = plan_shards(manifest, place, max_bytes)
    names = {os.path.basename(shard.path) for shard in shards}
    is_remote = remote.is_remote(place)
    there = remote.sizes_below(place) if is_remote else [path.name for path in place.glob("*.tar")]
    strange = sorted(name for name in there if name.endswith(".tar") and name not in names)
    if strange:
        reason = f"holds other shards, such as {strange[0]}"
        raise UserError(place, reason, "give an empty folder")
    index = place / INDEX_NAME
    left = [shard for shard in shards if not _is_done(shard)]
    if left and is_remote:
        remote.remove(index)
    elif left:
        index.unlink(missing_ok=True)  # it would speak of shards that are being replaced
    results = map_in_processes(write_shard, left, workers=workers)
    for position, outcome in track(results, len(left), "writing shards"):
        failure = outcome.reason if isinstance(outcome, Lost) else outcome
        if failure:
            remedy = "run the same command again once it is mended: finished shards are kept"
            raise UserError(left[position].path, failure, remedy)
    write_index(place, _index(manifest, shards), {Path(s.path).name: s.size for s in shards})
    return shards


def plan_shards(manifest: Manifest, folder: Path, max_bytes: int) -> list[Shard]:
    """Divide a list into shards, in its order, without writing anything.

    Raises:
        UserError: a video that cannot be read, or is a folder of images.
    """
    samples = _samples(manifest)
    groups: list[list[Sample]] = []
    used = 0
    for sample in samples:
        if not groups or used + sample.span + _END > max_bytes:
            groups.append([])
            used = 0
        groups[-1].append(sample)
        used += sample.span
    return [
        Shard(remote.join(folder, f"{number:06d}.tar"), tuple(group))
        for number, group in enumerate(groups)
    ]


def write_shard(shard: Shard, beat: Beat = lambda: None) -> str | None:
    """Write one tar.

    Args:
        shard: what it holds.
        beat: called now and then while it goes on.

    Returns:
        None, or why it cannot be written: then there is no file.
    """
    try:
        with atomic_path(shard.path) as temporary, open(temporary, "wb") as tar:
            for sample in shard.samples:
                tar.write(_before(sample))
                _copy(sample, tar, beat)
                tar.write(bytes(_padded(sample.size) - sample.size))
            tar.write(bytes(_END))
    except CorruptVideoError as error:
        return str(error)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return "the disk is full" if full else f"{error.filename or ''}: {error.strerror}"
    except DiskFullError:
        return "the disk is full"
    except UserError as error:  # of an object store
        return str(error)
    return None


def _copy(sample: Sample, tar: Any, beat: Beat) -> None:
    """Copy a video; it must have the size that was planned."""
    copied = 0
    with open_bytes(sample.path) as video:
        while block := video.read(_COPIED):
            beat()
            copied += len(block)
            if copied > sample.size:
                break
            tar.write(block)
    if copied != sample.size:
        raise CorruptVideoError(sample.path, "has changed while it was read")


def _samples(manifest: Manifest) -> list[Sample]:
    """What each video becomes in a tar."""
    listed = without_addresses(manifest.table)
    names = listed.column_names
    samples = []
    rows = (row for batch in listed.to_batches(max_chunksize=10_000) for row in batch.to_pylist())
    for number, (path, row) in enumerate(zip(manifest.paths, rows, strict=True)):
        if is_frames(file_path(path)):
            reason = "is a folder of images, not a file"
            raise UserError(path, reason, "encode it as a video first, or leave it out")
        try:
            size = byte_count(path)
        except (OSError, CorruptVideoError) as error:
            reason = error.reason if isinstance(error, CorruptVideoError) else str(error.strerror)
            raise UserError(path, reason, "mend it or leave it out of the list") from error
        facts = {name: row[name] for name in names if row[name] is not None}
        notes = [(f"{number:09d}.json", json.dumps(facts, default=str).encode())]
        if manifest.label_ids[number] >= 0:
            notes.append((f"{number:09d}.cls", str(manifest.label_ids[number]).encode()))
        suffix = os.path.splitext(path)[1].lower() or ".video"
        samples.append(Sample(path, size, tuple(notes), f"{number:09d}{suffix}"))
    return samples


def _index(manifest: Manifest, shards: Sequence[Shard]) -> pa.Table:
    """The list, with the place of every video."""
    shard, start, length = [], [], []
    for written in shards:
        spans = np.cumsum([0, *(sample.span for sample in written.samples)])
        for base, sample in zip(spans.tolist(), written.samples, strict=False):
            shard.append(os.path.basename(written.path))
            start.append(base + sample.offset)
            length.append(sample.size)
    listed = without_addresses(manifest.table)
    columns = {name: listed[name] for name in listed.column_names}
    places = (pa.array(shard, pa.string()), pa.array(start), pa.array(length))
    return pa.table(columns | dict(zip(COLUMNS, places, strict=True)))


def _is_done(shard: Shard) -> bool:
    """Whether a shard is there already: whole, of this list, and not older than its videos."""
    try:
        status = os.stat(shard.path)
        latest = max(stamp_of(sample.path).changed for sample in shard.samples)
        if status.st_size != shard.size or status.st_mtime_ns < latest:
            return False
        with open(shard.path, "rb") as tar:
            for sample in shard.samples:
                before = _before(sample)
                if tar.read(len(before)) != before:
                    return False
                tar.seek(sample.span - len(before), os.SEEK_CUR)
    except OSError:
        return False
    return True


def _before(sample: Sample) -> bytes:
    """All of a sample up to the first byte of its video."""
    parts = []
    for name, content in sample.notes:
        parts += [_header(name, len(content)), content, bytes(_padded(len(content)) - len(content))]
    return b"".join([*parts, _header(sample.name, sample.size)])


def _header(name: str, size: int) -> bytes:
    """The header of a member; the same bytes whenever it is written."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member.tobuf(tarfile.GNU_FORMAT)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
