"""Compare a column of numbers with the frame counts of the files beside it."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cvrl.utils.errors import CorruptVideoError
from cvrl.utils.file_names import file_path
from cvrl.video.frame_folder import frame_files, is_frames

_SAMPLE = 5


def sample_counts(root: Path, paths: Sequence[str], rows: Sequence[int]) -> dict[int, int]:
    """Count the frames of a few files of a list.

    Args:
        root: the folder that paths start from.
        paths: of the whole list.
        rows: rows to choose from; a few spread over them are looked at.

    Returns:
        Frames by row; rows whose file cannot be opened are left out.

    Example:
        >>> sample_counts(Path("/"), ["no/such/file.mp4"], [0])
        {}
    """
    from cvrl.video.reader import open_video

    counts = {}
    step = max(1, len(rows) // _SAMPLE)
    for row in rows[::step][: _SAMPLE + 1]:
        file = file_path(os.path.join(root, paths[row]))
        with suppress(CorruptVideoError, OSError, ValueError):
            if is_frames(file):
                counts[row] = len(frame_files(file))
            else:
                with open_video(file) as video:
                    counts[row] = len(video)
    return counts


def are_counts(numbers: Sequence[str | None], counts: dict[int, int]) -> bool:
    """Whether numbers of a list are the frame counts of its files.

    Tools differ by a frame or two in what they count, which is allowed for in longer videos. More
    than half of the files looked at must agree.

    Args:
        numbers: of every row, as text.
        counts: frames by row.

    Example:
        >>> are_counts(["300", "7"], {0: 299}), are_counts(["300", "7"], {0: 299, 1: 9})
        (True, False)
    """
    agree = 0
    for row, count in counts.items():
        number = numbers[row]
        if number and number.isdigit():
            agree += abs(int(number) - count) <= min(2, count // 20)
    return 2 * agree > len(counts)
