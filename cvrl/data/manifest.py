"""The clip list: which videos there are, what they show, and what belongs together.

A manifest is a table (pyarrow, one row a video) with numbers for labels and groups, so a million
rows cost some tens of megabytes and reach a worker in one piece. Columns: ``path`` (as listed),
``label``, ``group``, whatever else the list has (``split``, ``split1`` ...), and what a scan
measured (``fps``, ``frames``, ``status`` ...). Paths are text in UTF-8; other bytes of file names
are escaped (:mod:`cvrl.utils.file_names`).

A *group* is what must not be torn apart between training and testing, nor be told apart by a
contrastive loss: clips cut from one source video. It is taken from a ``group`` column; where there
is none, names like UCF101's ``v_PushUps_g07_c03.avi`` give ``PushUps_g07`` and HMDB51's
``April_09_brush_hair_u_nm_np1_ba_goo_0.avi`` give ``April_09_brush_hair``; a name like
``a_flip.mp4`` joins the group of ``a.mp4``, and all names of one file are one group; any other
video is a group of its own.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cvrl.data.groups import draw_groups, group_ids, join_groups
from cvrl.data.label_names import clean_labels
from cvrl.data.sources import shard_index
from cvrl.data.sources.copies import same_files
from cvrl.data.sources.folders import LabelRule
from cvrl.data.sources.name_groups import infer_groups, join_derived
from cvrl.data.sources.read_source import read_source
from cvrl.utils import remote
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import path_text
from cvrl.utils.io import atomic_path, write_csv
from cvrl.utils.seed import numpy_rng
from cvrl.video.byte_source import video_exists

logger = logging.getLogger("cvrl")

CHECK_ALL = 20_000
"""Lists up to this long have every file looked for; longer ones, this many spread over the list."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """A list of videos with labels, groups and splits. Made by :func:`read_manifest`.

    Attributes:
        table: one row a video.
        label_ids: (N,) positions in ``class_names``; -1 where a video has no label.
        group_ids: (N,) numbers of the groups, the same in every part of one list.
        class_names: all classes of the whole list, sorted; by value if all are whole numbers.
        root: the folder that relative paths start from.
        source: what it was read from, for messages.
        split_column: the column that :meth:`select` looks at.
        bad: videos left out because a scan found them unreadable.

    Example:
        >>> clips = make_manifest({"path": ["a.mp4", "b.mp4"], "label": ["run", "jump"]}, root="/x")
        >>> len(clips), clips.class_names, clips.label_ids.tolist(), clips.path(0)
        (2, ['jump', 'run'], [1, 0], '/x/a.mp4')
    """

    table: pa.Table
    label_ids: NDArray[np.int64]
    group_ids: NDArray[np.int64]
    class_names: list[str]
    root: Path
    source: str = "manifest"
    split_column: str = "split"
    bad: int = 0

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def splits(self) -> list[str]:
        """Names of the splits present, sorted; empty where the list has none."""
        if self.split_column not in self.table.column_names:
            return []
        return sorted(pc.unique(self.table[self.split_column]).drop_null().to_pylist())

    def path(self, i: int) -> str:
        """The absolute path of row ``i``."""
        return remote.join(self.root, shard_index.listed_path(self.table, i))

    @property
    def paths(self) -> list[str]:
        """Absolute paths of all rows, in order. Made anew at every call."""
        return remote.join_all(self.root, shard_index.listed_paths(self.table).to_pylist())

    def row(self, i: int) -> dict[str, Any]:
        """All that is known of row ``i``, by column; ``path`` is absolute."""
        return {name: self.table[name][i].as_py() for name in self.table.column_names} | {
            "path": self.path(i)
        }

    def take(self, rows: NDArray[np.int64] | Sequence[int]) -> "Manifest":
        """These rows, in this order; classes, groups and their ids stay those of the whole."""
        indices = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            table=self.table.take(pa.array(indices)),
            label_ids=self.label_ids[indices],
            group_ids=self.group_ids[indices],
        )

    def labelled(self) -> "Manifest":
        """The rows that have a label; the manifest itself where all or none have one.

        Example:
            >>> columns = {"path": ["a.mp4", "b.mp4"], "label": ["x", None]}
            >>> make_manifest(columns, root="/").labelled().paths
            ['/a.mp4']
        """
        rows = np.flatnonzero(self.label_ids >= 0)
        return self.take(rows) if 0 < len(rows) < len(self) else self

    def select(self, split: str) -> "Manifest":
        """The rows of one split.

        Raises:
            UserError: no row has that split; the message names the splits there are.

        Example:
            >>> columns = {"path": ["a.mp4", "b.mp4"], "split": ["train", "test"]}
            >>> make_manifest(columns, root="/").select("test").paths
            ['/b.mp4']
        """
        if split not in self.splits:
            reason = f"no split '{split}' in column '{self.split_column}'"
            columns = ", ".join(self.table.column_names)
            remedy = f"it has {', '.join(self.splits) or 'none'}; the columns are {columns}"
            raise UserError(self.source, reason, remedy)
        mask = pc.equal(self.table[self.split_column], split).fill_null(False)
        return self.take(np.flatnonzero(np.asarray(mask)))

    def hold_out(self, fraction: float, seed: int) -> tuple["Manifest", "Manifest"]:
        """Cut off a part for choosing settings, without tearing a group apart.

        Within each label whole groups are drawn at random until the part is as near to the
        fraction as their sizes allow; of two groups or more, at least one goes to either side. A
        group counts for the label of its first row. A function of list, fraction and seed.

        Args:
            fraction: of the videos of a label, in (0, 1).
            seed: of the draw.

        Returns:
            (rest, held), each in the order of the list.

        Raises:
            UserError: the fraction is out of range, or there is but one group.

        Example:
            >>> paths = [f"v_Run_g{i:02}_c01.avi" for i in range(10)]
            >>> clips = make_manifest({"path": paths}, root="/")
            >>> [len(part) for part in clips.hold_out(0.2, seed=0)]
            [8, 2]
        """
        if not 0 < fraction < 1:
            raise UserError("data.hold_out", f"{fraction} is no fraction", "give one in (0, 1)")
        _, first, group_N, size_G = np.unique(
            self.group_ids, return_index=True, return_inverse=True, return_counts=True
        )
        held_G = draw_groups(size_G, self.label_ids[first], fraction, numpy_rng(seed))
        if not held_G.any():
            reason = "no class has two groups, so none can be held out"
            raise UserError(self.source, reason, "set data.hold_out=0 or give more source videos")
        held_N = held_G[group_N]
        return self.take(np.flatnonzero(~held_N)), self.take(np.flatnonzero(held_N))

    def with_classes(self, class_names: Sequence[str]) -> "Manifest":
        """The same rows with labels numbered as in another list, as a test list by its train list.

        Raises:
            UserError: a label here is not among ``class_names``.

        Example:
            >>> test = make_manifest({"path": ["a.mp4"], "label": ["run"]}, root="/")
            >>> test.with_classes(["jump", "run"]).label_ids.tolist()
            [1]
        """
        unknown = sorted(set(self.class_names) - set(class_names))
        if unknown:
            known = ", ".join(list(class_names)[:5]) or "none"
            reason = (
                f"class '{unknown[0]}' is not among the {len(class_names)} known ones ({known} ...)"
            )
            raise UserError(self.source, reason, "use lists of the same classes")
        label_ids = _label_ids(self.table["label"], class_names)
        return replace(self, label_ids=label_ids, class_names=list(class_names))

    def joined(self, alike: Sequence[Sequence[int]]) -> "Manifest":
        """The same rows, with those that are one video in one group.

        Args:
            alike: lists of rows; the groups that they are of become one.

        Example:
            >>> clips = make_manifest({"path": ["a.mp4", "b.mp4", "c.mp4"]}, root="/")
            >>> clips.joined([[0, 2]]).group_ids.tolist()
            [0, 1, 0]
        """
        if not alike:
            return self
        path, group = (self.table[name].to_pylist() for name in ("path", "group"))
        joined = pa.chunked_array([pa.array(join_groups(path, group, alike), pa.string())])
        at = self.table.column_names.index("group")
        table = self.table.set_column(at, "group", joined)
        return replace(self, table=table, group_ids=group_ids(joined))

    def without_bad(self) -> "Manifest":
        """The rows a scan did not find bad; the others are counted in ``bad``.

        Example:
            >>> columns = {"path": ["a.mp4", "b.mp4"], "status": ["ok", "corrupt"]}
            >>> clips = make_manifest(columns, root="/").without_bad()
            >>> len(clips), clips.bad
            (1, 1)
        """
        if "status" not in self.table.column_names:
            return self
        good = np.asarray(pc.equal(self.table["status"], "ok").fill_null(True))
        return replace(self.take(np.flatnonzero(good)), bad=self.bad + int((~good).sum()))


def read_manifest(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    split_column: str = "split",
    cameras: Sequence[str] = (),
    labels: LabelRule = "auto",
    check_files: bool | None = None,
    keep_bad: bool = False,
) -> Manifest:
    r"""Read a clip list from whatever the user has.

    Args:
        source: a folder with a folder a class, of videos or of folders of frames; a list of
            ``path``, ``path label`` or ``path frames label``; CSV with a header; a single video; a
            folder of shards (``cvrl shard``); tars or Parquet files of videos. Or a URL.
        root: what relative paths in a list start from; None is the folder of the list.
        split_column: the column :meth:`Manifest.select` shall use.
        cameras: names of the files in an event's folder, one a camera: the source lists events, and
            each of their films is a row, with its event in column ``event``.
        labels: which folder is the class, see :func:`cvrl.data.sources.folders.list_folder`;
            ``none`` also sets the labels of a list aside.
        check_files: look for every listed file; None looks for up to ``CHECK_ALL`` of them.
        keep_bad: keep rows whose ``status`` is not ``ok``.

    Raises:
        UserError: nothing there, nothing in it, or a list that contradicts itself or the disk.

    Example:
        >>> import tempfile
        >>> listed = Path(tempfile.mkdtemp()) / "train.csv"
        >>> _ = listed.write_text("path,label,split\na.mp4,run,train\nb.mp4,jump,test\n")
        >>> read_manifest(listed, check_files=False).select("train").label_ids.tolist()
        [1]
    """
    path = Path(source)
    folder, table = read_source(path, root, cameras, labels)
    if split_column != "split" and split_column not in table.column_names:
        remedy = f"its columns are {', '.join(table.column_names)}"
        raise UserError(path, f"no column '{split_column}'", remedy)
    manifest = make_manifest(table, root=folder, source=path, split_column=split_column)
    manifest = manifest if keep_bad else manifest.without_bad()
    if not len(manifest):
        raise UserError(path, "every video is marked bad", "see its columns status and reason")
    if path.is_file():
        _check_files(manifest, check_files)
    linked = len(manifest) <= CHECK_ALL and not shard_index.has_addresses(manifest.table)
    return _join_links(manifest) if linked else manifest


def _join_links(manifest: Manifest) -> Manifest:
    """One group for the names of one file."""
    alike = same_files(manifest.paths)
    if alike:
        first = " = ".join(manifest.table["path"].take(alike[0]).to_pylist()[:3])
        logger.warning(
            "%s: %d files are listed under several names, first %s; the names are one group",
            *(manifest.source, len(alike), first),
        )
    return manifest.joined(alike)


def make_manifest(
    columns: Any,
    *,
    root: str | os.PathLike[str],
    source: str | os.PathLike[str] = "manifest",
    split_column: str = "split",
) -> Manifest:
    """A manifest from columns in memory.

    Args:
        columns: a :class:`pyarrow.Table`, or a dict of lists; ``path`` is needed.
        root: what relative paths start from.
        source: the name in messages.
        split_column: the column :meth:`Manifest.select` shall use.

    Example:
        >>> make_manifest({"path": ["a.mp4", "b.mp4"], "label": ["10", "9"]}, root=".").class_names
        ['9', '10']
    """
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    data = {name: table[name] for name in table.column_names}
    empty = pa.nulls(len(table), pa.string())
    label = clean_labels(data.pop("label", empty).cast(pa.string()))
    group = pc.coalesce(data.pop("group", empty).cast(pa.string()), infer_groups(data["path"]))
    group = join_derived(data["path"], group)
    class_names = _class_names(label)
    return Manifest(
        table=pa.table({"path": data.pop("path"), "label": label, "group": group, **data}),
        label_ids=_label_ids(label, class_names),
        group_ids=group_ids(group),
        class_names=class_names,
        root=Path(path_text(str(remote.absolute(root)))),
        source=path_text(remote.to_url(source)),
        split_column=split_column,
    )


def write_manifest(manifest: Manifest, path: str | os.PathLike[str]) -> None:
    """Write a manifest as CSV that :func:`read_manifest` gives back.

    Paths below the file's folder are written relative to it, all others absolute, so the list
    works from anywhere, and moves together with its videos.

    Args:
        manifest: with all its columns; ``split`` is added, empty, where there is none.
        path: the CSV file; replaced as a whole.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> clips = make_manifest({"path": ["a.mp4"], "label": ["run"]}, root=folder / "videos")
        >>> write_manifest(clips, folder / "manifest.csv")
        >>> (folder / "manifest.csv").read_text().split()
        ['path,label,group,split', 'videos/a.mp4,run,,']
    """
    target = Path(path)
    table = shard_index.without_addresses(manifest.table)
    columns = {name: table[name] for name in table.column_names}
    columns["path"] = _relative_to(Path(path_text(os.path.abspath(target.parent))), manifest)
    columns.setdefault("split", pa.nulls(len(table), pa.string()))
    first = ("path", "label", "group", "split")
    ordered = {name: columns[name] for name in first} | columns
    with atomic_path(target) as temporary:
        write_csv(pa.table(ordered), temporary)


def _check_files(manifest: Manifest, check: bool | None) -> None:
    """Refuse a list that names files which are not there."""
    if check is False:
        return
    step = 1 if check else -(-len(manifest) // CHECK_ALL)
    rows = range(0, len(manifest), step)
    looked = [i for i in rows if check or not remote.is_remote(manifest.path(i))]
    missing = [i for i in looked if not video_exists(manifest.path(i))]
    if missing:
        counted = f"{len(missing)} of {len(looked)} files" + (" looked for" if step > 1 else "")
        raise UserError(
            manifest.source,
            f"{counted} are missing, first {manifest.path(missing[0])}",
            "set data.root (--root) to the folder the paths start from, or run"
            f" tools/inspect_data.py {manifest.source} for a list without them",
        )


def _class_names(label: pa.ChunkedArray) -> list[str]:
    names = pc.unique(label).drop_null().to_pylist()
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _label_ids(label: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.int64]:
    ids = pc.index_in(label, pa.array(names, pa.string())).fill_null(-1)
    return np.asarray(ids, dtype=np.int64)


def _relative_to(folder: Path, manifest: Manifest) -> pa.Array:
    """Paths as a list in ``folder`` should name them."""
    path = shard_index.listed_paths(manifest.table)
    if manifest.root.is_relative_to(folder):
        prefix = manifest.root.relative_to(folder).as_posix()
    else:
        prefix = manifest.root.as_posix()
    joined = path if prefix == "." else pc.binary_join_element_wise(prefix, path, "/")
    return pc.if_else(pc.starts_with(path, "/"), path, joined)
