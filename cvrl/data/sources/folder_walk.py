"""Find videos and folders of frames below a folder, and account for every file left out."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cvrl.data.sources.file_types import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    begins_like_video,
    is_video_name,
    stem,
)
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import path_text
from cvrl.video.frame_folder import frame_names, numberings, pattern_of

_PICTURES = re.compile(r"i|rgb|imgs?|images?|frames?|jpegimages|rgb_?(images?|frames?)", re.I)
_FLOW_PAIRS = (("u", "v"), ("flow_u", "flow_v"), ("flow_x", "flow_y"), ("flowx", "flowy"))
_BESIDE_PICTURES = re.compile(
    r"((tvl1_?)?(opt(ical)?_?)?flow([_-]?[xyuv])?|depth|masks?|segmentations?|annotations?)", re.I
)


@dataclass
class Walk:
    """What lies below a folder.

    Attributes:
        videos: paths of videos and folders of frames, relative, in name order.
        left_out: every other file, or folder left out as a whole, with the reason: its suffix or
            some words.
        pictures: those of ``videos`` that are the pictures beside optical flow or masks; the folder
            around one is the video's name and no class.
        warnings: what a person should look at.
    """

    videos: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    pictures: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


def walk_folder(folder: Path) -> Walk:
    """Find the videos and folders of frames below a folder.

    A folder that holds images, and no videos below it, is one video of frames, or one a numbering
    where it holds several: ``a_%d.jpg`` and ``b_%d.jpg``. Folders of optical
    flow, depth or masks beside one of pictures are left out, and so are the frames of a video that
    is there itself. A file of another suffix, or without one, counts if it begins like a video.

    Raises:
        UserError: a folder that cannot be listed.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("a.mp4", "notes.txt"):
        ...     (root / name).touch()
        >>> walk_folder(root).videos, walk_folder(root).left_out
        (['a.mp4'], [('notes.txt', '.txt')])
    """
    found = Walk()
    try:
        found.videos = _walk(folder, "", frozenset(), found)
    except OSError as error:
        reason = error.strerror or "cannot be listed"
        raise UserError(error.filename or folder, reason, "give a folder you may read") from error
    _leave_out_own_frames(folder, found)
    return found


def left_out_words(left_out: Sequence[tuple[str, str]], shown: int = 3) -> str:
    """Count files left out by reason, with the first names of each.

    Example:
        >>> left_out_words([("a.txt", ".txt"), ("b.txt", ".txt"), ("README", "no suffix")])
        '2 .txt (a.txt, b.txt), 1 no suffix (README)'
    """
    parts = []
    for reason, count in Counter(reason for _, reason in left_out).most_common():
        names = [name for name, why in left_out if why == reason][:shown]
        parts.append(f"{count} {reason} ({', '.join(names)}{', ...' if count > shown else ''})")
    return ", ".join(parts)


def _walk(
    folder: str | Path, prefix: str, above: frozenset[tuple[int, int]], found: Walk
) -> list[str]:
    """Videos below a folder in name order; ``above`` are the folders around it, against loops."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return []
    videos: list[str] = []
    images: list[str] = []
    with os.scandir(folder) as listed:
        entries = sorted(listed, key=lambda entry: entry.name)
    folders = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    beside = _beside_pictures(folders)
    for entry in entries:
        path = prefix + path_text(entry.name)
        suffix = os.path.splitext(path)[1].lower()
        if entry.name[0] == ".":
            found.left_out.append((path, "hidden"))
        elif entry.name in beside:
            found.left_out.append((f"{path}/", "optical flow, depth or masks"))
        elif entry.is_dir():
            inside = _walk(entry.path, f"{path}/", above | {here}, found)
            found.pictures |= {path} & set(inside) if beside else set()
            videos += inside
        elif suffix in IMAGE_SUFFIXES:
            images.append(entry.name)
        elif suffix in VIDEO_SUFFIXES or (entry.is_file() and begins_like_video(entry.path)):
            videos.append(path)
        else:
            found.left_out.append((path, suffix or "no suffix"))
    if beside:
        names = ", ".join(sorted(beside))
        found.warnings.append(f"{folder}: {names} left out as optical flow, depth or masks")
    frames = [] if videos else frame_names(images)
    several = numberings(frames)
    if len(several) > 1:
        patterns = [path_text(pattern_of(names)) for names in several]
        found.warnings.append(
            f"{folder}: holds {len(several)} numberings of frames, each read as a video:"
            f" {', '.join(patterns[:3])}{', ...' if len(several) > 3 else ''}"
        )
        images = sorted(set(images) - {name for names in several for name in names})
        videos += [prefix + pattern for pattern in patterns]
    elif frames:
        return [prefix.rstrip("/") or "."]
    found.left_out += [(prefix + path_text(name), "images") for name in images]
    return videos


def _beside_pictures(folders: Sequence[str]) -> set[str]:
    """Which of the folders in one folder hold flow, depth or masks of others that hold pictures."""
    pictures = {name for name in folders if _PICTURES.fullmatch(name)}
    others = {name for name in folders if _BESIDE_PICTURES.fullmatch(name)}
    for pair in _FLOW_PAIRS:
        if {name.lower() for name in folders} >= set(pair):
            flow = {name for name in folders if name.lower() in pair}
            # u and v may be letters of an alphabet, which has more
            if len(pair[0]) > 1 or flow | pictures | others == set(folders):
                return flow | (others if pictures else set())
    return others if pictures else set()


def _leave_out_own_frames(folder: Path, found: Walk) -> None:
    """Leave out frames of videos that are there: ``a/`` beside ``a.mp4``, or below ``frames``."""
    names = {stem(path): path for path in found.videos if is_video_name(path)}
    below = {key.partition("/")[2]: path for key, path in names.items() if "/" in key}
    own = {}
    for path in found.videos:
        top, _, rest = path.partition("/")
        if is_video_name(path):
            continue
        if path in names:
            own[path] = names[path]
        elif _PICTURES.fullmatch(top) and rest in below:
            own[path] = below[rest]
    if own:
        first = next(iter(own.items()))
        said = f"{len(own)} folders of frames are left out, as their videos are there"
        found.warnings.append(f"{folder}: {said}, first {first[0]} of {first[1]}")
        found.videos = [path for path in found.videos if path not in own]
        found.left_out += [(f"{path}/", "frames of a listed video") for path in own]
