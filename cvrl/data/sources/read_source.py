"""Read whatever a user names (folder, list, single video) into a table of videos."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from cvrl.data.event_lists import by_camera, list_events
from cvrl.data.sources.archive_lists import list_parquets, list_tars
from cvrl.data.sources.file_types import begins_like_video, is_video_name
from cvrl.data.sources.folders import LabelRule, list_folder
from cvrl.data.sources.moved import moved_paths
from cvrl.data.sources.shard_index import is_shard_folder, read_index, tar_names
from cvrl.data.sources.text_lists import list_file
from cvrl.utils import remote
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import file_path, path_text
from cvrl.video.frame_folder import is_frames


def read_source(
    path: Path,
    root: str | os.PathLike[str] | None = None,
    cameras: Sequence[str] = (),
    labels: LabelRule = "auto",
) -> tuple[Path, pa.Table]:
    """What a source lists, and the folder its relative paths start from.

    Args:
        path: a folder, a text list, a single video, a folder of shards, or tars or Parquet files
            of videos; or a URL of a folder of shards, a list or a video.
        root: what relative paths in a list start from; None is the folder of the list.
        cameras: names of the files in an event's folder; each of them becomes a row.
        labels: which folder is the class, see :func:`list_folder`.

    Raises:
        UserError: there is no such file or folder, or it lists nothing that can be used.

    Example:
        >>> read_source(Path("no/such/list.csv"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: no/such/list.csv: no such file or folder; check the path...
    """
    folder, table = _locate(Path(file_path(str(path))), root, cameras, labels)
    if labels == "none" and "label" in table.column_names:
        table = table.drop_columns(["label"])
    return folder, by_camera(table, cameras) if cameras else table


def _locate(
    path: Path, root: str | os.PathLike[str] | None, cameras: Sequence[str], labels: LabelRule
) -> tuple[Path, pa.Table]:
    if remote.is_remote(path):
        return _read_remote(path, root)
    if (shards := _read_shards(path)) is not None:
        if cameras:
            raise UserError(path, "shards hold no events", "give the folder of events")
        if labels in ("folder", "parent"):
            raise UserError(path, "has its own labels", "omit --labels (data.labels)")
        return shards
    if path.is_dir():
        table = list_events(path, cameras) if cameras else list_folder(path, labels)
        if table["path"][0].as_py() != ".":
            return path, table
    elif not (path.is_file() or is_frames(str(path))):
        remedy = f"check the path; it was looked for in {Path.cwd()}"
        raise UserError(path, "no such file or folder", remedy)
    elif path.is_file() and not (is_video_name(path.name) or begins_like_video(str(path))):
        if labels in ("folder", "parent"):
            reason = "is a list, whose labels are its column 'label'"
            raise UserError(path, reason, "give the folder, or --labels none (data.labels=none)")
        folder = path.parent if root is None else Path(file_path(os.fspath(root)))
        table = list_file(path, folder)
        return folder, table if root is None else moved_paths(table, folder)
    path = path.resolve()  # a single video, folder of frames or event
    return path.parent, pa.table({"path": [path_text(path.name)]})


def _read_shards(path: Path) -> tuple[Path, pa.Table] | None:
    """What a folder of shards, tars or Parquet files lists, or one such file; else None."""
    listers = {".tar": list_tars, ".parquet": list_parquets}
    if path.is_file():
        lister = listers.get(path.suffix.lower())
        return (path.parent, lister(path.parent, [path.name])) if lister else None
    if not path.is_dir():
        return None
    if is_shard_folder(path):
        return path, read_index(path)
    for suffix, lister in listers.items():
        if names := tar_names(path, suffix):
            return path, lister(path, names)
    return None


def _read_remote(path: Path, root: str | os.PathLike[str] | None) -> tuple[Path, pa.Table]:
    """What a remote folder of shards, list or single video holds."""
    url = remote.to_url(path)
    if is_video_name(path.name):
        return path.parent, pa.table({"path": [path.name]})
    if is_shard_folder(path):
        return path, read_index(path)
    folder = path.parent if root is None else Path(root)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / path.name
        try:
            remote.download(url, copy)
            return folder, list_file(copy, folder)
        except (FileNotFoundError, IsADirectoryError) as error:
            remedy = "give a list of videos, or a folder that cvrl shard wrote"
            raise UserError(url, "no such list, and no folder with an index", remedy) from error
        except UserError as error:
            thing = error.thing.replace(str(copy), url)
            raise UserError(thing, error.reason, error.remedy) from error
