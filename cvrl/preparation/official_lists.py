"""The split files that owners of data sets publish, each read into one table.

Every reader takes files, or folders that hold them, and gives a row a clip with ``name`` (that of
its file, without suffix), ``label``, ``group`` (what it was cut from, as far as its name tells) and
a column a split, with the value ``train``, ``val`` or ``test``, or null where the clip is in none.
Only lists are read: whether a clip is there is not asked.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cvrl.data.sources.name_groups import infer_groups
from cvrl.utils.errors import UserError

Reader = Callable[[Sequence[Path]], pa.Table]

_SPLITS = ("split1", "split2", "split3")
_HMDB_PARTS = {"0": None, "1": "train", "2": "test"}
_KINETICS_PARTS = {"train": "train", "val": "val", "validate": "val", "test": "test"}


def read_ucf101(paths: Sequence[Path]) -> pa.Table:
    r"""UCF101's lists for action recognition: ``classInd``, ``trainlist0N`` and ``testlist0N``.

    Args:
        paths: the folder ucfTrainTestlist, or the files in it.

    Returns:
        Columns name, label, group, split1, split2, split3.

    Raises:
        UserError: a file is missing, or contradicts itself or another.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "classInd.txt").write_text("1 Run\n")
        >>> for k in "123":
        ...     _ = (folder / f"trainlist0{k}.txt").write_text("Run/v_Run_g02_c01.avi 1\n")
        ...     _ = (folder / f"testlist0{k}.txt").write_text("Run/v_Run_g01_c01.avi\n")
        >>> read_ucf101([folder]).to_pylist()[0]["group"]
        'Run_g02'
    """
    (class_file,) = _files(paths, "classInd.txt")
    numbers = {name: number for number, name in _lines(class_file, range(2, 3))}
    clips = _Clips(_SPLITS)
    for split in _SPLITS:
        for part in ("train", "test"):
            (file,) = _files(paths, f"{part}list0{split[-1]}.txt")
            for path, *number in _lines(file, range(1, 3)):
                label, _, name = path.rpartition("/")
                if label not in numbers or number not in ([], [numbers[label]]):
                    reason = f"'{' '.join([path, *number])}' is not as {class_file.name} has it"
                    raise UserError(file, reason, "use the lists of one release")
                clips.add(file, Path(name).stem, label, {split: part})
    return clips.table(infer_groups(pa.array([name for name, _ in clips.rows])).to_pylist())


def read_hmdb51(paths: Sequence[Path]) -> pa.Table:
    r"""HMDB51's lists ``CLASS_test_splitN.txt``: a clip a line, 1 to train, 2 to test, 0 unused.

    The group is the source film, over all classes: the owners kept clips of one film *and class*
    on one side of a split, so films stand on both sides.

    Args:
        paths: the folder of the lists, or the lists.

    Returns:
        Columns name, label, group, split1, split2, split3.

    Raises:
        UserError: no list, a class without one of its three, or an odd line.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for k in "123":
        ...     line = f"Troy_run_u_nm_np1_ba_goo_0.avi {int(k) - 1} \n"
        ...     _ = (folder / f"run_test_split{k}.txt").write_text(line)
        >>> row = read_hmdb51([folder]).to_pylist()[0]
        >>> row["group"], row["split1"], row["split2"], row["split3"]
        ('Troy', None, 'train', 'test')
    """
    suffix = "_test_split1.txt"
    labels = [file.name[: -len(suffix)] for file in _files(paths, f"*{suffix}", several=True)]
    clips = _Clips(_SPLITS)
    for label in labels:
        for split in _SPLITS:
            (file,) = _files(paths, f"{label}_test_{split}.txt")
            for name, value in _lines(file, range(2, 3)):
                if value not in _HMDB_PARTS:
                    raise UserError(file, f"'{value}' is none of 0, 1, 2", "get the list again")
                clips.add(file, Path(name).stem, label, {split: _HMDB_PARTS[value]})
    sources = infer_groups(pa.array([f"{name}.avi" for name, _ in clips.rows])).to_pylist()
    films = [
        source and source.removesuffix(f"_{label}")
        for source, (_, label) in zip(sources, clips.rows, strict=True)
    ]
    return clips.table(films)


def read_kinetics(paths: Sequence[Path]) -> pa.Table:
    r"""Kinetics' CSV files: ``label,youtube_id,time_start,time_end,split``.

    A clip's file is called ``<youtube_id>_<start>_<end>`` with times in seconds, six digits each.
    A list without labels, as of some test parts, gives clips without a label.

    Args:
        paths: train.csv, val.csv, test.csv, or some of them, or their folder.

    Returns:
        Columns name, label, group (the YouTube video), split.

    Raises:
        UserError: no CSV, a column is missing, or an odd row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "val.csv"
        >>> head = "label,youtube_id,time_start,time_end,split\n"
        >>> _ = file.write_text(head + "archery,0wR5jVB-WPk,417,427,val\n")
        >>> read_kinetics([file]).to_pylist()[0]["name"]
        '0wR5jVB-WPk_000417_000427'
    """
    clips = _Clips(("split",))
    groups: dict[str, str] = {}
    for file in _files(paths, "*.csv", several=True):
        for row in _csv_rows(file, ("youtube_id", "time_start", "time_end", "split")):
            part = _KINETICS_PARTS.get(row["split"])
            try:
                start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
            except ValueError:
                part = None
            if part is None:
                remedy = "give the CSV files as their owner publishes them"
                raise UserError(file, f"odd row {','.join(row.values())}", remedy)
            name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
            clips.add(file, name, row.get("label") or None, {"split": part})
            groups[name] = row["youtube_id"]
    return clips.table([groups[name] for name, _ in clips.rows])


def read_ssv2(paths: Sequence[Path]) -> pa.Table:
    r"""Something-Something V2: ``*labels.json``, ``*train.json``, ``*validation.json``.

    ``*test.json`` is read where it is there, and its labels from ``*test-answers.csv``. The label
    is the template without its brackets, which is how ``labels.json`` spells it.

    Args:
        paths: the folder of the files, or the files.

    Returns:
        Columns name, label, group (all null: who filmed is not published), split.

    Raises:
        UserError: a file is missing or odd.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "labels.json").write_text('{"Holding something": "0"}')
        >>> entry = '[{"id": "7", "template": "Holding [something]"}]'
        >>> _ = (folder / "train.json").write_text(entry)
        >>> _ = (folder / "validation.json").write_text("[]")
        >>> read_ssv2([folder]).to_pylist()[0]["label"]
        'Holding something'
    """
    (label_file,) = _files(paths, "*labels.json")
    labels = _json(label_file, dict)
    answers: dict[str, str] = {}
    for file in _files(paths, "*test-answers.csv", needed=False):
        lines = file.read_text(encoding="utf-8").splitlines()
        answers = {name: label for name, _, label in (line.partition(";") for line in lines)}
    clips = _Clips(("split",))
    for part, pattern in (("train", "*train.json"), ("val", "*validation.json")):
        (file,) = _files(paths, pattern)
        for entry in _json(file, list, "id", "template"):
            label = re.sub(r"[\[\]]", "", entry["template"])
            if label not in labels:
                reason = f"template '{label}' is not in {label_file.name}"
                raise UserError(file, reason, "use the lists of one release")
            clips.add(file, str(entry["id"]), label, {"split": part})
    for file in _files(paths, "*test.json", needed=False):
        for entry in _json(file, list, "id"):
            name = str(entry["id"])
            clips.add(file, name, answers.get(name), {"split": "test"})
    return clips.table([None] * len(clips.rows))


def read_diving48(paths: Sequence[Path]) -> pa.Table:
    r"""Diving48, second version of the labels: ``Diving48_V2_train.json``, ``..._test.json``.

    Args:
        paths: the folder of the files, or the files. With ``Diving48_vocab.json`` a label is
            spelled out (take-off, somersaults, twists, position), else it is its number.

    Returns:
        Columns name, label, group (the competition's video, as the name says), split.

    Raises:
        UserError: a file is missing or odd.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> entry = '[{"vid_name": "aB_00155", "label": 3, "start_frame": 0, "end_frame": 9}]'
        >>> _ = (folder / "Diving48_V2_train.json").write_text(entry)
        >>> _ = (folder / "Diving48_V2_test.json").write_text("[]")
        >>> row = read_diving48([folder]).to_pylist()[0]
        >>> row["name"], row["label"], row["group"]
        ('aB_00155', '3', 'aB')
    """
    words: list[list[str]] = []
    for file in _files(paths, "*vocab.json", needed=False):
        words = _json(file, list)
    clips = _Clips(("split",))
    for part in ("train", "test"):
        (file,) = _files(paths, f"*V2_{part}.json")
        for entry in _json(file, list, "vid_name", "label"):
            number = int(entry["label"])
            if words and not 0 <= number < len(words):
                remedy = "use the lists of one release"
                raise UserError(file, f"label {number} is not among {len(words)}", remedy)
            label = "_".join(words[number]) if words else str(number)
            clips.add(file, entry["vid_name"], label, {"split": part})
    return clips.table([re.sub(r"_\d+$", "", name) for name, _ in clips.rows])


class _Clips:
    """Clips by name and label, gathered from several lists that may not contradict each other."""

    def __init__(self, splits: Sequence[str]) -> None:
        self.rows: dict[tuple[str, str | None], dict[str, str | None]] = {}
        self._splits = splits

    def add(self, file: Path, name: str, label: str | None, parts: dict[str, str | None]) -> None:
        row = self.rows.setdefault((name, label), {})
        for split, part in parts.items():
            if row.setdefault(split, part) != part:
                reason = f"{name} is in {part} here and in {row[split]} elsewhere"
                raise UserError(file, reason, "use the lists of one release")

    def table(self, groups: Sequence[str | None]) -> pa.Table:
        keys = list(self.rows)
        columns: dict[str, Sequence[str | None]] = {
            "name": [name for name, _ in keys],
            "label": [label for _, label in keys],
            "group": groups,
        }
        columns |= {key: [row.get(key) for row in self.rows.values()] for key in self._splits}
        return pa.table({key: pa.array(values, pa.string()) for key, values in columns.items()})


def _files(
    paths: Sequence[Path], pattern: str, *, several: bool = False, needed: bool = True
) -> list[Path]:
    """The files of that name among ``paths`` and below them: one, unless ``several``."""
    found = [path for path in paths if path.is_file() and path.match(pattern)]
    for folder in paths:
        if folder.is_dir():
            found += [path for path in sorted(folder.rglob(pattern)) if path.name[0] != "."]
    where = ", ".join(map(str, paths))
    if needed and not found:
        raise UserError(where, f"no {pattern}", "give the official lists, or their folder")
    if len(found) > 1 and not several:
        raise UserError(where, f"two files {pattern}: {found[0]}, {found[1]}", "give one of them")
    return found


def _lines(file: Path, fields: range) -> Iterator[list[str]]:
    """Lines of a list, cut at blanks, each with a number of fields that is allowed."""
    for line in _text(file).splitlines():
        cut = line.split()
        if cut and len(cut) not in fields:
            raise UserError(file, f"odd line '{line.strip()}'", "get the list again")
        if cut:
            yield cut


def _csv_rows(file: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    rows = csv.DictReader(_text(file).splitlines())
    missing = [name for name in needed if name not in (rows.fieldnames or [])]
    if missing:
        remedy = "give the CSV files as their owner publishes them"
        raise UserError(file, f"no column '{missing[0]}'", remedy)
    for row in rows:
        if None in row.values() or None in row:
            raise UserError(file, f"odd row in line {rows.line_num}", "get the list again")
        yield row


def _json(file: Path, kind: type, *keys: str) -> Any:
    """JSON of a kind; of a list, every entry has the keys."""
    try:
        content = json.loads(_text(file))
    except json.JSONDecodeError as error:
        raise UserError(file, f"is no JSON: {error}", "get the list again") from error
    entries = content if keys and isinstance(content, list) else []
    if not isinstance(content, kind) or any(key not in entry for entry in entries for key in keys):
        wanted = f" with {' and '.join(keys)}" if keys else ""
        raise UserError(file, f"is no {kind.__name__}{wanted}", "give the official file")
    return content


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(file, f"cannot be read: {error}", "get the list again") from error
