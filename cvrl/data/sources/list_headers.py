"""Find the header of a CSV list and the columns of path, label, group and split in it.

Columns are known by their usual names, in any case, with blanks, hyphens or underscores.
"""

import csv
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cvrl.data.sources.file_types import is_video_name
from cvrl.data.split_names import split_kind
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import path_text

logger = logging.getLogger("cvrl")

# fmt: off
# Names of the columns, the most certain ones first: of a list that has several, the first row that
# holds one decides.
COLUMN_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "path": (
        ("path",),
        ("video_path", "file_path", "filepath", "clip_path", "rel_path", "relative_path"),
        ("file", "filename", "file_name", "video_file", "video_filename", "video", "videos",
         "video_name", "videoname", "clip", "clip_name", "clip_file"),
        ("name",),
    ),
    "label": (
        ("label",),
        ("labels", "label_name", "class", "class_name", "classname", "class_label", "category",
         "category_name", "action", "action_name", "action_label", "activity", "activity_name",
         "tag", "tags", "target", "gesture"),
        ("label_id", "label_idx", "label_index", "class_id", "class_idx", "class_index",
         "category_id", "action_id", "action_idx"),
    ),
    "group": (("group",), ("groups", "group_id", "source_group")),
}
_SPLIT_NAMES = ("split", "subset", "set", "partition", "usage", "phase", "data_split", "split_name")
_OTHER_NAMES = (
    "status", "id", "video_id", "vid", "youtube_id", "url", "frames", "num_frames", "n_frames",
    "total_frames", "frame_count", "fps", "start", "end", "time_start", "time_end", "start_time",
    "end_time", "duration", "person", "subject", "actor",
)
# fmt: on
_KNOWN = {name for rows in COLUMN_NAMES.values() for row in rows for name in row}
_KNOWN |= {*_SPLIT_NAMES, *_OTHER_NAMES}
_IS_COMMENT = re.compile(r"[#;]([ \t].*)?")
FIRST_BYTES = 65536


@dataclass(frozen=True)
class Header:
    """The header of a CSV list.

    Attributes:
        names: of the columns, as written.
        delimiter: between them.
        line: its place in the file, from 0.
        spaced: whether blanks stand around the names, and so around the values.
    """

    names: list[str]
    delimiter: str
    line: int
    spaced: bool


def find_header(path: Path, text: str, root: Path) -> Header | None:
    r"""The header that a list begins with; None where its first line is a clip.

    Blank lines, and comments that begin with ``#`` or ``;``, may stand before it.

    Args:
        path: of the list, for an error.
        text: how the file begins.
        root: the folder that paths start from; what names a file there is no header.

    Raises:
        UserError: a header without a column that is known as the path, or one whose columns are
            separated by blanks.

    Example:
        >>> find_header(Path("x"), "# mine\n\nvideo_name,tag\na.mp4,run\n", Path()).names
        ['video_name', 'tag']
        >>> find_header(Path("x"), "a.mp4,run\n", Path()) is None
        True
    """
    lines = text.splitlines()
    skipped = list(takewhile(lambda line: not line.strip() or line.strip()[0] in "#;", lines))
    for number in (*range(len(skipped)), len(skipped)):
        line = lines[number].strip() if number < len(lines) else ""
        commented = number < len(skipped)
        header = _header(path, line.lstrip("#; \t") if commented else line, number, commented)
        if header and not any(os.path.exists(root / name) for name in header.names if name):
            files = [other.strip() for other in skipped[:number]]
            return header if not any(map(_is_file_with_hash, files)) else None
    return None


def _is_file_with_hash(line: str) -> bool:
    """Whether a line is a clip like ``#20_Rhythm.avi 0`` and no comment."""
    words = re.split(r"[,;\s]+", line)
    return not _IS_COMMENT.fullmatch(line) and any(map(is_video_name, words))


def _header(path: Path, line: str, number: int, commented: bool) -> Header | None:
    """A line as a header, if it is one."""
    for delimiter in (",", ";", "\t", "|"):
        cells = next(csv.reader([line], delimiter=delimiter), [])
        names = [name.strip() for name in cells]
        known = {plain_name(name) for name in names} & _KNOWN
        if not known or any(map(_is_value, names)):
            continue
        if commented and not (len(names) > 1 and len(known) == len(names)):
            continue  # a sentence with a comma in it
        if len(names) == 1 and (delimiter != "," or not _is_path_name(names[0])):
            continue
        if not any(map(_is_path_name, names)):
            raise no_path_column(path, names)
        return Header(names, delimiter, number, spaced=cells != names)
    words = line.split()
    if not commented and len(words) > 1 and all(plain_name(word) in _KNOWN for word in words):
        reason = f"the columns of its header '{line}' are separated by blanks"
        raise UserError(path, reason, "separate the columns by commas in all lines")
    return None


def no_path_column(path: Path, names: Sequence[str]) -> UserError:
    """The error for a header without a path.

    Example:
        >>> str(no_path_column(Path("x.csv"), ["id", "kind"]))
        "x.csv: no column 'path' among id, kind; name the column of files 'path'"
    """
    reason = f"no column 'path' among {', '.join(names)}"
    return UserError(path, reason, "name the column of files 'path'")


def plain_name(name: str) -> str:
    """A column name in lower case, with underscores between its words.

    Example:
        >>> plain_name(" Video Name")
        'video_name'
    """
    return re.sub(r"[\s.-]+", "_", name.strip().lower())


def _is_path_name(name: str) -> bool:
    return any(plain_name(name) in row for row in COLUMN_NAMES["path"])


def _is_value(name: str) -> bool:
    """Whether a cell is that of a clip: a file, a path or a number."""
    return is_video_name(name) or "/" in name or "\\" in name or name.isdigit()


def rename_columns(path: Path, names: Sequence[str]) -> list[str]:
    """The names of the columns, with ``path``, ``label`` and ``group`` for what stands for them.

    Args:
        path: of the list, for messages.
        names: as written.

    Raises:
        UserError: a name that occurs twice, or several columns that could be the path.

    Example:
        >>> rename_columns(Path("list.csv"), ["Video Name", "tag", "person"])
        ['path', 'label', 'person']
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(path, f"two columns are called '{twice[0]}'", "rename one")
    renamed = list(names)
    for wanted, rows in COLUMN_NAMES.items():
        if wanted in names:
            continue
        found = next((f for row in rows if (f := [n for n in names if plain_name(n) in row])), [])
        if len(found) > 1:
            columns = f"several columns could be the {wanted}: {', '.join(found)}"
            if wanted == "path":
                raise UserError(path, columns, "name the column of files 'path'")
            logger.warning(
                "%s: %s; none is used, name one of them '%s'", path_text(str(path)), columns, wanted
            )
        elif found:
            renamed[names.index(found[0])] = wanted
            logger.info("%s: column '%s' is read as the %s", path_text(str(path)), found[0], wanted)
    return renamed


def with_split(path: Path, table: pa.Table) -> pa.Table:
    """The table with a column ``split``, where another column is known to be it.

    Args:
        path: of the list, for messages.
        table: has a column of such a name (``subset``, ``Set`` ...) with values like ``train``.

    Example:
        >>> table = pa.table({"path": ["a.mp4"], "Subset": ["Training"]})
        >>> with_split(Path("list.csv"), table)["split"].to_pylist()
        ['Training']
    """
    if "split" in table.column_names:
        return table
    for name in table.column_names:
        if plain_name(name) in _SPLIT_NAMES and pa.types.is_string(table[name].type):
            values = pc.unique(table[name]).drop_null().to_pylist()
            if plain_name(name) == "split" or any(map(split_kind, values)):
                logger.info("%s: column '%s' is read as the split", path_text(str(path)), name)
                return table.append_column("split", table[name])
    return table
