"""Lists of events, each a folder with one file a camera, read into tables of films."""

import posixpath
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cvrl.data.sources.folders import by_folder, videos_below
from cvrl.utils.errors import UserError


def list_events(folder: Path, cameras: Sequence[str]) -> pa.Table:
    """The events below a folder: every folder that holds a camera's file.

    Args:
        folder: looked through to the bottom.
        cameras: the names of the files (or folders of frames), one a camera. An event that lacks
            one is listed all the same; opening it says what is missing.

    Returns:
        Columns as of ``sources.list_folder``: the first folder on the way to an event is its class.

    Raises:
        UserError: no event, or a folder that cannot be listed.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("pour/first", "pour/second", "stir/first"):
        ...     (root / name).mkdir(parents=True)
        ...     (root / name / "left.mp4").touch()
        >>> list_events(root, ["left.mp4", "right.mp4"]).to_pydict()["label"]
        ['pour', 'pour', 'stir']
    """
    films = [posixpath.split(path) for path in videos_below(folder)]
    events = sorted({event or "." for event, name in films if name in cameras})
    if not events:
        reason = f"holds no folder with {' or '.join(cameras)}"
        raise UserError(folder, reason, "give a folder of events, each a folder with these files")
    return by_folder(folder, events)


def by_camera(events: pa.Table, cameras: Sequence[str]) -> pa.Table:
    """Each camera's film of each event as a row of its own.

    Args:
        events: one row an event; ``path`` is its folder.
        cameras: the names of the files in it.

    Returns:
        The table with ``path`` of the film and ``event``, the folder; ``group`` is the event where
        none is given, so that no split and no loss tears its films apart.

    Example:
        >>> by_camera(pa.table({"path": ["fall"]}), ["left.mp4", "right.mp4"]).to_pylist()[1]
        {'path': 'fall/right.mp4', 'event': 'fall', 'group': 'fall'}
    """
    films = events.take([row for row in range(len(events)) for _ in cameras])
    columns = {name: films[name] for name in films.column_names}
    event = columns["path"]
    name = pa.chunked_array([pa.array(list(cameras) * len(events), pa.string())])
    columns["path"] = pc.binary_join_element_wise(event, name, "/")
    columns["event"] = event
    columns["group"] = pc.coalesce(columns["group"], event) if "group" in columns else event
    return pa.table(columns)
