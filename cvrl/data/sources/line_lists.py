"""Read lines of ``path``, ``path label``, ``path frames label`` or ``path label frames``.

A number beside the label is held against the files: where it is their number of frames it is a
frame count, else a part of the label, and two numbers of which neither is a count are refused.
"""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from cvrl.data.sources.file_types import VIDEO_SUFFIXES, is_video_name
from cvrl.data.sources.frame_counts import are_counts, sample_counts
from cvrl.data.sources.list_headers import no_path_column
from cvrl.data.split_names import SPELLINGS
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import path_text

logger = logging.getLogger("cvrl")

_WRITE_CSV = "write CSV with a header path,label"
_ENDINGS = "|".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
_REST = r"(?:(?P<sep>[ \t]*[,;\t][ \t]*|[ ]+)(?P<rest>.*))?$"
_BY_SUFFIX = rf"^(?P<path>.*\.(?i:{_ENDINGS})){_REST}"
_BY_QUOTES = rf"^[\"'](?P<path>[^\"']+)[\"']{_REST}"
_BY_TOKEN = rf"^(?P<path>[^, \t]+){_REST}"
_SPLIT_LAST = rf"(?i)\S[ \t]+({'|'.join(name for row in SPELLINGS.values() for name in row)})$"


def read_lines(path: Path, source: Any, root: Path) -> pa.Table:
    r"""Read lines of path and label.

    Args:
        path: of the list, for messages.
        source: the file, or its text, as :func:`pyarrow.csv.read_csv` takes it.
        root: the folder that paths start from.

    Returns:
        Columns ``path`` and, where a line has more, ``label``.

    Raises:
        UserError: lines that cannot be understood in one way only.

    Example:
        >>> import io
        >>> read_lines(Path("list.txt"), io.BytesIO(b"a b.mp4 0\nc.mp4 1\n"), Path()).to_pydict()
        {'path': ['a b.mp4', 'c.mp4'], 'label': ['0', '1']}
    """
    lines = pyarrow.csv.read_csv(
        source,
        read_options=pyarrow.csv.ReadOptions(column_names=["line"]),
        parse_options=pyarrow.csv.ParseOptions(delimiter="\x1f", quote_char=False),  # one column
        convert_options=pyarrow.csv.ConvertOptions(column_types={"line": pa.string()}),
    )["line"].combine_chunks()
    lines = pc.utf8_trim_whitespace(lines)
    skipped = pc.match_substring_regex(lines, r"^([#;][ \t]|[#;]?$)")
    if pc.any(skipped).as_py():  # seldom, and a copy of a long list is large
        lines = lines.filter(pc.invert(skipped))
    if not len(lines):
        return pa.table({"path": lines})
    paths, separators, rest = _split_lines(path, lines)
    _check_first_line(path, lines, paths, root)
    if not pc.any(pc.not_equal(rest, "")).as_py():
        return pa.table({"path": paths})
    unquoted = rest
    if pc.any(pc.starts_with(rest, '"')).as_py():
        unquoted = pc.replace_substring_regex(rest, r"^\"([^\"]*)\"$", r"\1")
    labels = _Labels(path, root, lines, paths, unquoted).read(separators, rest)
    return pa.table({"path": paths, "label": labels})


def _split_lines(path: Path, lines: Any) -> tuple[Any, Any, Any]:
    """Cut lines after the path: where it ends like a video or its quotes end, else at a separator.

    Returns:
        Paths, separators and what follows them.
    """
    by_suffix = pc.extract_regex(lines, _BY_SUFFIX)
    fields = by_suffix
    if by_suffix.null_count:
        by_quotes = pc.extract_regex(lines, _BY_QUOTES)
        sure = pc.if_else(by_suffix.is_valid(), by_suffix, by_quotes)
        fields = pc.if_else(sure.is_valid(), sure, pc.extract_regex(lines, _BY_TOKEN))
        unclear = pc.and_(
            pc.match_substring_regex(pc.struct_field(fields, "rest"), r"[/\\]|^[^0-9].*[, \t]"),
            pc.invert(sure.is_valid()),
        )
        unclear = pc.or_(unclear.fill_null(False), fields.is_null())
        if pc.any(unclear).as_py():
            line = lines[pc.index(unclear, True).as_py()].as_py()
            raise UserError(path, f"no telling where the path ends in '{line}'", _WRITE_CSV)
    paths, separators, rest = (pc.struct_field(fields, name) for name in ("path", "sep", "rest"))
    return paths, separators, rest


def _check_first_line(path: Path, lines: Any, paths: Any, root: Path) -> None:
    """Refuse a header of unknown words: the only line that does not begin with a video."""
    first = paths[0].as_py()
    if is_video_name(first):
        return
    is_video = pc.match_substring_regex(paths, rf"\.(?i:{_ENDINGS})$")
    alone = len(paths) > 1 and pc.all(is_video[1:]).as_py()
    words = [word.strip() for word in lines[0].as_py().replace(";", ",").split(",")]
    words = words if len(words) > 1 else words[0].split()
    is_clip = any(c in first for c in "/\\") or any(map(str.isdigit, words))
    if alone and not is_clip and not (root / first).exists():
        raise no_path_column(path, words)


class _Labels:
    """What follows the paths of a list, understood.

    Args:
        path: of the list, for messages.
        root: the folder that paths start from.
        lines: as they stand.
        paths: of the clips.
        rest: what follows them; empty where nothing does.
    """

    def __init__(self, path: Path, root: Path, lines: Any, paths: Any, rest: Any) -> None:
        self._path, self._root, self._lines, self._paths = path, root, lines, paths
        self._rest = rest
        self._is_alone = pc.equal(rest, "")

    def read(self, separators: Any, quoted: Any) -> Any:
        """The labels, null where a line has none."""
        seps = {sep.strip(" ") or " " for sep in pc.unique(separators).to_pylist() if sep}
        separator = seps.pop() if len(seps) == 1 else " "
        labels = self._of_words() if separator == " " else self._of_fields(separator, quoted)
        return pc.if_else(self._is_alone, pa.scalar(None, pa.string()), labels)

    def _of_fields(self, separator: str, quoted: Any) -> Any:
        """Labels of lines whose columns are cut by a comma, semicolon or tab."""
        cut = pc.count_substring_regex(quoted, separator)
        cut = pc.if_else(pc.match_substring_regex(quoted, r'^"[^"]*"$'), 0, cut)
        self._check_equal(pc.if_else(self._is_alone, None, cut))
        if pc.max(cut).as_py() == 0:
            return self._of_single(self._rest)
        fields = pc.extract_regex(
            self._rest, rf"^(?P<a>[^{separator}]*?)[ \t]*{separator}[ \t]*(?P<b>[^{separator}]*)$"
        )
        a, b = pc.struct_field(fields, "a"), pc.struct_field(fields, "b")
        if pc.max(cut).as_py() > 1:
            raise self._error("more columns than path, frames and label", 0)
        if not (self._all(a, r"^[0-9]+$") or self._all(b, r"^[0-9]+$")):
            raise self._error("no telling which column is the label", 0)
        return self._of_two(a, b)

    def _of_words(self) -> Any:
        """Labels of lines whose columns are cut by blanks, which labels may hold as well."""
        rest = self._rest
        if self._all(rest, r"^[0-9]+$"):
            return self._of_single(rest)
        if self._all(rest, _SPLIT_LAST):
            raise self._error("the last column seems to be the split", 0)
        numbered = pc.match_substring_regex(rest, r"^[0-9]+[ \t]+\S")
        lead = pc.if_else(numbered, pc.replace_substring_regex(rest, r"[ \t].*$", ""), None)
        after = pc.replace_substring_regex(rest, r"^[0-9]+[ \t]+", "")
        if self._all(rest, r"^[0-9]+[ \t]+\S"):
            if self._all(after, r"^[0-9]+[ \t]"):
                raise self._error("more columns than path, frames and label", 0)
            return self._of_two(lead, after)
        if pc.any(numbered).as_py():  # "2 players" beside "run", or a frame count left out
            counts = self._counts(numbered)
            if are_counts(lead.to_pylist(), counts) or not counts or self._any_number(after):
                self._check_equal(pc.if_else(self._is_alone, None, numbered.cast(pa.int8())))
            return rest
        if self._all(rest, r"\S[ \t]+[0-9]+$"):
            last = pc.replace_substring_regex(rest, r"^.*[ \t]", "")
            if are_counts(last.to_pylist(), self._counts(pc.invert(self._is_alone))):
                self._say("the number after the label is its file's frame count")
                return pc.replace_substring_regex(rest, r"[ \t]+[0-9]+$", "")
        return self._of_single(rest)

    def _any_number(self, after: Any) -> bool:
        """Whether a lone number stands where others have a label."""
        return bool(pc.any(pc.match_substring_regex(after, r"^[0-9]+$")).as_py())

    def _of_two(self, a: Any, b: Any) -> Any:
        """Labels of lines with two columns after the path, one of them all numbers."""
        counts = self._counts(pc.invert(self._is_alone))
        if are_counts(a.to_pylist(), counts):
            return b
        if counts and are_counts(b.to_pylist(), counts):
            self._say("the number after the label is its file's frame count")
            return a
        if not counts and self._all(a, r"^[0-9]+$"):
            self._say("the number before the label is taken for a frame count; no file is there")
            return b
        if counts and not self._all(b, r"^[0-9]+$") and self._all(self._rest, r"^[0-9]+[ \t]"):
            self._say("the number is no frame count of its file, so it is part of the label")
            return self._rest
        row, count = next(iter(counts.items()), (0, 0))
        reason = f"no telling what the numbers mean, as the file has {count} frames"
        raise self._error(reason, row, f"{_WRITE_CSV}; several labels are joined by +, as in 3+5")

    def _of_single(self, labels: Any) -> Any:
        """Labels of lines with one column after the path, which may be the frame count."""
        distinct = pc.unique(labels.filter(pc.invert(self._is_alone))).to_pylist()
        if not all(label.isascii() and label.isdigit() for label in distinct):
            return labels
        if max(map(int, distinct)) <= len(distinct):  # 0 ... K-1 or 1 ... K
            return labels
        counts = self._counts(pc.invert(self._is_alone))
        if counts and are_counts(labels.to_pylist(), counts):
            self._say("the number after the path is its file's frame count; there are no labels")
            return pa.nulls(len(labels), pa.string())
        return labels

    def _counts(self, rows: Any) -> dict[int, int]:
        """Frames of a few files, of these rows."""
        chosen = [row for row, yes in enumerate(rows.to_pylist()) if yes]
        return sample_counts(self._root, self._paths.to_pylist(), chosen)

    def _all(self, values: Any, pattern: str) -> bool:
        """Whether all lines with more than a path match a pattern."""
        matches = pc.or_kleene(pc.match_substring_regex(values, pattern), self._is_alone)
        return bool(pc.all(matches.fill_null(False)).as_py())

    def _check_equal(self, columns: Any) -> None:
        """Refuse lines of different columns; null is a path alone."""
        kinds = pc.unique(columns).drop_null().to_pylist()
        if len(kinds) < 2:
            return
        usual, other = (self._lines[pc.index(columns, kind).as_py()].as_py() for kind in kinds[:2])
        remedy = f"give every line the same columns, or {_WRITE_CSV}"
        raise UserError(self._path, f"mixed columns: '{usual}' and '{other}'", remedy)

    def _say(self, text: str) -> None:
        logger.info("%s: %s, as in '%s'", path_text(str(self._path)), text, self._lines[0].as_py())

    def _error(self, reason: str, row: int, remedy: str = _WRITE_CSV) -> UserError:
        return UserError(self._path, f"{reason}: '{self._lines[row].as_py()}'", remedy)
