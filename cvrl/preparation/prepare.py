"""From what the owner of a data set ships to a manifest: unpack, match, re-encode, count.

The official lists say which clips there are; a clip's file is found by its name. What is listed and
not there, or cannot be re-encoded, is left out of the manifest and named in a list beside it.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cvrl.data.sources.file_types import is_video_name
from cvrl.data.sources.folders import videos_below
from cvrl.preparation.archives import find_archives, unpack
from cvrl.preparation.official_lists import Reader
from cvrl.preparation.store import Encoding, Job, build_store
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path, write_csv

_ABSENT = "not there"


@dataclass(frozen=True)
class Published:
    """The counts that the owner of a data set publishes, as far as they are certain.

    Attributes:
        classes: how many.
        parts: videos by part, by the column of the split.

    Example:
        >>> Published(51, {"split1": {"train": 3570, "test": 1530}}).classes
        51
    """

    classes: int
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What to prepare, from what, and where to.

    Attributes:
        sources: archives, or folders of archives or videos.
        lists: the official lists: files, folders, or archives of them.
        output: the CSV manifest to write.
        root: where unpacked and re-encoded videos go, in folders of their own.
        encoding: of the store; None keeps the videos as they are.
        workers: processes; 0 works in this one.
        dry_run: write nothing, only say what there is.

    Example:
        >>> order = Order([Path("UCF-101")], [Path("ucfTrainTestlist")], Path("ucf101.csv"))
        >>> str(order.store), str(order.missing)
        ('store', 'ucf101_missing.csv')
    """

    sources: Sequence[Path]
    lists: Sequence[Path]
    output: Path
    root: Path = Path()
    encoding: Encoding | None = None
    workers: int = 0
    dry_run: bool = False

    @property
    def store(self) -> Path:
        """The folder of re-encoded videos."""
        return self.root / (f"store_{self.encoding.short_side}" if self.encoding else "store")

    @property
    def missing(self) -> Path:
        """The list of what is absent or broken, beside the manifest."""
        return self.output.with_name(f"{self.output.stem}_missing.csv")


def prepare(read: Reader, published: Published, order: Order) -> list[str]:
    """Prepare a data set that has official lists.

    Args:
        read: the reader of its lists.
        published: its counts.
        order: what to do.

    Returns:
        What was found, in lines to be printed.

    Raises:
        UserError: a list or archive that cannot be used, or no listed video is there.

    Example:
        >>> from cvrl.preparation.official_lists import read_kinetics
        >>> prepare(read_kinetics, Published(400), Order([], [Path("val.csv")], Path("k400.csv")))
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: val.csv: no such file or folder; check the path
    """
    if order.dry_run:
        packed = [file for path in (*order.lists, *order.sources) for file in _packed(path)]
        if packed:
            return [f"would unpack {len(packed)} archives first, such as {packed[0]}"]
    official = read(_folders(order.lists, order.root / "lists", order.workers))
    if not len(official):
        raise UserError(order.lists[0], "lists no clip", "give the official lists")
    folders = _folders(order.sources, order.root / "videos", order.workers, len(official))
    files = [file for folder in folders for file in _files_below(folder, order.store)]
    found = match(official, files)
    if not any(found):
        reason = f"none of the {len(found)} listed videos is among its {len(files)}"
        raise UserError(order.sources[0], reason, "check that videos and lists go together")
    reasons: list[str | None] = [None if file else _ABSENT for file in found]
    paths = [os.path.join(*file) if file else None for file in found]
    if order.encoding and not order.dry_run:
        paths = _stored(found, order, reasons)
    unlisted = len(files) - sum(file is not None for file in found)
    lines = report(official, reasons, published)
    lines += [f"{unlisted:,} videos are in no list"] if unlisted else []
    if order.dry_run:
        return [*lines, f"would write {order.output}"]
    return [*lines, *_write(official, paths, reasons, order)]


def match(official: pa.Table, files: Sequence[tuple[str, str]]) -> list[tuple[str, str] | None]:
    """The file of every listed clip, found by its name without suffix.

    Of several files of one name, the first in a folder called like the clip's label is taken, else
    the first of all.

    Args:
        official: with columns name and label.
        files: a folder and a path in it, each.

    Returns:
        One of ``files`` or None, for every row.

    Example:
        >>> official = pa.table({"name": ["a", "b"], "label": ["run", "run"]})
        >>> match(official, [("x", "jump/a.avi"), ("x", "run/a.avi")])
        [('x', 'run/a.avi'), None]
    """
    by_name: dict[str, list[tuple[str, str]]] = {}
    for file in files:
        by_name.setdefault(_stem(file[1]), []).append(file)
    found: list[tuple[str, str] | None] = []
    rows = zip(official["name"].to_pylist(), official["label"].to_pylist(), strict=True)
    for name, label in rows:
        same = by_name.get(name, [])
        fitting = [file for file in same if file[1].split("/")[-2:-1] == [label]]
        found.append(next(iter([*fitting, *same]), None))
    return found


def report(
    official: pa.Table, reasons: Sequence[str | None], published: Published | None = None
) -> list[str]:
    """Lines that say what is there of what is listed, and what leaks.

    Args:
        official: as the readers of :mod:`cvrl.preparation.official_lists` give it.
        reasons: why a row's video is not there; None where it is.
        published: counts to hold the lists against.

    Example:
        >>> clips = {"name": ["a", "b"], "label": ["x", "x"], "group": ["g", "g"]}
        >>> table = pa.table({**clips, "split": ["train", "test"]})
        >>> for line in report(table, [None, None], Published(2)):
        ...     print(line)
        2 of 2 listed videos, 1 of 1 classes
        split: train 1 of 1, test 1 of 1; 1 test videos share a group with training videos
        the lists name 1 classes, published are 2
    """
    there = official.filter(pa.array([reason is None for reason in reasons]))
    classes = [len(pc.unique(table["label"]).drop_null()) for table in (there, official)]
    counted = f"{len(there):,} of {len(official):,} listed videos"
    lines = [f"{counted}, {classes[0]} of {classes[1]} classes"]
    odd = []
    if published and classes[1] != published.classes:
        odd.append(f"the lists name {classes[1]} classes, published are {published.classes}")
    for split in (name for name in official.column_names if name.startswith("split")):
        listed = Counter(official[split].drop_null().to_pylist())
        have = Counter(there[split].drop_null().to_pylist())
        parts = [part for part in ("train", "val", "test") if listed[part]]
        counts = ", ".join(f"{part} {have[part]:,} of {listed[part]:,}" for part in parts)
        lines.append(f"{split}: {counts}{_leak(there, split)}")
        known = published.parts.get(split, {}) if published else {}
        odd += [
            f"{split}: the lists name {listed[part]:,} to {part}, published are {count:,}"
            for part, count in known.items()
            if listed[part] != count
        ]
    return lines + odd


def write_rows(table: pa.Table, path: Path) -> None:
    """Write a table as CSV, or remove the file where the table is empty.

    Example:
        >>> write_rows(pa.table({"name": pa.array([], pa.string())}), Path("no_such_file.csv"))
    """
    if not len(table):
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        write_csv(table, temporary)


def manifest_path(path: str, output: Path) -> str:
    """A path as a manifest names it: relative where it lies below the manifest's folder.

    Example:
        >>> manifest_path("/x/videos/a.mp4", Path("/x/list.csv"))
        'videos/a.mp4'
        >>> manifest_path("/y/a.mp4", Path("/x/list.csv"))
        '/y/a.mp4'
    """
    whole, folder = Path(os.path.abspath(path)), Path(os.path.abspath(output)).parent
    inside = whole.is_relative_to(folder)
    return (whole.relative_to(folder) if inside else whole).as_posix()


def _packed(path: Path) -> list[Path]:
    """Archives a path stands for; lists are often plain files and are none."""
    return [] if path.suffix in (".txt", ".csv", ".json") else find_archives(path)


def _folders(
    paths: Sequence[Path], target: Path, workers: int, listed: int | None = None
) -> list[Path]:
    """Where the content of sources lies, once unpacked."""
    for path in paths:
        if not path.exists():
            raise UserError(path, "no such file or folder", "check the path")
    archives = {path: _packed(path) for path in paths}
    packed = [file for files in archives.values() for file in files]
    if packed:
        unpack(packed, target, workers=workers, listed=listed)
    kept = [path for path, files in archives.items() if not files]
    return [*kept, *([target] if packed else [])]


def _files_below(folder: Path, store: Path) -> list[tuple[str, str]]:
    """Videos of a folder, without those that an earlier run has re-encoded."""
    if not folder.is_dir():
        raise UserError(folder, "is neither a folder nor an archive", "give one of these")
    here, other = os.path.abspath(folder), os.path.abspath(store)
    inner = f"{os.path.relpath(other, here).replace(os.sep, '/')}/"
    return [(here, path) for path in videos_below(folder) if not path.startswith(inner)]


def _stored(
    found: Sequence[tuple[str, str] | None], order: Order, reasons: list[str | None]
) -> list[str | None]:
    """Re-encode what was found; paths of the store, and what failed into ``reasons``."""
    assert order.encoding is not None
    targets = [file and str(order.store / f"{_without_suffix(file[1])}.mp4") for file in found]
    jobs = [
        Job(os.path.join(*file), str(target), order.encoding)
        for file, target in zip(found, targets, strict=True)
        if file
    ]
    failed = build_store(order.store, jobs, workers=order.workers)
    for row, file in enumerate(found):
        if file and os.path.join(*file) in failed:
            reasons[row], targets[row] = failed[os.path.join(*file)], None
    return targets


def _write(
    official: pa.Table, paths: Sequence[str | None], reasons: Sequence[str | None], order: Order
) -> list[str]:
    """Write the manifest and the list of what is missing; lines that say so."""
    named = [path and manifest_path(path, order.output) for path in paths]
    manifest = official.set_column(0, "path", pa.array(named, pa.string()))
    manifest = manifest.filter(pc.is_valid(manifest["path"])).sort_by("path")
    if not len(manifest):
        raise UserError(order.output, f"no video can be used: {reasons[0]}", "mend the videos")
    with atomic_path(order.output) as temporary:
        write_csv(manifest, temporary)
    missing = official.append_column("reason", pa.array(reasons, pa.string()))
    missing = missing.filter(pc.is_valid(missing["reason"]))
    write_rows(missing, order.missing)
    lines = [f"{order.output}: {len(manifest):,} videos"]
    if len(missing):
        absent = sum(reason == _ABSENT for reason in reasons)
        broken = len(missing) - absent
        first = f", first {missing['name'][0]}: {missing['reason'][0]}"
        lines.append(f"{order.missing}: {absent:,} absent, {broken:,} broken{first}")
    return lines


def _leak(table: pa.Table, split: str) -> str:
    """How many test videos have a training video's group, in words; nothing where none has."""
    words = []
    trained = set(table.filter(pc.equal(table[split], "train"))["group"].drop_null().to_pylist())
    for part in ("val", "test"):
        groups = table.filter(pc.equal(table[split], part))["group"].to_pylist()
        shared = sum(group in trained for group in groups)
        if shared:
            words.append(f"; {shared:,} {part} videos share a group with training videos")
    return "".join(words)


def _without_suffix(path: str) -> str:
    return os.path.splitext(path)[0] if is_video_name(path) else path  # a folder of frames


def _stem(path: str) -> str:
    return _without_suffix(path).rsplit("/", 1)[-1]
