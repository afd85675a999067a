"""Read text lists of clips: CSV files with a header, and lines of path and label.

Every reader gives a :class:`pyarrow.Table` of strings with at least a ``path`` column, and
``label``, ``group`` and ``split`` where the list says so. Columns are worked on whole, so a list of
a million clips is read in about a second.
"""

import io
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from cvrl.data.sources.line_lists import read_lines
from cvrl.data.sources.list_headers import (
    FIRST_BYTES,
    Header,
    find_header,
    rename_columns,
    with_split,
)
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import path_text

logger = logging.getLogger("cvrl")

SCAN_TYPES = {
    "fps": pa.float64(),
    "frames": pa.int64(),
    "height": pa.int64(),
    "width": pa.int64(),
    "duration": pa.float64(),
    "status": pa.string(),
    "reason": pa.string(),
}
"""Columns a scan adds, with their types; see :mod:`cvrl.preparation.scan`."""


def list_file(path: Path, root: Path | None = None) -> pa.Table:
    r"""The clips a text file lists: a CSV file with a header, or lines of path and label.

    A first line whose columns, separated by comma, semicolon, tab or ``|``, name the path makes it
    a CSV file (see :func:`cvrl.data.sources.list_headers.rename_columns`); all its columns are
    kept. Otherwise every line is ``path``, ``path label``, ``path frames label`` (SlowFast,
    mmaction) or ``path label frames``, separated by blanks, tabs, a comma or semicolon. A path may
    hold blanks if it ends like a video or is quoted; so may a label. Comments begin with ``#`` or
    ``;`` and a blank; ``#20_Rhythm.avi`` is a file (of HMDB51). Bytes that are not UTF-8 are kept
    as ``\xe9``, with a warning, since file names may hold such.

    Args:
        path: the list.
        root: the folder that paths start from; None is that of the list.

    Raises:
        UserError: an empty file, no text, lines of different columns or of columns that can be
            understood in two ways, a header without a path, or a path listed twice.

    Example:
        >>> import tempfile
        >>> listed = Path(tempfile.mkdtemp()) / "train.txt"
        >>> _ = listed.write_text("run/a b.mp4 0\njump/c.mp4 1\n")
        >>> list_file(listed).to_pydict()
        {'path': ['run/a b.mp4', 'jump/c.mp4'], 'label': ['0', '1']}
    """
    root = path.parent if root is None else root
    try:
        data = _read_text(path)
        beginning = data[:FIRST_BYTES].decode("utf-8-sig", "ignore")
        if not beginning.strip() and not data.strip():
            raise UserError(path, "the list is empty", "give one path a line")
        header = find_header(path, beginning, root)
        if header is None:
            table = read_lines(path, io.BytesIO(data), root)
        else:
            table = _read_csv(io.BytesIO(data), path, header)
    except OSError as error:
        raise UserError(path, error.strerror or "cannot be read", "give a readable file") from error
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise UserError(path, reason, "give every row the same columns, in UTF-8 text") from error
    if not len(table):
        raise UserError(path, "the list names no clips", "give one path a line")
    _check_unique(table["path"], path)
    return table


def _read_text(path: Path) -> bytes:
    """Read a list as UTF-8; other bytes become escapes, see :mod:`cvrl.utils.file_names`."""
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if b"\0" in data:
            remedy = "give a folder or a list"
            raise UserError(path, "is not a list in UTF-8 text", remedy) from error
        text = data.decode("utf-8", "backslashreplace")
        line = text.split("\n")[data.count(b"\n", 0, error.start)].strip()
        remedy = "if file names are in UTF-8, convert the list, as with iconv"
        logger.warning("%s: is not UTF-8, as in '%s'; %s", path_text(str(path)), line, remedy)
        return text.encode()
    return data


def _check_unique(path: Any, source: Path) -> None:
    if pc.count_distinct(path).as_py() == len(path):
        return
    counts = pc.value_counts(path)
    twice = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1))
    reason = f"{len(twice)} paths are listed more than once, first {twice[0]['values'].as_py()}"
    raise UserError(source, reason, "list each once")


def _read_csv(source: io.BytesIO, path: Path, header: Header) -> pa.Table:
    """Read what stands below the header of a list."""
    names = rename_columns(path, header.names)
    types = dict.fromkeys(names, pa.string())
    if "status" in names:  # written by a scan
        types |= {name: kind for name, kind in SCAN_TYPES.items() if name in names}
    table = pyarrow.csv.read_csv(
        source,
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=header.line + 1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=header.delimiter),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types,
            null_values=[""],  # "NA" and "nan" are names like any other
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    if header.spaced:
        trimmed = {
            name: pc.utf8_trim_whitespace(table[name])
            if types[name] == pa.string()
            else table[name]
            for name in names
        }
        table = pa.table(trimmed)
    if table["path"].null_count:
        row = pc.index(pc.is_null(table["path"]), True).as_py()
        raise UserError(path, f"clip {row + 1} has no path", "complete or remove its line")
    return with_split(path, table)
