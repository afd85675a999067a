"""Frames out of a video file, exactly and at random, with PyAV or with decord2.

The measure of exactness is PyAV's plain decode from the first packet to the last: frame ``i`` here
is, bit for bit, the ``i``-th frame which that gives, converted to rgb24 and turned upright. Random
access breaks this in many files (packed B-frames, open groups of pictures, edit lists, containers
without timestamps), mostly without an error. So a file is looked through before it is promised:

1. Its packets are read, and only the first frame is decoded. In the common containers and codecs a
   packet is a frame and has the frame's time, which gives count, times and key frames.
2. Where that does not hold, all frames are decoded once and counted.

Frames are then decoded from the key frame before, and every packet and frame must be the one seen
in step 1 or 2; if one is not, they are decoded from the start of the file. On the way, frames that
are not asked for and that no other is predicted from are not decoded, where the codec tells which
these are. Nothing stays open between calls, so a video survives a fork.

PyAV does all this, and is faster at it. decord2 may be asked to give the frames instead; it does
where it is known to agree with PyAV (:mod:`cvrl.video.decord_agreement`).

A damaged file opens if its packets can be read (step 1) or all decodes (step 2). It gives frames up
to the damage, and from the next key frame on; a frame that does not decode raises. What a decoder
paints over damage without a word cannot be told from a frame. Where the size changes inside a
stream, frames are scaled to the size of the first.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cvrl.utils.errors import CorruptVideoError
from cvrl.utils.file_names import file_path
from cvrl.video.byte_source import ByteSource, find_source, read_frame_files
from cvrl.video.container import turn_of
from cvrl.video.decord_agreement import decord_agrees, packets_are_frames
from cvrl.video.decord_reader import read_with_decord
from cvrl.video.frame_folder import FramesFolder, is_frames
from cvrl.video.frames import Video
from cvrl.video.limits import Limits, Work, check_file, reason_of
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.packet_index import PacketIndex
from cvrl.video.packets import Timeline, seconds
from cvrl.video.presentation import ascending, clock_joints
from cvrl.video.pyav_file import File, opened

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from cvrl.utils.log import Gauge

__all__ = ["Limits", "PacketIndex", "Video", "open_video"]

logger = logging.getLogger("cvrl")

_DEFAULT_LIMITS = Limits()
_DEFAULT_FPS = 25.0
_HIGHEST_FPS = 1000  # above it a rate is a clock's: that of an mp3's cover picture is 90000
_SKIPPABLE = frozenset(("h264", "mpeg4"))  # B-frames may be left out without harm to the others
_SEEK_WORTH = 8  # frames that must lie between for a seek to cost less than decoding on
_LONG = 3.0  # seconds, after which progress is shown
_DECORD_COST = 2**30  # pixels decoded in one call, which no limit can stop
Decoder = Literal["pyav", "decord", "lossy"]


def open_video(
    path: str | os.PathLike[str],
    *,
    limits: Limits = _DEFAULT_LIMITS,
    fps: float = _DEFAULT_FPS,
    decoder: Decoder = "pyav",
    packet_cache: PacketIndexCache | None = None,
) -> Video:
    """Open a video file, or a folder of jpg or png frames.

    Args:
        path: the file or folder, an address (see :mod:`cvrl.video.byte_source`) or a URL. Its
            content matters, its name does not. Where a folder holds several numberings of frames,
            ``folder/a_%d.jpg`` is the video of one of them.
        limits: what the video may cost.
        fps: frames a second of a folder of frames; a file tells its own.
        decoder: who decodes a file's frames; decord only where it gives those of PyAV. ``lossy`` is
            PyAV without the codec's smoothing of block edges: faster, and frames a little off.
        packet_cache: remembers what a look through a file gave, for who comes back to it.

    Returns:
        The video: its count, times and size are known, no frame is kept.

    Raises:
        CorruptVideoError: no such file, not a video, no frame that decodes, or a limit passed.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = tempfile.mkdtemp()
        >>> for name in ("1.png", "2.png", "10.png"):
        ...     Image.new("RGB", (8, 4), "red").save(f"{folder}/{name}")
        >>> with open_video(folder) as video:
        ...     len(video), video.fps, video.size, video.frames([2, 0]).shape
        (3, 25.0, (4, 8), (2, 4, 8, 3))
    """
    name = file_path(os.fspath(path))
    if is_frames(name):
        return Video(name, FramesFolder(name, fps=fps, limits=limits))
    source = find_source(name)
    if source is None:
        check_file(name)
    elif source.size() and (files := read_frame_files(source)) is not None:
        return Video(name, FramesFolder(name, fps=fps, limits=limits, images=files))
    elif decoder == "decord":  # reads files alone, and gives the same frames
        decoder = "pyav"
    look = partial(_read_index, name, limits, decoder, source)
    if packet_cache is None:
        packet_index = look()
    else:
        stamp = None if source is None else source.stamp()
        packet_index = packet_cache.of(name, (limits, decoder), look, stamp)
    return Video(name, _VideoFile(name, limits, packet_index, source))


class _VideoFile:
    """The frames of one encoded file, which is opened anew for each read."""

    def __init__(
        self, path: str, limits: Limits, packet_index: PacketIndex, source: ByteSource | None
    ) -> None:
        self._path = path
        self._source = source
        self._limits = limits
        self._index = packet_index
        self.fps = self._index.fps
        self.times = self._index.times_N
        self.size = self._index.turn.size(*self._index.coded_size)
        self.key_frames = self._index.timeline.firsts if self._index.timeline else None

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Decode frames at ascending indices."""
        work = self._limits.work(self._path)
        timeline = self._index.timeline
        frames = np.empty((len(indices), *self.size, 3), np.uint8)
        if timeline and self._index.by_decord:
            span = indices[-1] - timeline.start_before(indices[0])[1] + 1
            if span * self.size[0] * self.size[1] <= _DECORD_COST:
                decoded = read_with_decord(self._path, indices, len(self.times))
                work.check()
                if decoded is not None and decoded.shape == frames.shape:
                    return decoded
        done = 0
        if timeline:
            with self._opened(work) as file:
                done = self._fill_by_seeking(frames, indices, timeline, file)
        if done < len(indices):
            with self._opened(work) as file:
                self._fill_in_order(frames, indices, done, file)
        return frames

    def _opened(self, work: Work) -> AbstractContextManager[File]:
        unfiltered = self._index.unfiltered
        return opened(self._path, self._limits, work, source=self._source, unfiltered=unfiltered)

    def _fill_by_seeking(
        self, frames: NDArray[np.uint8], indices: Sequence[int], timeline: Timeline, file: File
    ) -> int:
        """Decode from key frames; returns how many frames, from the first on, are certain."""
        packet_index = self._index
        run: Iterator[tuple[int, VideoFrame]] = iter(())
        at = -1 - _SEEK_WORTH
        asked = frozenset(timeline.pts_N[indices].tolist()) if packet_index.skips else None
        for done, index in enumerate(indices):
            start = timeline.start_before(index)
            if start[1] > at + _SEEK_WORTH:
                run = file.decode_from(start, packet_index.packets, timeline, asked)
            at, frame = next((pair for pair in run if pair[0] >= index), (-1, None))
            if at != index or frame is None:
                return done
            frames[done] = file.convert(frame, packet_index.coded_size, packet_index.turn)
        return len(indices)

    def _fill_in_order(
        self, frames: NDArray[np.uint8], indices: Sequence[int], done: int, file: File
    ) -> None:
        """Decode from the start of the file, for the frames that are not done yet."""
        import av

        packet_index, timeline = self._index, self._index.timeline
        reason = "the stream ends before it"
        try:
            for place, frame in enumerate(file.decode()):
                if indices[done] == (timeline.find(frame.pts) if timeline else place):
                    frames[done] = file.convert(frame, packet_index.coded_size, packet_index.turn)
                    done += 1
                    if done == len(indices):
                        return
        except av.FFmpegError as error:
            file.work.check()
            reason = reason_of(error)
        raise CorruptVideoError(
            self._path, f"frame {indices[done]} of {len(self.times)} does not decode: {reason}"
        )


def _read_index(
    path: str, limits: Limits, decoder: Decoder, source: ByteSource | None
) -> PacketIndex:
    """Look a file through; decodes one frame, or all where packets do not tell enough."""
    work = limits.work(path)
    how = _shown(path, work, "reading the packets of")
    with opened(path, limits, work, source=source) as file, how:
        packets, first = file.look(at_keys=decoder == "decord")
        traits = file.traits(first)
        turn = turn_of(first)
        unit = file.stream.time_base or Fraction(1)
        stamped = first.pts is not None  # else the container's rate is but a default
        rate = (stamped and file.stream.average_rate) or file.stream.guessed_rate
        fps = float(rate) if rate and rate <= _HIGHEST_FPS else _DEFAULT_FPS
    timeline, unfiltered = packets.timeline(), decoder == "lossy"
    if timeline and packets_are_frames(traits, packets, timeline):
        times_N = seconds(timeline.pts_N, unit)
        skips = traits.codec in _SKIPPABLE
        by_decord = decoder == "decord" and decord_agrees(traits, timeline)
        return PacketIndex(
            packets, timeline, times_N, fps, traits.size, turn, skips, by_decord, unfiltered
        )
    times, is_key_N = _decode_times(path, limits, work, source)
    if timeline:
        same = times == timeline.pts_N.tolist()
        timeline = timeline.started_by(is_key_N) if same else None
    if None in times:
        times_N = np.arange(len(times), dtype=np.float64) / fps
    else:
        stamps_N = seconds(np.array(times, np.int64), unit)
        times_N = _ascending_times(path, stamps_N, packets.restarts(), fps, file.may_jump)
    return PacketIndex(packets, timeline, times_N, fps, traits.size, turn, False, False, unfiltered)


@contextmanager
def _shown(path: str, work: Work, doing: str) -> Iterator[None]:
    """Show how much of a file has been read, where that takes long."""
    began, before = time.monotonic(), work.bytes_read
    gauge: Gauge | None = None

    def watch(bytes_read: int) -> None:
        nonlocal gauge
        if gauge is None and time.monotonic() - began > _LONG:
            from cvrl.utils.log import Gauge

            gauge = Gauge(f"{doing} {os.path.basename(path)}", os.path.getsize(path))
        if gauge is not None:
            gauge.update(bytes_read - before)

    work.watch = watch
    try:
        yield
    finally:
        work.watch = None
        if gauge is not None:
            gauge.close()


def _ascending_times(
    path: str, stamps_N: NDArray[np.float64], restarts: int, fps: float, may_jump: bool
) -> NDArray[np.float64]:
    """Times that ascend, from stamps in the order in which the decoder returns frames."""
    joints = clock_joints(stamps_N, restarts, may_jump=may_jump)
    if len(joints):
        frames = ", ".join(map(str, joints[:5].tolist())) + (", ..." if len(joints) > 5 else "")
        logger.warning("%s: its clock jumps at frame %s; times go on without a gap", path, frames)
    return ascending(stamps_N, joints, 1 / fps)


def _decode_times(
    path: str, limits: Limits, work: Work, source: ByteSource | None
) -> tuple[list[int | None], NDArray[np.bool_]]:
    """Decode a whole file, one frame at a time: when frames are shown, and which are key frames."""
    import av

    times: list[int | None] = []
    keys = bytearray()
    how = _shown(path, work, "counting the frames of")
    with opened(path, limits, work, source=source) as file, how:
        try:
            for frame in file.decode():
                limits.check_size(path, frame.height, frame.width)
                times.append(frame.pts)
                keys.append(frame.key_frame)
                limits.check_count(path, len(times))
        except av.FFmpegError as error:
            work.check()
            reason = f"decoding stops after {len(times)} frames: {reason_of(error)}"
            raise CorruptVideoError(path, reason) from error
    return times, np.frombuffer(keys, np.bool_)
