"""How stored features lie on disk, one row a clip: Parquet, .npy with a .csv, a FAISS index.

Shape suffixes: N clips, D dims.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cvrl.evaluation.features import faiss_index
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path, reserve

READABLE = (".parquet", ".npy")
SUFFIXES = (*READABLE, faiss_index.SUFFIX)


@dataclass(frozen=True)
class VideoFeatures:
    """The clips of one video, or why it has none.

    Attributes:
        path: of the video.
        start_N: start of each clip in seconds.
        end_N: end of each clip in seconds.
        vectors_ND: float32, one row a clip.
        bad: why the video could not be decoded; None where it could.
    """

    path: str
    start_N: NDArray[np.float64]
    end_N: NDArray[np.float64]
    vectors_ND: NDArray[np.float32]
    bad: str | None = None


@dataclass(frozen=True)
class StoredFeatures:
    """A feature file in memory.

    Attributes:
        videos: path of each clip's video.
        start_N: start of each clip in seconds.
        end_N: end of each clip in seconds.
        vectors_ND: float32; a memory map where the file is .npy.
    """

    videos: list[str]
    start_N: NDArray[np.float64]
    end_N: NDArray[np.float64]
    vectors_ND: NDArray[np.float32]


def check_format(output: str | PathLike[str], suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse an output whose name does not say a known format.

    Raises:
        UserError: another suffix, or .faiss where faiss is not installed.

    Example:
        >>> check_format("features.parquet")
        >>> check_format("f.txt")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: f.txt: no such format; end it in .parquet, .npy or .faiss
    """
    suffix = Path(output).suffix
    if suffix not in suffixes:
        *first, last = suffixes
        raise UserError(output, "no such format", f"end it in {', '.join(first)} or {last}")
    if suffix == faiss_index.SUFFIX:
        faiss_index.need_faiss(output)


def write_shard(videos: Sequence[VideoFeatures], path: str | PathLike[str]) -> None:
    """Write some videos, bad ones included by name, as Parquet.

    Args:
        videos: in the order of the list.
        path: the file; replaced as a whole.
    """
    good = [video for video in videos if video.bad is None]
    vectors_ND = np.concatenate([v.vectors_ND for v in good]) if good else np.zeros((0, 1), "f4")
    names = [video.path for video in good for _ in video.start_N]
    flat = pa.array(np.ascontiguousarray(vectors_ND, dtype=np.float32).reshape(-1))
    table = pa.table(
        {
            "video": pa.array(names, pa.string()),
            "start": pa.array([t for v in good for t in v.start_N], pa.float64()),
            "end": pa.array([t for v in good for t in v.end_N], pa.float64()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors_ND.shape[1]),
        }
    )
    bad = [[video.path, video.bad] for video in videos if video.bad is not None]
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({"bad": json.dumps(bad)}), temporary)


def read_bad(path: str | PathLike[str]) -> list[tuple[str, str]]:
    """Read the (path, reason) of each bad video of a shard."""
    metadata = pq.read_schema(path).metadata
    return [(video, reason) for video, reason in json.loads(metadata[b"bad"])]


def join_shards(shards: Sequence[Path], output: str | PathLike[str]) -> int:
    """Make one feature file of shards, a shard in memory at a time.

    Args:
        shards: in order; empty ones are skipped.
        output: a .parquet, .npy or .faiss file; the last two get the names of clips beside them.

    Returns:
        The number of clips, which is the number of rows; 0 writes nothing.
    """
    filled = [path for path in shards if pq.read_metadata(path).num_rows]
    n_clips: int = sum(pq.read_metadata(path).num_rows for path in filled)
    if n_clips == 0:
        return 0
    tables = (pq.read_table(path).replace_schema_metadata(None) for path in filled)
    if Path(output).suffix == ".parquet":
        _join_parquet(tables, pq.read_schema(filled[0]).remove_metadata(), Path(output))
    elif Path(output).suffix == faiss_index.SUFFIX:
        parts = ((_matrix(table), table.select(["video", "start", "end"])) for table in tables)
        faiss_index.write_index(parts, Path(output))
    else:
        _join_npy(tables, n_clips, Path(output))
    return n_clips


def read_features(path: str | PathLike[str]) -> StoredFeatures:
    """Read what :func:`cvrl.evaluation.features.feature_store.extract_to_file` wrote.

    Args:
        path: the .parquet or the .npy file.

    Raises:
        UserError: no such file, or another format.

    Example:
        >>> read_features("missing.parquet")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: missing.parquet: no such file; extract features first
    """
    check_format(path, READABLE)
    file = Path(path)
    if not file.exists():
        raise UserError(file, "no such file", "extract features first")
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        vectors_ND = _matrix(table)
    else:
        table = pyarrow.csv.read_csv(file.with_suffix(".csv"))
        vectors_ND = np.load(file, mmap_mode="r")
    start_N, end_N = (table[name].to_numpy() for name in ("start", "end"))
    return StoredFeatures(table["video"].to_pylist(), start_N, end_N, vectors_ND)


def _join_parquet(tables: Iterator[pa.Table], schema: pa.Schema, output: Path) -> None:
    with atomic_path(output) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in tables:
            writer.write_table(table)


def _join_npy(tables: Iterator[pa.Table], n_clips: int, output: Path) -> None:
    # Written plainly: a memory map on a full disk ends the process with SIGBUS.
    with (
        atomic_path(output) as matrix_file,
        atomic_path(output.with_suffix(".csv")) as index_file,
        open(matrix_file, "wb") as stream,
    ):
        index: list[pa.Table] = []
        width = 0
        for table in tables:
            part_ND = np.ascontiguousarray(_matrix(table), dtype=np.float32)
            if not index:
                header = np.lib.format.header_data_from_array_1_0(part_ND)
                header["shape"] = (n_clips, part_ND.shape[1])
                np.lib.format.write_array_header_1_0(stream, header)
                reserve(stream, stream.tell() + n_clips * part_ND[0].nbytes)
                width = part_ND.shape[1]
            if part_ND.shape[1] != width:
                raise ValueError(f"vectors of {width} and {part_ND.shape[1]} numbers in one file")
            stream.write(part_ND.tobytes())
            index.append(table.select(["video", "start", "end"]))
        stream.flush()
        pyarrow.csv.write_csv(pa.concat_tables(index), index_file)


def _matrix(table: pa.Table) -> NDArray[np.float32]:
    vector = table["vector"].combine_chunks()
    matrix: NDArray[np.float32] = vector.flatten().to_numpy().reshape(len(vector), -1)
    return matrix
