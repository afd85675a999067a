"""The splits that owners of data sets publish, recognised by what is in them.

A whole official split is known by the names of its files, whatever the folder, the suffix or the
order, so a card can say that a number is on all of it. A part of one is not recognised.
"""

import hashlib
import os
from collections.abc import Iterable

from cvrl.data.sources.file_types import is_video_name

# Made with split_sha256 from the owners' lists: ucfTrainTestlist, testTrainMulti_7030_splits.
OFFICIAL = {
    "b8749b1ef745c15925a0092b114550b4293eb4bec9b3ee33660c11945714ba29": "official UCF101 split 1",
    "8a2b7ec920bc02bc0b4d04fcf99f7d979ec69b0c490bcb69c026a4bb1d6db2d9": "official UCF101 split 2",
    "9b5d2119504874f4c7a1aa34b05e678048a1c0af1c4969be0a4ee1228c0bc55d": "official UCF101 split 3",
    "ea8bbe81d9456a2c45fa2c8f50ac7ecf2e0c0fb5e7b3de4cb99c3ed35cadcda5": "official HMDB51 split 1",
    "ff28d374d2353396a6692b37f6dcdee25540aaba7108214353089b7e7ec51e67": "official HMDB51 split 2",
    "3397b7a3db2af6305248676f37a4d1f1f63fe6971e8606b9a166c9f1fb3ead4e": "official HMDB51 split 3",
}


def split_sha256(train: Iterable[str], test: Iterable[str]) -> str:
    """Identify a split by the names of the files on either side.

    Args:
        train: paths of the training part.
        test: paths of the test part.

    Example:
        >>> split_sha256(["x/a.avi"], ["b.mp4"]) == split_sha256(["a.mp4"], ["y/b.avi"])
        True
    """
    rows = [f"train {_stem(path)}" for path in train] + [f"test {_stem(path)}" for path in test]
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


def official_split(train: Iterable[str], test: Iterable[str]) -> str | None:
    """Name the official split that two parts are, as a whole; None where they are none.

    Args:
        train: paths of the training part.
        test: paths of the test part.

    Example:
        >>> official_split(["a.avi"], ["b.avi"]) is None
        True
    """
    return OFFICIAL.get(split_sha256(train, test))


def _stem(path: str) -> str:
    name = os.path.basename(path)
    return os.path.splitext(name)[0] if is_video_name(name) else name
