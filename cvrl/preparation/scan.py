"""A look at every frame of every video, before training meets them.

Headers lie: about counts, rates, sizes, and whether there is a picture at all. A scan decodes
everything once, in parallel, and writes what it found into the manifest. What is done is kept in a
journal, so a scan that was killed goes on where it was.
"""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cvrl.data.loader import default_workers
from cvrl.data.manifest import Manifest
from cvrl.data.sources.text_lists import SCAN_TYPES
from cvrl.preparation.decode_check import Measured, check_decodes
from cvrl.utils.log import track
from cvrl.utils.processes import Beat, Lost, map_in_processes
from cvrl.video.byte_source import stamp_of, video_exists

logger = logging.getLogger("cvrl")


def scan(
    manifest: Manifest,
    *,
    workers: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    stall_seconds: float = 120.0,
    measure: Callable[[str, Beat], Measured] = check_decodes,
) -> Manifest:
    """Decode every video of a manifest and add the columns of :class:`Measured`.

    A file that crashes or hangs a decoder costs its process, is named, and the scan goes on.

    Args:
        manifest: the videos; rows are kept, in order, bad ones too.
        workers: processes; 0 decodes in this one, None uses all cores.
        journal: a file to append results to as they come; what it holds of files that have not
            changed since is not measured again. It is left for the caller to remove.
        stall_seconds: a process that shows no progress for so long is killed.
        measure: what to do with a video, importable by the processes.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> scan(make_manifest({"path": ["gone.mp4"]}, root="/"), workers=0).row(0)["status"]
        'missing'
    """
    workers = default_workers() if workers is None else workers
    rows = _known_rows(manifest, journal)
    left = [row for row, measured in enumerate(rows) if measured is None]
    paths = [manifest.path(row) for row in left]
    results = map_in_processes(measure, paths, workers=workers, stall_seconds=stall_seconds)
    with open(os.devnull if journal is None else journal, "a", encoding="utf-8") as stream:
        for i, result in track(results, total=len(left), description="decoding"):
            if isinstance(result, Lost):
                result = Measured(status="crashed", reason=result.reason)
            rows[left[i]] = result
            line = {"path": paths[i], "stamp": _stamp(paths[i]), **asdict(result)}
            stream.write(json.dumps(line) + "\n")
            stream.flush()
    return _with_columns(manifest, [asdict(row) for row in rows if row is not None])


def _known_rows(
    manifest: Manifest, journal: str | os.PathLike[str] | None
) -> list[Measured | None]:
    """What the journal holds of each row's file as it is now."""
    known = _read_journal(journal)
    rows: list[Measured | None] = [None] * len(manifest)
    for row, path in enumerate(manifest.paths):
        if path in known and known[path][0] == _stamp(path):
            rows[row] = known[path][1]
    done = len(rows) - rows.count(None)
    if done:
        logger.info("going on: %d of %d are done", done, len(rows))
    return rows


def _stamp(path: str) -> list[int] | None:
    """What changes when a file or a folder of frames does."""
    if not video_exists(path):
        return None
    _, _, size, changed = stamp_of(path)
    return [size, changed]


def _read_journal(
    journal: str | os.PathLike[str] | None,
) -> dict[str, tuple[list[int] | None, Measured]]:
    """What was measured before, with the stamp each file had, by path."""
    if journal is None or not os.path.exists(journal):
        return {}
    known = {}
    text = Path(journal).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line)
            path, stamp = entry.pop("path"), entry.pop("stamp")
            known[path] = (stamp, Measured(**entry))
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
            logger.warning("%s: line %d is no result and left out", journal, number)
    if text and not text.endswith("\n"):
        with open(journal, "a", encoding="utf-8") as stream:
            stream.write("\n")
    return known


def _with_columns(manifest: Manifest, rows: list[dict[str, Any]]) -> Manifest:
    columns = {name: manifest.table[name] for name in manifest.table.column_names}
    columns |= {
        name: pa.array([row[name] for row in rows], kind) for name, kind in SCAN_TYPES.items()
    }
    return replace(manifest, table=pa.table(columns))
