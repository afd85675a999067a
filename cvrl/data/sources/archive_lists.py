"""List the videos in tars without an index and in Parquet files that hold bytes.

A tar is one of WebDataset's: the files of a sample share a name up to the first dot and follow one
another (``0001.mp4``, ``0001.json``, ``0001.cls``). Its headers are read one after the other each
time it is opened, some 20 µs a member; ``cvrl shard`` writes an index that saves this. Videos are
read in place, so a tar must not be compressed. Images are the frames of a video where a sample has
several (``0001.00.jpg``, ``0001.01.jpg``), or else where they lie in a folder of the tar.

A Parquet file has a column of bytes, or of structs with a field ``bytes``. Reading one of its rows
reads the row group: random access is slow unless row groups are small.
"""

import json
import logging
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cvrl.data.sources.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import path_text
from cvrl.video.byte_source import bytes_column

logger = logging.getLogger("cvrl")
_KEY = re.compile(r"((?:.*/)?[^./][^/.]*)[.]([^/]*)")
_NOTES = (".json", ".cls")
_FACTS = ("label", "group", "split")
_LARGEST_NOTE = 2**20
Row = dict[str, Any]


@dataclass
class _Sample:
    """What a tar has of one sample: the place of its video or images, and its notes."""

    name: str
    start: int
    end: int
    images: int = 0
    facts: Row = field(default_factory=dict)

    def row(self, shard: str) -> Row:
        """A row of the list."""
        place = {"shard": shard, "shard_offset": self.start, "shard_bytes": self.end - self.start}
        return {"path": self.name, **dict.fromkeys(_FACTS), **self.facts, **place}


def list_tars(folder: Path, names: Sequence[str]) -> pa.Table:
    """The videos in tars, with what their notes say: ``path``, ``label``, ``group``, ``split``.

    Args:
        folder: of the tars.
        names: of the tars.

    Raises:
        UserError: a tar that is compressed, damaged or holds no video, or a name that is there
            twice.
    """
    rows: list[Row] = []
    for name in names:
        found = [sample.row(name) for sample in _samples(folder / name)]
        if not found:
            reason = "holds no video and no series of images"
            raise UserError(folder / name, reason, "give tars of videos")
        rows += found
    if len({row["path"] for row in rows}) < len(rows):  # shards may each count from 0
        for row in rows:
            row["path"] = f"{Path(row['shard']).stem}/{row['path']}"
    return _table(folder, rows)


def list_parquets(folder: Path, names: Sequence[str]) -> pa.Table:
    """The videos in Parquet files; columns ``path``, ``label``, ``group`` and ``split`` are kept.

    Args:
        folder: of the files.
        names: of the files.

    Raises:
        UserError: a file that cannot be read or has no column of bytes.
    """
    rows: list[Row] = []
    for name in names:
        try:
            file = pq.ParquetFile(folder / name)
            rows += _parquet_rows(file, folder / name)
        except (OSError, pa.ArrowException) as error:
            raise UserError(folder / name, f"cannot be read: {error}", "write it again") from error
    return _table(folder, rows)


def _parquet_rows(file: pq.ParquetFile, path: Path) -> Iterator[Row]:
    column = bytes_column(file.schema_arrow)
    if column is None:
        columns = ", ".join(file.schema_arrow.names)
        reason = f"has no column of bytes; its columns are {columns}"
        raise UserError(path, reason, "give videos as bytes, or a list as CSV")
    kept = [name for name in ("path", *_FACTS) if name in file.schema_arrow.names]
    is_struct = pa.types.is_struct(file.schema_arrow.field(column).type)
    has_names = is_struct and file.schema_arrow.field(column).type.get_field_index("path") >= 0
    wanted = [*kept, *([f"{column}.path"] if has_names else [])]
    total = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        table = file.read_row_group(group, columns=wanted) if wanted else None
        facts = table.to_pylist() if table is not None else [{} for _ in range(count)]
        for row, fact in enumerate(facts):
            inner = (fact.pop(column, None) or {}).get("path")
            name = fact.get("path") or inner or f"{path.stem}/{total:08d}"
            place = {"shard": path.name, "shard_offset": group, "shard_bytes": row}
            yield {**dict.fromkeys(_FACTS), **fact, "path": name, **place}
            total += 1


def _table(folder: Path, rows: Sequence[Row]) -> pa.Table:
    """Columns of what is there; a column without a value is left out."""
    if not rows:
        raise UserError(folder, "holds no videos", "give a folder of tars or Parquet files")
    texts = {
        name: [None if row[name] is None else str(row[name]) for row in rows]
        for name in ("path", *_FACTS, "shard")
    }
    columns = {name: pa.array(text, pa.string()) for name, text in texts.items() if any(text)}
    for name in ("shard_offset", "shard_bytes"):
        columns[name] = pa.array([row[name] for row in rows], pa.int64())
    counts = {path: len(list(same)) for path, same in groupby(sorted(texts["path"], key=str))}
    twice = [path for path, count in counts.items() if count > 1]
    if twice:
        reason = f"{len(twice)} names are there more than once, first {twice[0]}"
        raise UserError(folder, reason, "give every video a name of its own")
    return pa.table(columns)


def _samples(path: Path) -> list[_Sample]:
    """The samples of a tar that hold a video, or else its series of images."""
    videos: list[_Sample] = []
    images: list[tuple[str, _Sample]] = []
    try:
        with open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for key, members in groupby(_members(archive), key=lambda member: _split(member)[0]):
                _read_sample(archive, key, list(members), videos, images)
            stream.seek(archive.offset)
            end = stream.read(512)
        if end.strip(b"\0"):
            raise UserError(path, "is damaged after its last member", "copy it again")
        if not end:
            logger.warning("%s: has no end mark, so it may be cut", path_text(str(path)))
    except (tarfile.TarError, OSError) as error:
        reason = f"is no tar that can be read in place: {error}"
        raise UserError(path, reason, "decompress it, or copy it again if it is cut") from error
    return videos or _series(path, images)


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, none of the hidden ones; links are named and left out."""
    links = 0
    for member in archive:
        links += member.islnk() or member.issym()
        if member.isreg() and not os.path.basename(member.name).startswith("."):
            yield member
        archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
    if links:
        logger.warning("%s: left out %d links", path_text(str(archive.name)), links)


def _split(member: tarfile.TarInfo) -> tuple[str, str]:
    """The key of the sample and the suffix, as WebDataset cuts a name."""
    match = _KEY.fullmatch(member.name)
    return (match[1], "." + match[2]) if match else (member.name, "")


def _read_sample(
    archive: tarfile.TarFile,
    key: str,
    members: Sequence[tarfile.TarInfo],
    videos: list[_Sample],
    images: list[tuple[str, _Sample]],
) -> None:
    """Add the video of a sample to the one list, or its images to the other."""
    facts: Row = {}
    found, frames = [], []
    for member in members:
        suffix = os.path.splitext(member.name)[1].lower()
        if suffix in _NOTES and member.size <= _LARGEST_NOTE:
            file = archive.extractfile(member)
            facts |= _facts(suffix, file.read() if file else b"", facts)
        elif suffix in VIDEO_SUFFIXES:
            found.append(member)
        elif suffix in IMAGE_SUFFIXES:
            frames.append(member)
    for member in found:
        name = facts.get("path") or member.name
        end = member.offset_data + member.size
        own = {name: value for name, value in facts.items() if name != "path"}
        videos.append(_Sample(name, member.offset_data, end, facts=own))
    if frames and not found:
        last = frames[-1]
        end = last.offset_data + -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        own = {name: value for name, value in facts.items() if name != "path"}
        sample = _Sample(key, frames[0].offset, end, len(frames), own)
        images.append((key if len(frames) > 1 else os.path.dirname(key), sample))


def _facts(suffix: str, note: bytes, known: Row) -> Row:
    """What a note tells; a label in JSON is preferred to the number in ``.cls``."""
    text = note.decode(errors="replace").strip()
    if suffix == ".cls":
        return {"label": known.get("label", text)}
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return {}
    told = content.items() if isinstance(content, dict) else ()
    return {
        name: value
        for name, value in told
        if name in ("path", *_FACTS) and isinstance(value, str | int)
    }


def _series(path: Path, images: Sequence[tuple[str, _Sample]]) -> list[_Sample]:
    """One sample a series of images."""
    series: dict[str, _Sample] = {}
    for name, parts in groupby(images, key=lambda pair: pair[0]):
        own = [sample for _, sample in parts]
        if name in series:
            reason = f"the images of '{name}' do not follow one another"
            raise UserError(path, reason, "sort the tar by name")
        count = sum(sample.images for sample in own)
        series[name] = _Sample(name, own[0].start, own[-1].end, count, own[0].facts)
    return [sample for name, sample in series.items() if name and sample.images > 1]
