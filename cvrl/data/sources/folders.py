"""Read a folder of videos into a table of paths, labels and splits.

Nothing is decoded here.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa

from cvrl.data.sources.class_questions import is_unlabelled, question_classes
from cvrl.data.sources.folder_walk import left_out_words, walk_folder
from cvrl.data.sources.name_groups import infer_groups
from cvrl.data.split_names import split_kind
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import file_path, path_text

logger = logging.getLogger("cvrl")

LabelRule = Literal["auto", "none", "folder", "parent"]
_SHOWN = 8


def list_folder(folder: Path, labels: LabelRule = "auto") -> pa.Table:
    """The videos below a folder; the first folder on the way to a video is its class.

    A folder that holds images, and no videos below it, is one video of frames, or one a numbering
    where it holds several (``a_1.jpg`` ... and ``b_1.jpg`` ...). Videos that stand
    in ``folder`` itself, or below one called ``unlabelled``, have no label. Where every video lies
    under train, val or test folders those are the splits and the classes come next. A folder
    wrapped around all is looked through. The log says which folders became classes, questions those
    that seem to be none, and counts the files left out.

    Args:
        folder: looked through to the bottom.
        labels: ``auto`` is the rule above; ``none``: no labels; ``folder``: the first folder is the
            class whatever its name; ``parent``: the folder that holds the video.

    Returns:
        Columns ``path`` (relative, sorted, ``/`` between parts), ``label`` and ``split`` (null
        where the folders do not say), and ``group`` where frames lie beside their optical flow.

    Raises:
        UserError: no video, an empty class folder, a folder that cannot be listed, or split
            folders beside others.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("run/a.mp4", "jump/b.mp4"):
        ...     (root / name).parent.mkdir()
        ...     (root / name).touch()
        >>> list_folder(root).to_pydict()["label"]
        ['jump', 'run']
    """
    found = walk_folder(folder)
    for warning in found.warnings:
        logger.warning(warning)
    if found.left_out:
        logger.info("%s: left out: %s", path_text(str(folder)), left_out_words(found.left_out))
    if not found.videos:
        raise UserError(
            folder,
            "the folder holds no videos",
            "give one that holds .mp4, .avi, .webm ... files or folders of .jpg or .png frames",
        )
    named = [path.rpartition("/")[0] if path in found.pictures else path for path in found.videos]
    table = by_folder(folder, named, labels).set_column(0, "path", pa.array(found.videos))
    if found.pictures:
        table = table.append_column("group", infer_groups(pa.array(named)))
    return table


def videos_below(folder: Path) -> list[str]:
    """Paths of the videos and folders of frames below a folder, relative, in name order.

    Raises:
        UserError: a folder that cannot be listed.

    Example:
        >>> import tempfile
        >>> videos_below(Path(tempfile.mkdtemp()))
        []
    """
    return walk_folder(folder).videos


def by_folder(folder: Path, paths: Sequence[str], labels: LabelRule = "auto") -> pa.Table:
    """A table of videos below a folder, with the class and split that their folders say.

    Args:
        folder: where the paths start from.
        paths: of the videos, ``/`` between parts.
        labels: see :func:`list_folder`.

    Raises:
        UserError: a class folder is empty, or split folders stand beside others.

    Example:
        >>> by_folder(Path("videos"), ["train/a.mp4", "test/b.mp4"]).to_pydict()["split"]
        ['train', 'test']
    """
    parts = [path.split("/") for path in paths]
    depth = _wrappers(parts)
    splits = _splits(folder, parts, depth, labels)
    depth += splits is not None
    named = [_label(p, depth, labels) for p in parts]
    if any(named):
        around = {tuple(p[:depth]) for p in parts}
        _check_class_folders(folder, around, {p[depth] for p in parts if len(p) > depth})
        _say_classes(folder, parts, named, labels)
    string = pa.string()
    split = pa.nulls(len(parts), string) if splits is None else pa.array(splits, string)
    return pa.table({"path": list(paths), "label": pa.array(named, string), "split": split})


def _splits(
    folder: Path, parts: Sequence[Sequence[str]], depth: int, labels: LabelRule
) -> list[str] | None:
    """The split of each video, if the folders at this depth are splits."""
    tops = {p[depth] if len(p) > depth + 1 else "" for p in parts}
    kinds = {name: split_kind(name) for name in tops}
    others = [name for name, kind in kinds.items() if kind is None]
    is_apart = not all(map(is_unlabelled, others))
    few = len({*kinds.values()} - {None}) < (2 if is_apart else 1)
    if others and (labels == "folder" or few):
        return None
    if is_apart:
        odd = sorted(others)[0] or "videos"
        reason = f"holds split folders ({', '.join(sorted(set(kinds) - set(others)))}) and {odd}"
        remedy = "move it out, or take all for classes with --labels folder (data.labels=folder)"
        raise UserError(folder, reason, remedy)
    return [p[depth] for p in parts]


def _label(parts: Sequence[str], depth: int, labels: LabelRule) -> str | None:
    """The class that the folders on the way to a video say; the splits lie above ``depth``."""
    if labels == "none" or len(parts) <= depth + 1:
        return None
    if labels == "parent":
        return parts[-2]
    if labels == "auto" and any(map(is_unlabelled, parts[max(0, depth - 1) : depth + 1])):
        return None
    return parts[depth]


def _say_classes(
    folder: Path,
    parts: Sequence[Sequence[str]],
    named: Sequence[str | None],
    labels: LabelRule,
) -> None:
    """Say which folders became classes, and question them."""
    files: dict[str, list[str]] = {}
    for label, path in zip(named, parts, strict=True):
        if label is not None:
            files.setdefault(label, []).append(path[-1])
    rule = "folder that holds the video" if labels == "parent" else "first folder below it"
    shown = ", ".join(sorted(files)[:_SHOWN]) + (", ..." if len(files) > _SHOWN else "")
    logger.info(
        "%s: the %s is the class (%d classes: %s)", path_text(str(folder)), rule, len(files), shown
    )
    unlabelled = sum(label is None for label in named)
    if unlabelled:
        logger.warning(
            "%s: %d videos lie beside the class folders and have no label",
            path_text(str(folder)),
            unlabelled,
        )
    if labels == "auto" and (doubts := question_classes(files)):
        logger.warning(
            "%s: are its folders classes? %s; say --labels none, folder or parent (data.labels)",
            *(path_text(str(folder)), "; ".join(doubts)),
        )


def _wrappers(parts: Sequence[Sequence[str]]) -> int:
    """How many folders at the top are wrapped around the class or split folders."""
    folders = {tuple(p[:-1]) for p in parts}
    for depth, names in enumerate(zip(*folders, strict=False)):
        if len(set(names)) > 1 or split_kind(names[0]) is not None:
            return depth
    return 0  # some videos lie in the innermost common folder, so that one is their class


def _check_class_folders(root: Path, around: set[tuple[str, ...]], known: set[str]) -> None:
    """Refuse empty folders beside the classes; say which other ones hold no video."""
    for parent in sorted(around):
        for folder in sorted(Path(file_path(str(root.joinpath(*parent)))).iterdir()):
            if path_text(folder.name) in known or folder.name[0] == "." or not folder.is_dir():
                continue
            if not any(folder.rglob("*")):
                raise UserError(folder, "the class folder is empty", "fill it or remove it")
            logger.warning("%s: holds no videos and is left out", path_text(str(folder)))
