"""Inspect a data set: scan it, write its manifest and print a summary."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset
from cvrl.data.manifest import Manifest, read_manifest, write_manifest
from cvrl.data.sources.copies import same_contents
from cvrl.data.sources.folder_walk import left_out_words, walk_folder
from cvrl.data.sources.folders import LabelRule
from cvrl.preparation.scan import scan
from cvrl.report.contact_sheet import draw_pairs
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.lock import locked

WINDOW = ClipSpec(frames=16, stride=2)
SHOWN = 20


def inspect(
    source: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] = "manifest.csv",
    workers: int | None = None,
    sheet: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    split_column: str = "split",
    labels: LabelRule = "auto",
    console: Console | None = None,
    dataset_of: Callable[[Manifest], TrainDataset] | None = None,
) -> Manifest:
    """Decode a data set once, write its manifest and print a summary.

    A stopped scan leaves ``<output>.partial`` and resumes from it.

    Args:
        source: anything :func:`read_manifest` reads; files that are missing are listed as bad.
        output: the manifest to write, CSV.
        workers: decoding processes; None for one per core.
        sheet: PNG of sampled and augmented training clips.
        root: folder of relative paths in a list.
        split_column: column of the split.
        labels: which folder is the class, see :func:`read_manifest`.
        console: prints the summary; None for standard output.
        dataset_of: makes the training samples that the sheet shows; None for those of CVRL.

    Returns:
        The manifest as written, with the bad rows.

    Raises:
        UserError: no videos, none that decodes, or an output that cannot be written.

    Example:
        >>> inspect("videos", sheet="sheet.png")  # doctest: +SKIP
    """
    output = Path(output)
    console = console or Console()
    listed = read_manifest(
        source,
        root=root,
        split_column=split_column,
        labels=labels,
        check_files=False,
        keep_bad=True,
    )
    manifest, copies = _scan_into(output, listed, workers)
    good = manifest.without_bad()
    console.print(summary(manifest))
    if good.bad:
        console.print(_bad_files(manifest))
    for line in copies:
        console.print(escape(line), soft_wrap=True)
    if os.path.isdir(source):
        _report_left_out(Path(source), output, console)
    console.print(f"written: {escape(str(output))}", soft_wrap=True)
    if not len(good):
        raise UserError(source, "no video in it decodes", f"see the column reason in {output}")
    if sheet is not None:
        dataset = None if dataset_of is None else dataset_of(good)
        draw_pairs(good, sheet, spec=WINDOW, dataset=dataset)
        console.print(f"drawn: {escape(str(sheet))}", soft_wrap=True)
    return manifest


def _scan_into(output: Path, listed: Manifest, workers: int | None) -> tuple[Manifest, list[str]]:
    """Scan with a journal beside the output, then write the output and remove the journal.

    Copies are put into one group; the lines that come back name them.
    """
    journal = output.with_name(output.name + ".partial")
    try:
        with locked(output):
            manifest, copies = join_copies(scan(listed, workers=workers, journal=journal))
            write_manifest(manifest, output)
    except OSError as error:
        reason = f"cannot be written ({error.strerror})"
        raise UserError(output, reason, "give another --output") from error
    journal.unlink(missing_ok=True)
    return manifest, copies


def _report_left_out(folder: Path, output: Path, console: Console) -> None:
    """Count the files below a folder that are no videos, and name all of them in a file."""
    left_out = walk_folder(folder).left_out
    if left_out:
        names = output.with_suffix(".left_out.txt")
        with atomic_path(names) as temporary:
            text = "".join(f"{name}\t{reason}\n" for name, reason in left_out)
            temporary.write_text(text, encoding="utf-8")
        said = f"left out: {left_out_words(left_out)}; all are named in {names}"
        console.print(escape(said), soft_wrap=True)


def join_copies(manifest: Manifest) -> tuple[Manifest, list[str]]:
    """Put byte-identical videos into one group, and say which they are.

    Args:
        manifest: scanned; files that do not decode are left alone.

    Returns:
        The manifest, and lines for a person: none where every video is another.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> join_copies(make_manifest({"path": ["gone.mp4"], "status": ["missing"]}, root="/"))[1]
        []
    """
    good = [row for row, status in enumerate(_column(manifest, "status")) if status == "ok"]
    alike = [[good[i] for i in rows] for rows in same_contents(manifest.take(good).paths)]
    if not alike:
        return manifest, []
    paths, labels = _column(manifest, "path"), _column(manifest, "label")
    splits = _column(manifest, manifest.split_column) or [None] * len(manifest)
    extra = sum(map(len, alike)) - len(alike)
    lines = [f"copies: {extra} videos are byte-identical to another; they are put into its group"]
    for rows in alike[:SHOWN]:
        apart = [
            f"DIFFERENT {name}: {', '.join(map(str, dict.fromkeys(values)))}"
            for name, column in (("labels", labels), ("splits", splits))
            if len(set(values := [column[row] for row in rows])) > 1
        ]
        lines.append("; ".join(["  " + " = ".join(paths[row] for row in rows), *apart]))
    if len(alike) > SHOWN:
        lines.append(f"  and {len(alike) - SHOWN} more; see the column group")
    return manifest.joined(alike), lines


def summary(manifest: Manifest) -> Table:
    """Summarise a scanned manifest as a table, without the bad files.

    Args:
        manifest: from :func:`cvrl.preparation.scan.scan`.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> summary(scan(make_manifest({"path": ["gone.mp4"]}, root="/"), workers=0)).row_count
        4
    """
    good = manifest.without_bad()
    table = Table("", escape(manifest.source), title="Videos")
    table.add_row("videos", f"{len(good)} that decode, {good.bad} bad")
    table.add_row("classes", _classes(good))
    if good.class_names:
        more = ", ..." if len(good.class_names) > SHOWN else ""
        table.add_row("class names", escape(", ".join(good.class_names[:SHOWN]) + more))
    table.add_row("groups", str(len(np.unique(good.group_ids))))
    table.add_row("splits", _counted(_column(good, manifest.split_column)) or "none")
    if not len(good):
        return table
    frames = np.array(_column(good, "frames"))
    sizes = zip(_column(good, "width"), _column(good, "height"), strict=True)
    short = int((frames < WINDOW.span).sum())
    table.add_row("hours", f"{sum(_column(good, 'duration')) / 3600:.2f}")
    table.add_row(
        "frames", f"{frames.min()} min, {int(np.median(frames))} median, {frames.max()} max"
    )
    table.add_row("size", _counted([f"{width}x{height}" for width, height in sizes]))
    table.add_row("fps", _counted([f"{rate:.5g}" for rate in _column(good, "fps")]))
    table.add_row(
        "short", f"{short} with fewer than {WINDOW.span} frames, a clip of 16 at stride 2"
    )
    return table


def _column(manifest: Manifest, name: str) -> list[Any]:
    if name not in manifest.table.column_names:
        return []
    return list(manifest.table[name].to_pylist())


def _classes(manifest: Manifest) -> str:
    """Number of classes, videos per class, and classes without readable videos."""
    names = manifest.class_names
    if not names:
        return "no labels"
    counts = np.bincount(manifest.label_ids[manifest.label_ids >= 0], minlength=len(names))
    text = f"{len(names)}, with {counts.min()} to {counts.max()} videos"
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if empty:
        text += f"; without any that decodes: {', '.join(empty)}"
    unlabelled = int((manifest.label_ids < 0).sum())
    return text + (f"; {unlabelled} videos without a label" if unlabelled else "")


def _counted(values: list[Any]) -> str:
    """The most frequent values with their counts."""
    common = Counter(value for value in values if value is not None).most_common()
    text = ", ".join(f"{value} ({count})" for value, count in common[:5])
    return text + (f" and {len(common) - 5} more" if len(common) > 5 else "")


def _bad_files(manifest: Manifest) -> Table:
    """Table of the first bad files with status and reason."""
    bad = [row for row, status in enumerate(_column(manifest, "status")) if status != "ok"]
    table = Table("file", "status", "reason", title="Bad files")
    for row in bad[:SHOWN]:
        entry = manifest.row(row)
        name = os.path.relpath(entry["path"], manifest.root)
        table.add_row(escape(name), entry["status"], escape(entry["reason"] or ""))
    if len(bad) > SHOWN:
        table.caption = f"and {len(bad) - SHOWN} more; see the columns status and reason"
    return table
