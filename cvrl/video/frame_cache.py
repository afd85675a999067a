"""Decoded frames kept on disk, small: a training run then reads each video file once.

A cached video is a ``.npy`` of uint8 frames, opened as a memory map, so reading a clip costs no
decoding and workers share the pages. The key is a hash of the file's bytes: an edited video is
decoded anew, and a copied or renamed one is not. Which hash a file has is noted beside the entries
under its name, size and time of change, so that a file's bytes are read once. All is written under
a temporary name and renamed, so concurrent workers and killed runs leave only what is whole.
"""

import hashlib
import json
import logging
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cvrl.utils.file_names import file_path
from cvrl.utils.io import DiskFullError, atomic_path, remove_leftovers
from cvrl.utils.remote import is_remote
from cvrl.utils.resize import resize_short_side
from cvrl.video.byte_source import byte_count, find_source, open_bytes, version_of
from cvrl.video.frame_folder import is_frames
from cvrl.video.limits import check_file
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.reader import Decoder, Limits, open_video

logger = logging.getLogger("cvrl")
BLOCK = 64  # frames held in memory at once while an entry is written
LEFTOVER_AGE_S = 3600.0  # other machines may be writing to the folder
CHECK_EVERY = 32  # entries written between looks at the size of the folder


class FrameSource(Protocol):
    """What a dataset needs of a video, decoded or cached."""

    fps: float
    times: NDArray[np.float64]
    size: tuple[int, int]

    def __len__(self) -> int: ...

    def frames(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]: ...

    def __enter__(self) -> "FrameSource": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class CachedVideo:
    """Frames of one cache entry, with the face of :class:`cvrl.video.reader.Video`."""

    def __init__(
        self, frames_NHWC: NDArray[np.uint8], times: NDArray[np.float64], fps: float
    ) -> None:
        self._frames_NHWC = frames_NHWC
        self.times = times
        self.fps = fps
        self.size = (frames_NHWC.shape[1], frames_NHWC.shape[2])

    def __len__(self) -> int:
        return len(self._frames_NHWC)

    def frames(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The frames at ``indices``, uint8 (N, H, W, 3)."""
        return self._frames_NHWC[np.asarray(indices)]

    def __enter__(self) -> "CachedVideo":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close: the map goes with its last reference."""


class FrameCache:
    """A folder of decoded videos.

    Args:
        folder: where entries live; made when missing.
        short_side: height or width, whichever is smaller, of the kept frames in pixels. Videos
            that are smaller keep their size.
        max_gigabytes: the folder stops growing here; videos beyond are decoded each time.

    Example:
        >>> import tempfile
        >>> FrameCache(tempfile.mkdtemp(), short_side=64).short_side
        64
    """

    def __init__(self, folder: str | Path, short_side: int, max_gigabytes: float = 20.0) -> None:
        self.folder = Path(folder)
        self.short_side = short_side
        self.max_bytes = int(max_gigabytes * 1e9)
        self._full = False
        self._asked = 0
        remove_leftovers(self.folder, least_age_s=LEFTOVER_AGE_S)

    def open(
        self,
        path: str,
        limits: Limits,
        decoder: Decoder = "pyav",
        packet_cache: PacketIndexCache | None = None,
    ) -> FrameSource:
        """The cached video at ``path``; decoded and kept on the first call.

        Args:
            path: of the file or folder.
            limits: what it may cost.
            decoder: who decodes it, see :func:`cvrl.video.reader.open_video`.
            packet_cache: for videos that are not kept here.

        Raises:
            CorruptVideoError: the file cannot be decoded.
        """
        path = file_path(path)
        if find_source(path) is not None:
            if not is_remote(path):
                byte_count(path)
        elif not is_frames(path):
            check_file(path)  # before it is hashed: a pipe or device may never end
        kind = f"{self.short_side}-lossy" if decoder == "lossy" else str(self.short_side)
        entry = self.folder / f"{self._content(path)}-{kind}.npy"
        if not entry.exists():
            video = open_video(path, limits=limits, decoder=decoder, packet_cache=packet_cache)
            if self._is_full() or is_frames(path):
                return video
            try:
                self._write(entry, video)
            except DiskFullError:
                self._full = True
                logger.warning("%s: the disk is full; further videos are decoded", self.folder)
                return video
            video.close()
        facts = json.loads(entry.with_suffix(".json").read_text())
        frames_NHWC = np.load(entry, mmap_mode="r")
        return CachedVideo(frames_NHWC, np.array(facts["times"]), facts["fps"])

    def _write(self, entry: Path, video: FrameSource) -> None:
        # Written plainly: a sparse memory map on a full disk ends the process with SIGBUS.
        with atomic_path(entry) as temporary, open(temporary, "wb") as stream:
            for first in range(0, len(video), BLOCK):
                block = np.arange(first, min(first + BLOCK, len(video)))
                small_NHWC = _shrink(video.frames(block), self.short_side)
                if not first:
                    header = np.lib.format.header_data_from_array_1_0(small_NHWC)
                    header["shape"] = (len(video), *small_NHWC.shape[1:])
                    np.lib.format.write_array_header_1_0(stream, header)
                stream.write(small_NHWC.tobytes())
            stream.flush()
            facts = {"fps": video.fps, "times": video.times.tolist()}
            with atomic_path(entry.with_suffix(".json")) as facts_file:
                facts_file.write_text(json.dumps(facts))

    def _is_full(self) -> bool:
        self._asked += 1
        if not self._full and self._asked % CHECK_EVERY == 1 and self.folder.is_dir():
            used = sum(_size(item) for item in os.scandir(self.folder))
            self._full = used >= self.max_bytes
            if self._full:
                logger.warning("%s: frame cache is full; further videos are decoded", self.folder)
        return self._full

    def _content(self, path: str) -> str:
        try:
            name = version_of(path)
            note = self.folder / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.key"
            if note.exists():
                return note.read_text()
            digest = hashlib.sha256()
            with open_bytes(path) as file:
                for block in iter(partial(file.read, 2**20), b""):
                    digest.update(block)
        except OSError:  # opening it says why; a folder of frames is not kept
            return "unreadable"
        content = digest.hexdigest()[:32]
        with (
            suppress(OSError, DiskFullError),
            atomic_path(note) as temporary,
        ):  # else it is hashed again
            temporary.write_text(content)
        return content


def _size(item: os.DirEntry[str]) -> int:
    try:
        return item.stat().st_size
    except FileNotFoundError:  # another worker has just renamed its temporary file
        return 0


def _shrink(frames_NHWC: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    if min(frames_NHWC.shape[1:3]) <= short_side:
        return frames_NHWC
    frames_NCHW = torch.from_numpy(frames_NHWC).permute(0, 3, 1, 2)
    small_NCHW = resize_short_side(frames_NCHW, short_side)
    small_NHWC: NDArray[np.uint8] = small_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
    return small_NHWC
