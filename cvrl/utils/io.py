"""Writing files so that a reader never meets half of one."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends well.

    The file is flushed to disk before it is renamed, so after a crash ``path`` holds either the
    old content or the whole new one. When the block raises, the temporary file is removed.

    Args:
        path: the final name; its folder is made when missing.

    Yields:
        The name to write to. It keeps the suffix of ``path``.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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
