"""Which files keep what their packets promise.

The list was found by comparing with PyAV's plain decode, frame by frame. A file that is not on it
is read correctly too, only more slowly. Names of containers, codecs and formats are FFmpeg's.
"""

from dataclasses import dataclass

from cvrl.data.packets import Packets, Timeline

_CONTAINERS = frozenset(("mov", "matroska", "avi", "flv"))
_CODECS = frozenset(("h264", "hevc", "mpeg4", "vp9", "av1", "libdav1d", "libaom-av1"))
_SMALLEST_PICTURE = 16  # bytes; a shorter MPEG-4 packet says that there is no picture


@dataclass(frozen=True)
class Traits:
    """What a file says about itself, and its first frame.

    Attributes:
        containers: names of the container, such as mov and mp4.
        codec: name of the decoder.
        first_pts: when the first decoded frame is shown, in the stream's units.
        interlaced: whether the first frame is made of two fields.

    Example:
        >>> formats = frozenset(("mov", "mp4"))
        >>> Traits(formats, "h264", 0, False).codec
        'h264'
    """

    containers: frozenset[str]
    codec: str
    first_pts: int | None
    interlaced: bool


def packets_are_frames(traits: Traits, packets: Packets, timeline: Timeline) -> bool:
    """Whether each packet is sure to give one frame, shown at the packet's time.

    Example:
        >>> packets = Packets()
        >>> packets.append(0, dts=0, size=7, is_key=True)
        >>> formats = frozenset(("mov", "mp4"))
        >>> one = Traits(formats, "h264", 0, False)
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
    )
