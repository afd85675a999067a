"""The door to decord2, for files on which it is known to agree with PyAV."""

import logging
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger("cvrl")

_FAULTS = 1e-4  # repeated frames allowed, of all; 0 would mean any number


def read_with_decord(path: str, indices: Sequence[int], count: int) -> NDArray[np.uint8] | None:
    """Frames of a file at ascending indices.

    Args:
        path: of the file, one that :func:`cvrl.video.decord_agreement.decord_agrees` lets through.
        indices: of the frames.
        count: how many frames the file has.

    Returns:
        uint8 RGB (N, H, W, 3); None where decord2 is not installed, fails, or counts other frames.

    Example:
        >>> read_with_decord("no/such.mp4", [0], count=1) is None
        True
    """
    try:
        import decord

        decord.logging.set_level(decord.logging.QUIET)  # of its own FFmpeg, not of PyAV's
        reader = decord.VideoReader(os.path.abspath(path), num_threads=1, fault_tol=_FAULTS)
        if len(reader) != count:
            return None
        frames: NDArray[np.uint8] = reader.get_batch(indices).asnumpy()
        return frames
    except Exception as error:  # it raises kinds of its own, which share no base but this
        logger.debug("%s: decord2 gives way to PyAV: %s", path, error)
        return None
