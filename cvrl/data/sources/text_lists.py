"""Read text lists of clips: CSV files with a header, and lines of path and label.

Every reader gives a :class:`pyarrow.Table` of strings with at least a ``path`` column, and
``label``, ``group`` and ``split`` where the list says so. Columns are worked on whole, so a list of
a million clips is read in about a second.
"""

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
    ``;`` and a blank; ``#20_Rhythm.avi`` is a file (of HMDB51).

    Args:
        path: the list.
        root: the folder that paths start from; None is that of the list.

    Raises:
        UserError: an empty file, no UTF-8 text, lines of different columns or of columns that can
            be understood in two ways, a header without a path, or a path listed twice.

    Example:
        >>> import tempfile
        >>> listed = Path(tempfile.mkdtemp()) / "train.txt"
        >>> _ = listed.write_text("run/a b.mp4 0\njump/c.mp4 1\n")
        >>> list_file(listed).to_pydict()
        {'path': ['run/a b.mp4', 'jump/c.mp4'], 'label': ['0', '1']}
    """
    root = path.parent if root is None else root
    try:
        with open(path, encoding="utf-8-sig") as stream:
            beginning = stream.read(FIRST_BYTES)
            if not beginning.strip() and not stream.read().strip():
                raise UserError(path, "the list is empty", "give one path a line")
        header = find_header(path, beginning, root)
        table = read_lines(path, path, root) if header is None else _read_csv(path, header)
    except UnicodeDecodeError as error:
        raise UserError(path, "is not a list in UTF-8 text", "give a folder or a list") from error
    except OSError as error:
        raise UserError(path, error.strerror or "cannot be read", "give a readable file") from error
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise UserError(path, reason, "give every row the same columns, in UTF-8 text") from error
    if not len(table):
        raise UserError(path, "the list names no clips", "give one path a line")
    _check_unique(table["path"], path)
    return table


def _check_unique(path: Any, source: Path) -> None:
    if pc.count_distinct(path).as_py() == len(path):
        return
    counts = pc.value_counts(path)
    twice = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1))
    reason = f"{len(twice)} paths are listed more than once, first {twice[0]['values'].as_py()}"
    raise UserError(source, reason, "list each once")


def _read_csv(path: Path, header: Header) -> pa.Table:
    """Read what stands below a header."""
    names = rename_columns(path, header.names)
    types = dict.fromkeys(names, pa.string())
    if "status" in names:  # written by a scan
        types |= {name: kind for name, kind in SCAN_TYPES.items() if name in names}
    table = pyarrow.csv.read_csv(
        path,
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
