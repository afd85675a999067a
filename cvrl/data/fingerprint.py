"""What a run was trained on, in a few hashes: a run goes on with the very same list only."""

import hashlib
import os
from collections.abc import Callable, Mapping

import numpy as np

from cvrl.data.manifest import Manifest
from cvrl.video.frame_folder import video_path

MOST_FILES = 20_000  # looked at for their size, spread over a longer list
Fingerprint = dict[str, int | str]

# What each entry says where it differs; the first one that does is named.
_DIFFERENCES: dict[str, Callable[[int | str, int | str], str]] = {
    "videos": lambda then, now: f"{then} videos, not {now}",
    "files": lambda then, now: "other files",
    "order": lambda then, now: "the same files in another order",
    "labels": lambda then, now: "other labels",
    "groups": lambda then, now: "other source groups",
    "sizes": lambda then, now: "files of other sizes, which have been replaced since",
}


def fingerprint(manifest: Manifest) -> Fingerprint:
    """Identify a list: its files as listed, their order, labels, groups and sizes on disk.

    The folder they lie in is no part of it, so data may be moved.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> one = make_manifest({"path": ["a.mp4", "b.mp4"]}, root="/here")
        >>> two = make_manifest({"path": ["b.mp4", "a.mp4"]}, root="/there")
        >>> list_difference(fingerprint(one), fingerprint(two))
        'the same files in another order'
    """
    paths = _below_common_folder(manifest.table["path"].to_pylist())
    rows = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), MOST_FILES), dtype=np.int64))
    names = [manifest.class_names[label] if label >= 0 else "" for label in manifest.label_ids]
    return {
        "videos": len(paths),
        "files": _hash("\n".join(sorted(paths))),
        "order": _hash("\n".join(paths)),
        "labels": _hash("\n".join(names)),
        "groups": _hash(np.unique(manifest.group_ids, return_inverse=True)[1].tolist()),
        "sizes": _hash([_size(manifest.path(int(row))) for row in rows]),
    }


def list_difference(
    then: Mapping[str, int | str] | None, now: Mapping[str, int | str]
) -> str | None:
    """Say in which way a list differs from that of a run; None where it does not.

    Args:
        then: the :func:`fingerprint` kept with the run; None of a run from before it was kept.
        now: that of the list at hand.
    """
    for name, words in _DIFFERENCES.items():
        if then and then.get(name) != now.get(name):
            return words(then.get(name, ""), now.get(name, ""))
    return None


def _below_common_folder(paths: list[str]) -> list[str]:
    """The paths without the folders that all of them begin with."""
    low, high = min(paths, default=""), max(paths, default="")
    pairs = enumerate(zip(low, high, strict=False))
    same = next((i for i, (one, other) in pairs if one != other), len(low))
    first = low.rfind("/", 0, same) + 1
    return [path[first:] for path in paths]


def _hash(content: object) -> str:
    return hashlib.sha256(str(content).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _size(path: str) -> int:
    """Bytes of a file; -1 of a folder of frames or a file that is not there."""
    path = video_path(path)
    try:
        return -1 if os.path.isdir(path) else os.path.getsize(path)
    except (OSError, ValueError):
        return -1
