"""The index of a folder of shards: which bytes of which tar are which video.

``index.parquet`` lies beside the shards that ``cvrl shard`` writes. It has the columns of the list
that was sharded (``path``, ``label``, ``group``, ``split`` ...), in the order of that list, and

    shard            name of the tar
    shard_offset     first byte of the video in it
    shard_bytes      number of bytes

Its metadata holds the size of every shard, so a missing or cut shard is found when a list opens.
"""

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cvrl.utils import remote
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.video.byte_source import Address

INDEX_NAME = "index.parquet"
COLUMNS = ("shard", "shard_offset", "shard_bytes")
_SIZES = b"cvrl_shard_sizes"


def is_shard_folder(folder: Path) -> bool:
    """Whether a folder has an index of shards.

    Example:
        >>> is_shard_folder(Path("no/such/folder"))
        False
    """
    path = folder / INDEX_NAME
    if remote.is_remote(folder):
        return remote.exists(path)
    try:
        return path.is_file() and _SIZES in (pq.read_schema(path).metadata or {})
    except pa.ArrowException:
        return any(folder.glob("*.tar"))  # a damaged index, which reading it reports


def write_index(folder: Path, table: pa.Table, sizes: Mapping[str, int]) -> None:
    """Write the index of a folder of shards.

    Args:
        folder: holds the shards.
        table: one row a video, with the columns that say where it is.
        sizes: bytes of every shard, by name.
    """
    marked = table.replace_schema_metadata({_SIZES: json.dumps(dict(sizes)).encode()})
    with atomic_path(folder / INDEX_NAME) as temporary:
        pq.write_table(marked, temporary, compression="zstd", row_group_size=2**17)


def read_index(folder: Path) -> pa.Table:
    """Read the index of a folder of shards, and look whether the shards are whole.

    Raises:
        UserError: a damaged index, or a shard that is missing or of another size.
    """
    path = folder / INDEX_NAME
    remedy = "copy the folder again, or run cvrl shard again"
    try:
        is_remote = remote.is_remote(folder)
        table = pq.read_table(io.BytesIO(remote.read_bytes(path)) if is_remote else path)
        sizes = json.loads(table.schema.metadata[_SIZES])
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(path, f"cannot be read: {error}", remedy) from error
    there = remote.sizes_below(folder) if is_remote else _sizes_in(folder, sizes)
    for name, size in sizes.items():
        found = there.get(name)
        if found != size:
            reason = "is missing" if found is None else f"has {found} bytes, not {size}"
            raise UserError(remote.join(folder, name), f"{reason}, as {path} says", remedy)
    return table.replace_schema_metadata(None)


def _sizes_in(folder: Path, names: Iterable[str]) -> dict[str, int]:
    paths = {name: folder / name for name in names}
    return {name: path.stat().st_size for name, path in paths.items() if path.is_file()}


def has_addresses(table: pa.Table) -> bool:
    """Whether the videos of a table lie in shards.

    Example:
        >>> has_addresses(pa.table({"path": ["a.mp4"]}))
        False
    """
    return set(COLUMNS) <= set(table.column_names)


def listed_path(table: pa.Table, row: int) -> str:
    """Where a video is, relative to the root of its list: a path, or an address in a shard.

    Example:
        >>> columns = {"path": ["a.mp4"], "shard": ["0.tar"]}
        >>> listed_path(pa.table({**columns, "shard_offset": [512], "shard_bytes": [9]}), 0)
        '0.tar@512+9/a.mp4'
    """
    path: str = table["path"][row].as_py()
    if not has_addresses(table):
        return path
    shard, start, length = (table[name][row].as_py() for name in COLUMNS)
    return str(Address(shard, start, length, path.lstrip("/")))


def listed_paths(table: pa.Table) -> Any:
    """Where all videos of a table are, as an array; see :func:`listed_path`.

    Example:
        >>> listed_paths(pa.table({"path": ["a.mp4"]})).to_pylist()
        ['a.mp4']
    """
    if not has_addresses(table):
        return table["path"]
    start, length = (pc.cast(table[name], pa.string()) for name in COLUMNS[1:])
    parts = (table["shard"], "@", start, "+", length, "/", pc.utf8_ltrim(table["path"], "/"))
    return pc.binary_join_element_wise(*parts, "")


def without_addresses(table: pa.Table) -> pa.Table:
    """The table without the columns that say where in a shard a video is.

    Example:
        >>> without_addresses(pa.table({"path": ["a.mp4"], "shard": ["0.tar"]})).column_names
        ['path']
    """
    return table.drop_columns([name for name in COLUMNS if name in table.column_names])


def tar_names(folder: Path, suffix: str) -> list[str]:
    """Names of the containers in a folder that holds nothing else but notes; else none.

    Args:
        folder: looked at without its subfolders.
        suffix: ``.tar`` or ``.parquet``.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                return []
            if entry.name.lower().endswith(suffix):
                found.append(entry.name)
    return sorted(found)
