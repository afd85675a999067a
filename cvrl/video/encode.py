"""Writing video files: H.264 in MP4, 4:2:0 colour, which every player and decoder takes.

Shapes: T frames, H W pixels, 3 channels (RGB).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

if TYPE_CHECKING:
    from av.container import OutputContainer

Write = Callable[[NDArray[np.uint8], int], None]
"""Takes the next frame (h, w, 3), of any size, and when it is shown in ticks."""
HIGHEST_FPS = 240  # nothing shows more, and an odd file may claim any number
SOUND_FRAME = 1024  # samples that are encoded at a time
FOR_THE_EYE = {"preset": "veryfast", "crf": "20"}


@contextmanager
def h264_file(
    path: str,
    size: tuple[int, int],
    fps: float,
    tick: Fraction,
    options: Mapping[str, str],
    *,
    index_first: bool = False,
) -> Iterator[Write]:
    """A file being written; it is complete when the context ends.

    Args:
        path: the file, written in place.
        size: H and W of the stored frames, even; frames of another size are scaled.
        fps: frames a second, as the file claims it.
        tick: seconds.
        options: of x264.
        index_first: with the index in front, so that a browser plays it while it loads.

    Yields:
        What takes the frames, in the order they are shown.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/black.mp4"
        >>> with h264_file(path, (16, 32), 25, Fraction(1, 25), {"crf": "20"}) as write:
        ...     write(np.zeros((32, 64, 3), np.uint8), 0)
    """
    import av

    flags = {"movflags": "+faststart"} if index_first else {}
    with av.open(path, "w", options=flags) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = size
        stream.pix_fmt, stream.time_base = "yuv420p", tick
        stream.codec_context.time_base = tick
        stream.options = dict(options)

        def write(image_HWC: NDArray[np.uint8], shown: int) -> None:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24")
            frame = frame.reformat(size[1], size[0], "yuv420p", interpolation="BICUBIC")
            frame.pts, frame.time_base = shown, tick
            container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode(None))


def add_sound(container: "OutputContainer", wave_S: NDArray[np.float32], rate: int) -> None:
    """Encode a sound without loss into a file that is being written, from time 0 on.

    Args:
        container: the open file, an MP4, before its first packet, with its other streams added.
        wave_S: samples of one channel in [-1, 1]; what is beyond is clipped.
        rate: samples a second.
    """
    import av

    stream = container.add_stream("alac", rate=rate)
    stream.layout, stream.format = "mono", "s16p"
    samples_1S = np.round(np.clip(wave_S, -1, 1) * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples_1S, format="s16p", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    fifo = av.AudioFifo()
    fifo.write(frame)
    for piece in [*fifo.read_many(SOUND_FRAME), fifo.read(partial=True)]:
        if piece is not None:
            container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def write_mp4(path: str | os.PathLike[str], frames: Iterable[NDArray[np.uint8]], fps: float) -> int:
    """Encode frames as they come, whole or not at all, to be looked at.

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
    if os.path.splitext(path)[1].lower() != ".mp4":
        raise UserError(path, "is no name for a video", "let it end in .mp4")
    rate = Fraction(min(fps, HIGHEST_FPS)).limit_denominator(1001)
    coming = iter(frames)
    first_HWC = next(coming, None)
    if first_HWC is None:
        raise ValueError("a video needs at least one frame")
    size, count = (first_HWC.shape[0], first_HWC.shape[1]), 1
    _check_size(first_HWC, size)
    with (
        atomic_path(path) as temporary,
        h264_file(
            str(temporary), size, float(rate), 1 / rate, FOR_THE_EYE, index_first=True
        ) as write,
    ):
        write(first_HWC, 0)
        for image_HWC in coming:
            _check_size(image_HWC, size)
            write(image_HWC, count)
            count += 1
    return count


def _check_size(image_HWC: NDArray[np.uint8], size: tuple[int, int]) -> None:
    if image_HWC.shape != (*size, 3) or size[0] % 2 or size[1] % 2:
        raise ValueError(f"a frame of shape {image_HWC.shape} in a video of {size}")
