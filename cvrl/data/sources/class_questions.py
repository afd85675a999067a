"""Question classes that folders seem to have become by accident."""

import re
from collections.abc import Mapping, Sequence

UNLABELLED = frozenset(("unlabelled", "unlabeled", "no_label", "nolabel", "no label", "unlabel"))
_WORDS = {
    *("raw", "video", "videos", "clip", "clips", "data", "misc", "other", "others", "unknown"),
    *("unsorted", "new", "output", "outputs", "tmp", "temp", "backup", "original", "originals"),
    *("processed", "frames", "rgb", "images", "dcim", "downloads", "all", "todo"),
}
_DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d){0,2}([-_. T].*)?|\d\d?[-_.]\d\d?[-_.]\d{2,4}.*")
_CAMERA = re.compile(
    r"(cam(era)?|gopro|view|angle|kinect|sensor|device|phone)[ _-]?\w{0,2}"
    r"|\d{3}_?(gopro|canon|nikon|media|apple|olymp|pana|nd\w+)",
    re.I,
)


def is_unlabelled(name: str) -> bool:
    """Whether a folder says that its videos have no label.

    Example:
        >>> is_unlabelled("Unlabeled"), is_unlabelled("run")
        (True, False)
    """
    return name.strip().lower() in UNLABELLED


def question_classes(files: Mapping[str, Sequence[str]]) -> list[str]:
    """Say what is odd about classes that folders gave.

    Args:
        files: names of the videos in each class.

    Returns:
        A line for each doubt; empty where there is none.

    Example:
        >>> question_classes({"raw": ["a.mp4", "b.mp4"], "run": ["c.mp4", "d.mp4"]})
        ["'raw' is hardly the name of an action"]
    """
    names, count = list(files), sum(map(len, files.values()))
    doubts = []
    odd = [name for name in names if name.strip().lower() in _WORDS]
    if odd:
        doubts.append(f"{', '.join(map(repr, odd[:5]))} is hardly the name of an action")
    for kind, pattern in (("dates", _DATE), ("cameras", _CAMERA)):
        named = [name for name in names if pattern.fullmatch(name)]
        if 2 * len(named) > len(names):
            doubts.append(f"{', '.join(map(repr, named[:3]))} look like {kind}")
    contents = {tuple(sorted(own)) for own in files.values()}
    if len(names) > 1 and len(contents) == 1 and len(next(iter(contents))) > 1:
        doubts.append("all hold files of the same names, as events filmed by several cameras do")
    if len(names) > 1 and count == len(names):
        doubts.append("each has one video")
    elif count >= 4 and 2 * len(names) > count:
        doubts.append(f"there are {len(names)} for {count} videos")
    return doubts
