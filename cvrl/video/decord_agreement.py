"""Which files keep what their packets promise, and on which decord2 gives what PyAV gives.

Both lists were found by comparing with PyAV's plain decode, frame by frame. A file that is not on
them is read correctly too, only more slowly. Names of containers, codecs and formats are FFmpeg's.
"""

from dataclasses import dataclass

import numpy as np

from cvrl.video.packets import Packets, Timeline

_CONTAINERS = frozenset(("mov", "matroska", "avi", "flv"))
_CODECS = frozenset(("h264", "hevc", "mpeg4", "vp9", "av1", "libdav1d", "libaom-av1"))
_SMALLEST_PICTURE = 16  # bytes; a shorter MPEG-4 packet says that there is no picture
_DEEPEST_REORDER = 16  # frames, in H.264 and HEVC; beyond it the clock has started again

_DECORD_PAIRS = {  # it seeks wrongly, or fails, in others
    "mov": frozenset(("h264", "mpeg4", "av1", "libdav1d")),
    "matroska": frozenset(("h264", "mpeg4", "av1", "libdav1d")),
    "avi": frozenset(("mpeg4",)),
}
_DECORD_FORMATS = frozenset(("yuv420p", "yuvj420p"))  # it rounds others in another way
_DECORD_FRAMES = 10_000  # it counts the frames it had to repeat in ten-thousandths of all


@dataclass(frozen=True)
class Traits:
    """What a file says about itself, and its first frame.

    Attributes:
        containers: names of the container, such as mov and mp4.
        codec: name of the decoder.
        video_streams: how many there are.
        claimed_frames: the most that its header can be taken to say.
        first_pts: when the first decoded frame is shown, in the stream's units.
        pixel_format: of the first frame.
        size: height and width of the first frame.
        interlaced: whether the first frame is made of two fields.
        upright: whether frames are shown as they are decoded.
        clean_keys: whether key frames truly start afresh, see :func:`cvrl.video.packets.is_idr`.
        reorders: whether the decoder may return frames in another order than their packets.
        ascending: whether times ascend in presentation order, as far as was looked.

    Example:
        >>> formats = frozenset(("mov", "mp4"))
        >>> Traits(formats, "h264", 1, 250, 0, "yuv420p", (180, 320), False, True, True).codec
        'h264'
    """

    containers: frozenset[str]
    codec: str
    video_streams: int
    claimed_frames: float
    first_pts: int | None
    pixel_format: str
    size: tuple[int, int]
    interlaced: bool
    upright: bool
    clean_keys: bool
    reorders: bool = False
    ascending: bool = True


def packets_are_frames(traits: Traits, packets: Packets, timeline: Timeline) -> bool:
    """Whether each packet is sure to give one frame, shown at the packet's time.

    Example:
        >>> packets = Packets()
        >>> packets.append(0, dts=0, size=7, is_key=True)
        >>> formats = frozenset(("mov", "mp4"))
        >>> one = Traits(formats, "h264", 1, 250, 0, "yuv420p", (180, 320), False, True, True)
        >>> packets_are_frames(one, packets, packets.timeline())
        True
    """
    smallest = _SMALLEST_PICTURE if traits.codec == "mpeg4" else 1
    return (
        not traits.containers.isdisjoint(_CONTAINERS)
        and traits.codec in _CODECS
        and traits.first_pts == timeline.pts_N[0]
        and not traits.interlaced  # a packet may hold one field of two
        and not ("avi" in traits.containers and packets.reordered)  # its times are guesses
        and packets.smallest >= smallest
        and traits.ascending
        and packets.displacement() <= _DEEPEST_REORDER
        # Stamped with decoding times: only decoding tells the presentation order.
        and not (traits.reorders and traits.codec != "mpeg4" and not packets.reordered)
    )


def decord_agrees(traits: Traits, timeline: Timeline) -> bool:
    """Whether decord2 gives PyAV's frames, bit for bit, where packets are frames.

    Args:
        traits: of the file.
        timeline: of its packets.

    Example:
        >>> timeline = Timeline(np.arange(9), np.array([0]), np.array([0]))
        >>> mp4 = frozenset(("mov", "mp4"))
        >>> ten_bits = Traits(mp4, "h264", 1, 9, 0, "yuv420p10le", (180, 320), False, True, True)
        >>> decord_agrees(ten_bits, timeline)
        False
    """
    height, width = traits.size
    return (
        any(traits.codec in _DECORD_PAIRS.get(name, ()) for name in traits.containers)
        and traits.pixel_format in _DECORD_FORMATS
        and height % 2 == width % 2 == 0  # chroma at odd sizes is interpolated in another way
        and traits.upright
        and traits.video_streams == 1  # it takes the largest, PyAV the first
        and traits.claimed_frames < _DECORD_FRAMES  # it makes room for them, or dies of it
        and traits.clean_keys
        # It counts key frames in file order: wrong where a B-frame is shown before its key frame.
        and np.array_equal(timeline.rows, timeline.firsts)
        and len(timeline.pts_N) < _DECORD_FRAMES
    )
