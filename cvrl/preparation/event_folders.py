"""From a folder of events filmed by several cameras to a manifest of events."""

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cvrl.data.event_lists import list_events
from cvrl.data.sources.file_types import is_video_name
from cvrl.preparation.prepare import Order, manifest_path, write_rows
from cvrl.preparation.store import Job, build_store
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.log import track
from cvrl.video.reader import open_video

STEP = 2
"""Frames by which the films of an event may differ in length without a word."""


def prepare_events(order: Order, cameras: Sequence[str]) -> list[str]:
    """Prepare events for views of several cameras: one row an event, whose path is its folder.

    An event without one of its films, or with one that does not open, is left out and named in the
    list beside the manifest. Films of different length are used up to the end of the shortest, and
    counted.

    Args:
        order: what to do; ``sources`` is one folder and there are no lists.
        cameras: the names of the files in an event's folder, two or more.

    Returns:
        What was found, in lines to be printed; the last names the cameras for ``data.cameras``.

    Raises:
        UserError: not one folder, fewer than two cameras, or no event that has all films.

    Example:
        >>> prepare_events(Order([Path(".")], [], Path("events.csv")), ["left.mp4"])
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: --cameras left.mp4: is one camera; name two or more
    """
    if len(set(cameras)) < 2:
        raise UserError(f"--cameras {' '.join(cameras)}", "is one camera", "name two or more")
    folder = order.sources[0]
    if len(order.sources) != 1 or not folder.is_dir():
        raise UserError(folder, "is no folder of events", "give one folder")
    events = list_events(folder, cameras)
    events = events.filter(pa.array([not _is_stored(p, folder, order) for p in _paths(events)]))
    reasons, uneven = _look(events, folder, cameras)
    place, names = folder, list(cameras)
    if order.encoding and not order.dry_run:
        place, names = order.store, [_stored_name(camera) for camera in cameras]
        _store(events, reasons, order, folder, cameras)
    there = [reason is None for reason in reasons]
    lines = [f"{sum(there)} of {len(there)} events have all {len(cameras)} films"]
    if uneven:
        lines.append(f"{uneven} events have films that differ by more than {STEP} frames")
    if not any(there):
        raise UserError(folder, f"no event can be used: {reasons[0]}", "see --cameras")
    if order.dry_run:
        return [*lines, f"would write {order.output}"]
    lines += _write(events, reasons, order, place)
    return [*lines, f"data.cameras=[{','.join(names)}]"]


def _paths(events: pa.Table) -> list[str]:
    paths: list[str] = events["path"].to_pylist()
    return paths


def _is_stored(event: str, folder: Path, order: Order) -> bool:
    return Path(os.path.abspath(folder / event)).is_relative_to(os.path.abspath(order.store))


def _look(events: pa.Table, folder: Path, cameras: Sequence[str]) -> tuple[list[str | None], int]:
    """What is wrong with each event, and how many have films of different length."""
    reasons: list[str | None] = []
    uneven = 0
    for event in track(_paths(events), len(events), "looking through", "events"):
        reason, lengths = None, []
        for camera in cameras:
            try:
                with open_video(folder / event / camera) as film:
                    lengths.append(len(film))
            except CorruptVideoError as error:
                reason = reason or f"{camera}: {error.reason}"
        reasons.append(reason)
        uneven += reason is None and max(lengths) - min(lengths) > STEP
    return reasons, uneven


def _stored_name(camera: str) -> str:
    return (os.path.splitext(camera)[0] if is_video_name(camera) else camera) + ".mp4"


def _store(
    events: pa.Table,
    reasons: list[str | None],
    order: Order,
    folder: Path,
    cameras: Sequence[str],
) -> None:
    """Re-encode all films of whole events; what failed goes into ``reasons``."""
    assert order.encoding is not None
    jobs = {
        (row, camera): Job(
            str(folder / event / camera),
            str(order.store / event / _stored_name(camera)),
            order.encoding,
        )
        for row, event in enumerate(_paths(events))
        if reasons[row] is None
        for camera in cameras
    }
    failed = build_store(order.store, list(jobs.values()), workers=order.workers)
    for (row, camera), job in jobs.items():
        if job.source in failed:
            reasons[row] = f"{camera}: {failed[job.source]}"


def _write(events: pa.Table, reasons: Sequence[str | None], order: Order, place: Path) -> list[str]:
    paths = [manifest_path(posixpath.join(place, event), order.output) for event in _paths(events)]
    groups = pa.array(_paths(events), pa.string())
    table = events.set_column(0, "path", pa.array(paths, pa.string()))
    table = table.add_column(2, "group", groups)
    table = table.append_column("reason", pa.array(reasons, pa.string()))
    whole = table.filter(pc.is_null(table["reason"])).drop_columns(["reason"])
    broken = table.filter(pc.is_valid(table["reason"]))
    write_rows(whole, order.output)
    write_rows(broken, order.missing)
    lines = [f"{order.output}: {len(whole)} events"]
    if len(broken):
        first = f"{broken['path'][0]}: {broken['reason'][0]}"
        lines.append(f"{order.missing}: {len(broken)} left out, first {first}")
    return lines
