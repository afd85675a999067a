"""A video file opened by PyAV: its packets, and frames decoded from one of them on."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.byte_source import ByteSource
from cvrl.video.container import claimed_frames, turn_of, video_stream
from cvrl.video.decord_agreement import Traits
from cvrl.video.limits import Limits, Work, reason_of
from cvrl.video.orientation import Turn
from cvrl.video.packets import Packets, Timeline, is_b_picture, is_idr

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger("cvrl")

# Demuxers that open other files, wait for a network, or draw text as pictures.
_REFUSED = frozenset(("hls", "dash", "concat", "imf", "sdp", "rtp", "rtsp", "tty"))

Asked = frozenset[int] | None
"""Times of the frames that are asked for; None where all must be decoded."""

# Frames decoded at the start of a stream with B-frames, to see whether their times ascend.
_ORDER_PROBE = 8


class File:
    """A file opened by PyAV, and the video stream chosen in it. Decodes on the calling thread."""

    def __init__(
        self,
        path: str,
        limits: Limits,
        work: Work,
        container: "InputContainer",
        unfiltered: bool,
    ) -> None:
        from av.format import Flags
        from av.video.reformatter import VideoReformatter

        self.path = path
        self.limits = limits
        self.work = work
        self.container = container
        self._reformatter = VideoReformatter()
        self._at_start = True
        self._skipping = False
        self._ascending = True
        self._clean_keys = True  # as far as look() was asked to see
        flags: Any = container.format.flags  # an int, whatever its stub says
        self.may_jump = bool(flags & Flags.ts_discont.value)
        self.formats = frozenset(container.format.name.split(","))
        self.stream = video_stream(path, container)
        codec = self.stream.codec_context
        limits.check_size(path, codec.height, codec.width)
        codec.thread_count = 1
        codec.options = limits.decoder_options()
        if unfiltered:
            codec.options |= {"skip_loop_filter": "all"}

    def look(self, *, at_keys: bool) -> "tuple[Packets, VideoFrame]":
        """Read all packets, for decord2's sake also into the key ones; decode the first frame."""
        packets = Packets()
        codec = self.stream.codec_context
        first: VideoFrame | None = None
        shown: list[int | None] = []
        probing = codec.name != "mpeg4"  # whose packets tell the order
        for packet in self._packets():  # of every stream, to count the work
            if packet.stream_index != self.stream.index:
                continue
            if first is None:
                frames = self.stream.decode(packet)
                first = next(iter(frames), None)
                shown += [frame.pts for frame in frames if probing]
            elif probing and codec.has_b_frames and len(shown) < _ORDER_PROBE:
                times = self._times_of(packet)
                probing = times is not None
                shown += times or ()
            if packet.size or packet.pts is not None:  # else it only flushes the decoder
                # An edit list discards frames: without a time, they are not taken for frames.
                pts = None if packet.is_discard else packet.pts
                packets.append(pts, dts=packet.dts, size=packet.size, is_key=packet.is_keyframe)
                if codec.name == "mpeg4" and packet.size:  # a B-frame is shown before the last I, P
                    shown.insert(len(shown) - is_b_picture(bytes(packet)), pts)
                if at_keys and packet.is_keyframe and codec.name == "h264":
                    self._clean_keys &= is_idr(bytes(packet), codec.extradata)
                self.limits.check_count(self.path, len(packets))
        if first is None:
            raise CorruptVideoError(self.path, "no frame decodes")
        self.limits.check_size(self.path, first.height, first.width)
        known = [pts for pts in shown if pts is not None]
        self._ascending = known == sorted(known)
        return packets, first

    def _times_of(self, packet: "Packet[Any]") -> list[int | None] | None:
        """Times of the frames that the decoder returns for a packet; None where it fails."""
        import av

        try:
            return [frame.pts for frame in self.stream.decode(packet)]
        except av.FFmpegError:  # damage is reported by the read that meets it
            return None

    def traits(self, first: "VideoFrame") -> Traits:
        """What decides how far the file can be trusted."""
        return Traits(
            containers=self.formats,
            codec=self.stream.codec_context.name,
            video_streams=len(self.container.streams.video),
            claimed_frames=claimed_frames(self.container, self.stream),
            first_pts=first.pts,
            pixel_format=first.format.name,
            size=(first.height, first.width),
            interlaced=first.interlaced_frame,
            upright=turn_of(first) == Turn(),
            clean_keys=self._clean_keys,
            reorders=bool(self.stream.codec_context.has_b_frames),
            ascending=self._ascending,
        )

    def decode(self) -> "Iterator[VideoFrame]":
        """Every frame, as it comes out of the decoder."""
        for packet in self._packets(self.stream):
            for frame in self.stream.decode(packet):
                self.work.frame(frame.height, frame.width)
                yield frame

    def decode_from(
        self, start: tuple[int, int], packets: Packets, timeline: Timeline, asked: Asked
    ) -> "Iterator[tuple[int, VideoFrame]]":
        """Decode from the key packet at a row, up to the first packet or frame not as expected.

        ``start`` is the row and the frame that the packet gives, which must be a key frame.

        Frames come with their index. Those before the key packet's own lack what they are predicted
        from, and are not to be used. Where ``asked`` holds times, frames of other times need not
        come: those that no frame is predicted from are not decoded.
        """
        import av

        row, first = start
        started, sure = False, not row
        try:
            if row and self._at_start and self.stream.codec_context.name == "mpeg4":
                self._read_encoder_name()
            if row or not self._at_start:
                self.container.seek(packets.seek_time(row), stream=self.stream)
            self._at_start = False
            for packet in self._packets(self.stream):
                known = packets.is_at(row, packet.pts, dts=packet.dts, size=packet.size)
                if started and not known and (packet.size or packet.pts is not None):
                    logger.debug("%s: packet %d is another after a seek", self.path, row)
                    return
                started |= known
                row += known
                if asked is not None:
                    self._skip(packet.pts is not None and packet.pts not in asked)
                for frame in self.stream.decode(packet) if started else ():
                    self.work.frame(frame.height, frame.width)
                    index = timeline.find(frame.pts)
                    if index < 0 or frame.is_corrupt:
                        return
                    sure |= index == first and frame.key_frame
                    if index >= first and not sure:
                        return  # a packet may be flagged as a key that is none
                    yield index, frame
        except av.FFmpegError as error:
            logger.debug("%s: packet %d does not decode: %s", self.path, row, error)

    def _read_encoder_name(self) -> None:
        """Decode the first packet: it may be the only one to name the encoder.

        FFmpeg decodes around the errors of some MPEG-4 encoders, which it knows by their names.
        """
        packet = next(self._packets(self.stream), None)
        if packet is not None:
            self.stream.decode(packet)

    def _skip(self, unasked: bool) -> None:
        """Tell the decoder whether to leave the next packet out if no frame is predicted from it.

        About half of the frames that x264 writes are such; all others come out the same, bit for
        bit, and in the same order, or the caller sees that they do not.
        """
        if unasked != self._skipping:
            self.stream.codec_context.skip_frame = "NONREF" if unasked else "DEFAULT"
            self._skipping = unasked

    def _packets(self, *streams: "VideoStream") -> "Iterator[Packet[Any]]":
        """Packets of these streams, or of all; at the end one that flushes the decoder."""
        try:
            for packet in self.container.demux(*streams):
                self.work.packet(packet.size)
                yield packet
        except IndexError as error:  # at the end, over a stream that turned up late
            logger.debug("%s: PyAV: %s", self.path, error)

    def convert(self, frame: "VideoFrame", size: tuple[int, int], turn: Turn) -> NDArray[np.uint8]:
        """A frame as (H, W, 3) RGB, scaled to a height and width and turned upright."""
        self.limits.check_size(self.path, frame.height, frame.width)
        height, width = size
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", threads=1)
        return turn(np.asarray(rgb.to_ndarray(), np.uint8))


@contextmanager
def opened(
    path: str,
    limits: Limits,
    work: Work,
    *,
    source: ByteSource | None = None,
    unfiltered: bool = False,
) -> Iterator[File]:
    """Open a file with PyAV; what FFmpeg raises inside becomes a CorruptVideoError."""
    with open_container(path, limits, work, source) as container:
        yield File(path, limits, work, container, unfiltered)


@contextmanager
def open_container(
    path: str, limits: Limits, work: Work, source: ByteSource | None = None
) -> "Iterator[InputContainer]":
    """Open a file with PyAV, whatever its streams; errors as for :func:`opened`."""
    import av

    where = nullcontext(os.path.abspath(path)) if source is None else source.stream()
    try:
        with (
            where as file,
            av.open(
                file,  # a path is absolute, so never taken for a URL
                options=limits.decoder_options(),
                container_options={
                    "protocol_whitelist": "file",
                    "format_whitelist": ",".join(av.formats_available - _REFUSED),
                },
                metadata_errors="replace",
                timeout=work.patience,
            ) as container,
        ):
            yield cast("InputContainer", container)
    except (av.FFmpegError, OSError, MemoryError, OverflowError) as error:
        work.check()
        if isinstance(error, av.error.ExitError):
            reason = f"the disk gave no answer for {work.patience:g} s"
            raise CorruptVideoError(path, reason) from error
        raise CorruptVideoError(path, reason_of(error)) from error
