"""What a container says of the video in it, as PyAV reads it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.orientation import Turn

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


def video_stream(path: str, container: "InputContainer") -> "VideoStream":
    """The first video stream; a cover picture only where there is nothing else.

    Args:
        path: of the file, for an error.
        container: the open file.

    Raises:
        CorruptVideoError: no such stream, or none that can be decoded.
    """
    from av.stream import Disposition

    streams = list(container.streams.video)
    streams.sort(key=lambda stream: bool(stream.disposition & Disposition.attached_pic))
    if not streams:
        raise CorruptVideoError(path, "no video stream")
    if streams[0].codec_context is None:
        raise CorruptVideoError(path, "no decoder for its video stream")
    return streams[0]


def claimed_frames(container: "InputContainer", stream: "VideoStream") -> float:
    """The most frames that the header can be taken to say: its count, or its length and rate."""
    unit = stream.time_base or 0
    length = max((container.duration or 0) / 1e6, float((stream.duration or 0) * unit))
    rate = max(stream.average_rate or 0, stream.guessed_rate or 0)
    return max(stream.frames, length * float(rate))


def turn_of(frame: "VideoFrame") -> Turn:
    """What makes a frame upright."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return Turn() if matrix is None else Turn.from_matrix(np.frombuffer(matrix, np.int32).tolist())
