"""Writing a video file that every player shows: H.264 in MP4.

Shapes: T frames, H W pixels, 3 channels (RGB).
"""

import os
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

HIGHEST_FPS = 240  # nothing shows more, and an odd file may claim any number


def write_mp4(path: str | os.PathLike[str], frames: Iterable[NDArray[np.uint8]], fps: float) -> int:
    """Encode frames as they come, whole or not at all.

    The file is yuv420p and has its index in front, so browsers and phones play it at once.

    Args:
        path: ends in ``.mp4``.
        frames: uint8 RGB (H, W, 3), all of one size, H and W even; at least one.
        fps: frames a second.

    Returns:
        The number of frames written.

    Raises:
        UserError: another suffix.
        ValueError: no frame, or one of an odd or another size.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/black.mp4"
        >>> write_mp4(path, [np.zeros((16, 32, 3), np.uint8)] * 5, fps=25)
        5
    """
    import av

    if os.path.splitext(path)[1].lower() != ".mp4":
        raise UserError(path, "is no name for a video", "let it end in .mp4")
    rate = Fraction(min(fps, HIGHEST_FPS)).limit_denominator(1001)
    size, count = None, 0
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt, stream.time_base = "yuv420p", 1 / rate
        stream.options = {"preset": "veryfast", "crf": "20"}
        for image_HWC in frames:
            size = image_HWC.shape if size is None else size
            if image_HWC.shape != size or size[0] % 2 or size[1] % 2:
                raise ValueError(f"a frame of shape {image_HWC.shape} in a video of {size}")
            if not count:
                stream.height, stream.width = size[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24")
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
        if not count:
            raise ValueError("a video needs at least one frame")
        container.mux(stream.encode(None))
    return count
