"""A store of small videos that read fast: every one re-encoded once, before training.

Frames are the ones :func:`~cvrl.video.reader.open_video` gives, all of them and upright, at their
times; only their size changes. A key frame every few frames makes random access cheap. The files
are H.264 in MP4 without B-frames, which decord2 reads exactly too.
"""

import errno
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from cvrl.preparation.decode_check import BLOCK_BYTES
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.log import track
from cvrl.utils.processes import Beat, Lost, map_in_processes
from cvrl.video.encode import h264_file
from cvrl.video.frames import Video
from cvrl.video.reader import open_video

_TICK = Fraction(1, 90_000)  # seconds; the common frame rates are whole numbers of it
_NOTE = "store.json"


@dataclass(frozen=True)
class Encoding:
    """How the videos of a store are written.

    Attributes:
        short_side: of the frames, pixels; a smaller video is not enlarged.
        gop: frames from one key frame to the next.
        crf: x264's measure of loss; 18 is near what the eye cannot tell.

    Example:
        >>> Encoding(short_side=128).size(240, 320), Encoding(short_side=128).size(96, 73)
        ((128, 170), (96, 72))
    """

    short_side: int = 128
    gop: int = 12
    crf: int = 18

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the stored frames: even, as 4:2:0 colour needs.

        Example:
            >>> Encoding(short_side=100).size(1080, 1920)
            (100, 178)
        """
        scale = min(1.0, self.short_side / min(height, width))
        return _even(scale, height), _even(scale, width)


@dataclass(frozen=True)
class Job:
    """One video to store.

    Attributes:
        source: file or folder of frames.
        target: the MP4 file.
        encoding: how.

    Example:
        >>> Job("a.avi", "store/a.mp4", Encoding()).encoding.gop
        12
    """

    source: str
    target: str
    encoding: Encoding


def build_store(folder: Path, jobs: Sequence[Job], *, workers: int) -> dict[str, str]:
    """Store videos in parallel; those that are there already are kept.

    One run at a time may write to a folder. Each file is written whole or not at all, so a run that
    was stopped goes on where it was.

    Args:
        folder: of the store; a note of the encoding lies in it.
        jobs: of one encoding.
        workers: processes; 0 works in this one.

    Returns:
        Why not, by source, for the videos that could not be stored.

    Raises:
        UserError: the folder was made with other settings, or the disk is full.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> build_store(folder, [Job("gone.avi", str(folder / "gone.mp4"), Encoding())], workers=0)
        {'gone.avi': 'no such file'}
    """
    if not jobs:
        return {}
    _check_folder(folder, jobs[0].encoding)
    left = [job for job in jobs if not os.path.exists(job.target)]
    failed = {}
    results = map_in_processes(store_video, left, workers=workers)
    for position, outcome in track(results, len(left), "re-encoding"):
        reason = outcome.reason if isinstance(outcome, Lost) else outcome
        if reason == os.strerror(errno.ENOSPC):
            raise UserError(folder, "the disk is full", "make room and run the same command again")
        if reason:
            failed[left[position].source] = reason
    return failed


def store_video(job: Job, beat: Beat = lambda: None) -> str | None:
    """Re-encode one video.

    Args:
        job: which one, and how.
        beat: called now and then while it goes on.

    Returns:
        None, or why it cannot be stored: then there is no file.

    Example:
        >>> store_video(Job("gone.avi", "gone.mp4", Encoding()))
        'no such file'
    """
    try:
        with open_video(job.source) as video, atomic_path(job.target) as temporary:
            _write(video, str(temporary), job.encoding, beat)
            _compare(video, str(temporary))
    except CorruptVideoError as error:
        return error.reason
    except Exception as error:  # what a library makes of one file must not end the store of others
        disk = isinstance(error, OSError) and error.errno == errno.ENOSPC
        return os.strerror(errno.ENOSPC) if disk else f"{type(error).__name__}: {error}"
    return None


def _write(video: Video, path: str, encoding: Encoding, beat: Beat) -> None:
    """Encode all frames of a video, some at a time."""
    ticks_N = np.rint((video.times - video.times[0]) / float(_TICK)).astype(np.int64)
    ticks_N = np.maximum.accumulate(ticks_N - np.arange(len(ticks_N))) + np.arange(len(ticks_N))
    block = max(1, BLOCK_BYTES // (3 * video.size[0] * video.size[1]))
    size, options = encoding.size(*video.size), _x264_options(encoding)
    with h264_file(path, size, video.fps, _TICK, options) as write:
        for start in range(0, len(video), block):
            beat()
            shown = range(start, min(start + block, len(video)))
            for index, image_HWC in zip(shown, video.frames(shown), strict=True):
                write(image_HWC, int(ticks_N[index]))


def _x264_options(encoding: Encoding) -> dict[str, str]:
    """What is set makes a file's bytes a function of the frames."""
    options = {"preset": "veryfast", "crf": str(encoding.crf), "threads": "1"}
    # Without arithmetic coding and deblocking, decoding takes a third less time.
    keys = f"keyint={encoding.gop}:min-keyint={encoding.gop}:scenecut=0"
    return options | {"x264-params": f"{keys}:bframes=0:cabac=0:no-deblock=1:mbtree=0"}


def _compare(video: Video, path: str) -> None:
    """Hold what was written against what was read.

    Raises:
        CorruptVideoError: another number of frames.
    """
    with open_video(path) as written:
        if len(written) != len(video):
            reason = f"{len(video)} frames were read and {len(written)} written"
            raise CorruptVideoError(video.path, reason)


def _check_folder(folder: Path, encoding: Encoding) -> None:
    """Leave a note of the settings; remove what a run that was killed left half written."""
    note, text = folder / _NOTE, json.dumps(asdict(encoding)) + "\n"
    if note.exists() and note.read_text() != text:
        reason = f"holds videos stored as {note.read_text().strip()}"
        raise UserError(folder, reason, "use those settings, delete it, or give another --root")
    for leftover in folder.rglob(".*.tmp.mp4"):
        leftover.unlink()
    with atomic_path(note) as temporary:
        temporary.write_text(text)


def _even(scale: float, side: int) -> int:
    return 2 * max(1, min(round(scale * side / 2), side // 2))
