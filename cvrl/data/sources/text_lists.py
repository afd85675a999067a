"""Read text lists of clips: CSV files with a header, and lines of path and label.

Every reader gives a :class:`pyarrow.Table` of strings with at least a ``path`` column, and
``label``, ``group`` and ``split`` where the list says so. Columns are worked on whole, so a list of
a million clips is read in about a second.
"""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from cvrl.data.sources.file_types import VIDEO_SUFFIXES
from cvrl.utils.errors import UserError

# fmt: off
_HEADER_WORDS = frozenset((
    "label", "class", "group", "split", "status", "id", "name", "youtube_id", "video", "video_path",
    "filepath", "file", "filename",
))
# fmt: on
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


def list_file(path: Path) -> pa.Table:
    r"""The clips a text file lists: a CSV file with a header, or lines of path and label.

    A first line that names a ``path`` column, separated by comma, semicolon or tab, makes it a
    CSV file; all its columns are kept. Otherwise every line is ``path``, ``path label`` or
    ``path frames label`` (SlowFast, mmaction), separated by blanks, tabs or a comma. A path may
    hold blanks if it ends like a video; so may a label after such a path. Comments begin with ``#``
    and a blank; ``#20_Rhythm.avi`` is a file (of HMDB51).

    Raises:
        UserError: an empty file, no UTF-8 text, lines of different columns, a header without
            ``path``, or a path listed twice.

    Example:
        >>> import tempfile
        >>> listed = Path(tempfile.mkdtemp()) / "train.txt"
        >>> _ = listed.write_text("run/a b.mp4 0\njump/c.mp4 1\n")
        >>> list_file(listed).to_pydict()
        {'path': ['run/a b.mp4', 'jump/c.mp4'], 'label': ['0', '1']}
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            first = stream.readline(65536).strip()
            if not first and not stream.read().strip():
                raise UserError(path, "the list is empty", "give one path a line")
        delimiter = _header_delimiter(path, first)
        table = _read_lines(path) if delimiter is None else _read_csv(path, first, delimiter)
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


def _header_delimiter(path: Path, first: str) -> str | None:
    """The delimiter of a CSV header, None where the first line is already a clip."""
    for delimiter in (",", ";", "\t"):
        names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        if "path" in names:
            return delimiter
        if len(names) > 1 and _HEADER_WORDS & {name.lower() for name in names}:
            raise UserError(
                path,
                f"no column 'path' among {', '.join(names)}",
                "name the column of files 'path'",
            )
    return "," if first.lower() == "path" else None


def _read_csv(path: Path, header: str, delimiter: str) -> pa.Table:
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(path, f"two columns are called '{twice[0]}'", "rename one")
    types = dict.fromkeys(names, pa.string())
    if "status" in names:  # written by a scan
        types |= {name: kind for name, kind in SCAN_TYPES.items() if name in names}
    table = pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types,
            null_values=[""],  # "NA" and "nan" are names like any other
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    if table["path"].null_count:
        row = pc.index(pc.is_null(table["path"]), True).as_py()
        raise UserError(path, f"clip {row + 1} has no path", "complete or remove its line")
    return table


def _read_lines(path: Path) -> pa.Table:
    """Read lines of path and label; see :func:`list_file`."""
    options = pyarrow.csv.ParseOptions(delimiter="\x1f", quote_char=False)  # one column: the line
    lines = pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=["line"]),
        parse_options=options,
        convert_options=pyarrow.csv.ConvertOptions(column_types={"line": pa.string()}),
    )["line"].combine_chunks()
    lines = pc.utf8_trim_whitespace(lines)
    skipped = pc.match_substring_regex(lines, r"^(#[ \t]|#?$)")
    if pc.any(skipped).as_py():  # seldom, and a copy of a long list is large
        lines = lines.filter(pc.invert(skipped))
    if not len(lines):
        return pa.table({"path": lines})
    paths, rest = _split_lines(path, lines)
    if not pc.any(pc.not_equal(rest, "")).as_py():
        return pa.table({"path": paths})
    return pa.table({"path": paths, "label": _labels(path, lines, rest)})


def _split_lines(path: Path, lines: Any) -> tuple[Any, Any]:
    """Cut lines after the path: where it ends like a video, else at the first separator."""
    endings = "|".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
    by_suffix = rf"^(?P<path>.*\.(?i:{endings}))(?:[ \t]*[, \t][ \t]*(?P<rest>.*))?$"
    fields = pc.extract_regex(lines, by_suffix)
    if not fields.null_count:
        return pc.struct_field(fields, "path"), pc.struct_field(fields, "rest")
    by_token = pc.extract_regex(lines, r"^(?P<path>[^, \t]+)(?:[ \t]*[, \t][ \t]*(?P<rest>.*))?$")
    fields = pc.if_else(fields.is_valid(), fields, by_token)
    paths, rest = pc.struct_field(fields, "path"), pc.struct_field(fields, "rest")
    unclear = pc.and_(
        pc.match_substring_regex(rest, r"[/\\]|^[^0-9].*[, \t]"),
        pc.invert(pc.match_substring_regex(lines, by_suffix)),
    )
    if pc.any(unclear).as_py():
        line = lines[pc.index(unclear, True).as_py()].as_py()
        raise UserError(
            path,
            f"no telling where the path ends in '{line}'",
            "write CSV with a header path,label",
        )
    return paths, rest


def _labels(path: Path, lines: Any, rest: Any) -> Any:
    """The label in what follows the path: all of it, or what follows a number of frames.

    A line with the path alone has no label (null).
    """
    numbered = pc.match_substring_regex(rest, r"^[0-9]+[ \t,]+\S")
    columns = pc.add(pc.not_equal(rest, "").cast(pa.int8()), numbered.cast(pa.int8()))
    is_alone = pc.equal(columns, 0)
    count = columns[pc.index(is_alone, False).as_py()]  # columns after the path
    odd = pc.and_not(pc.not_equal(columns, count), is_alone)
    if pc.any(odd).as_py():
        other = lines[pc.index(odd, True).as_py()].as_py()
        usual = lines[pc.index(columns, count).as_py()].as_py()
        raise UserError(
            path,
            f"mixed columns: '{usual}' and '{other}'",
            "give every line the same columns, or write CSV with a header path,label",
        )
    rest = pc.if_else(is_alone, None, rest)
    if count.as_py() == 1:
        return rest
    labels = pc.replace_substring_regex(rest, r"^[0-9]+[ \t,]+", "")
    if pc.all(pc.match_substring_regex(labels, r"^[0-9]+[ \t,]")).as_py():
        raise UserError(
            path,
            f"more columns than path, frames and label: '{lines[0].as_py()}'",
            "write CSV with a header path,label",
        )
    return labels
