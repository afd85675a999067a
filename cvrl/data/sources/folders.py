"""Read a folder of videos into a table of paths, labels and splits.

Nothing is decoded here.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from cvrl.data.sources.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from cvrl.data.split_names import split_kind
from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")


def list_folder(folder: Path) -> pa.Table:
    """The videos below a folder; the first folder on the way to a video is its class.

    A folder that holds images, and no videos below it, is one video of frames. Videos that stand
    in ``folder`` itself have no label. Where every video lies under train, val or test folders
    those are the splits and the classes come next. A folder wrapped around all is looked through.

    Returns:
        Columns ``path`` (relative, sorted, ``/`` between parts), ``label`` and ``split`` (null
        where the folders do not say).

    Raises:
        UserError: no video, an empty class folder, or a folder that cannot be listed.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("run/a.mp4", "jump/b.mp4"):
        ...     (root / name).parent.mkdir()
        ...     (root / name).touch()
        >>> list_folder(root).to_pydict()["label"]
        ['jump', 'run']
    """
    paths = videos_below(folder)
    if not paths:
        raise UserError(
            folder,
            "the folder holds no videos",
            "give one that holds .mp4, .avi, .webm ... files or folders of .jpg or .png frames",
        )
    return by_folder(folder, paths)


def by_folder(folder: Path, paths: Sequence[str]) -> pa.Table:
    """A table of videos below a folder, with the class and split that their folders say.

    Args:
        folder: where the paths start from.
        paths: of the videos, ``/`` between parts.

    Raises:
        UserError: a class folder is empty.

    Example:
        >>> by_folder(Path("videos"), ["train/a.mp4", "test/b.mp4"]).to_pydict()["split"]
        ['train', 'test']
    """
    labels, splits = _labels_and_splits(folder, [path.split("/") for path in paths])
    string = pa.string()
    return pa.table(
        {"path": paths, "label": pa.array(labels, string), "split": pa.array(splits, string)}
    )


def _labels_and_splits(
    folder: Path, parts: Sequence[Sequence[str]]
) -> tuple[list[str | None], list[str | None]]:
    """What the folders on the way to each video say."""
    depth = _wrappers(parts)
    has_splits = all(len(p) > depth + 1 and split_kind(p[depth]) is not None for p in parts)
    splits = [p[depth] if has_splits else None for p in parts]
    depth += has_splits
    labels = [p[depth] if len(p) > depth + 1 else None for p in parts]
    if any(labels):
        _check_class_folders(folder, {tuple(p[:depth]) for p in parts}, set(labels))
    unlabelled = labels.count(None)
    if 0 < unlabelled < len(labels):
        logger.warning(
            "%s: %d videos lie beside the class folders and have no label", folder, unlabelled
        )
    return labels, splits


def videos_below(folder: Path) -> list[str]:
    """Paths of the videos and folders of frames below a folder, relative, in name order.

    Raises:
        UserError: a folder that cannot be listed.

    Example:
        >>> import tempfile
        >>> videos_below(Path(tempfile.mkdtemp()))
        []
    """
    try:
        return _videos_below(folder, "", frozenset())
    except OSError as error:
        reason = error.strerror or "cannot be listed"
        raise UserError(error.filename or folder, reason, "give a folder you may read") from error


def _videos_below(folder: str | Path, prefix: str, above: frozenset[tuple[int, int]]) -> list[str]:
    """Videos below a folder in name order; ``above`` are the folders around it, against loops."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return []
    videos: list[str] = []
    has_images = False
    with os.scandir(folder) as entries:
        named = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda e: e.name)
    for entry in named:
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in IMAGE_SUFFIXES:
            has_images = True
        elif entry.is_dir():
            videos += _videos_below(entry.path, f"{prefix}{entry.name}/", above | {here})
        elif suffix in VIDEO_SUFFIXES:
            videos.append(prefix + entry.name)
    return [prefix.rstrip("/") or "."] if has_images and not videos else videos


def _wrappers(parts: Sequence[Sequence[str]]) -> int:
    """How many folders at the top are wrapped around the class or split folders."""
    folders = {tuple(p[:-1]) for p in parts}
    for depth, names in enumerate(zip(*folders, strict=False)):
        if len(set(names)) > 1 or split_kind(names[0]) is not None:
            return depth
    return 0  # some videos lie in the innermost common folder, so that one is their class


def _check_class_folders(root: Path, around: set[tuple[str, ...]], labels: set[str | None]) -> None:
    """Refuse empty folders beside the classes; say which other ones hold no video."""
    for parent in sorted(around):
        for folder in sorted(root.joinpath(*parent).iterdir()):
            if folder.name in labels or folder.name[0] == "." or not folder.is_dir():
                continue
            if not any(folder.rglob("*")):
                raise UserError(folder, "the class folder is empty", "fill it or remove it")
            logger.warning("%s: holds no videos and is left out", folder)
