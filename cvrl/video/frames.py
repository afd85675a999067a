"""What a video is to the rest of the code: a count, times, a size, and frames by index."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class FrameSource(Protocol):
    """What a :class:`Video` reads from: a file, or a folder of frames."""

    fps: float
    times: NDArray[np.float64]
    size: tuple[int, int]
    key_frames: NDArray[np.int64] | None

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Frames at ascending indices, each in range: (len(indices), H, W, 3)."""


class Video:
    """A video whose frames can be had by index, in presentation order and upright.

    Made by :func:`open_video`. A context manager; safe to carry into a forked worker.

    Attributes:
        path: as given to :func:`open_video`.
        fps: mean frames a second; see ``times`` where the rate varies.
        times: (N,) float64, seconds at which frames are shown, ascending. The first is the
            stream's own start, which need not be 0.
        size: height and width in pixels, after turning upright.
        key_frames: (K,) frames from which decoding may start, ascending, the first among them; None
            where the file does not tell, and for a folder of frames.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from cvrl.video.reader import open_video
        >>> folder = tempfile.mkdtemp()
        >>> Image.new("RGB", (8, 4), (250, 0, 0)).save(f"{folder}/1.png")
        >>> video = open_video(folder)
        >>> video.times.tolist(), video.frames([0, 0])[:, 0, 0, 0].tolist()
        ([0.0], [250, 250])
    """

    def __init__(self, path: str, source: FrameSource) -> None:
        self.path = path
        self.fps = source.fps
        self.times = source.times
        self.size = source.size
        self.key_frames = source.key_frames
        self._source: FrameSource | None = source

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.times)

    def frames(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """Decode frames, each once, in one pass over the file.

        Args:
            indices: integers in [0, N), in any order, repeats allowed.

        Returns:
            (len(indices), H, W, 3) uint8, RGB, in the order asked.

        Raises:
            IndexError: an index out of range.
            TypeError: indices that are not a row of integers.
            ValueError: the video is closed.
            CorruptVideoError: a frame that does not decode, or a limit passed.

        Example:
            >>> import tempfile
            >>> from PIL import Image
            >>> from cvrl.video.reader import open_video
            >>> folder = tempfile.mkdtemp()
            >>> for grey in (10, 20):
            ...     Image.new("L", (8, 4), grey).save(f"{folder}/{grey}.png")
            >>> open_video(folder).frames([1, 0, 1])[:, 0, 0, 0].tolist()
            [20, 10, 20]
        """
        if self._source is None:
            raise ValueError(f"{self.path}: the video is closed")
        asked = np.asarray(indices)
        if not asked.size:
            return np.empty((0, *self.size, 3), np.uint8)
        if asked.ndim != 1 or asked.dtype.kind not in "iu":
            raise TypeError(f"indices must be a row of integers, got {indices!r}")
        if asked.min() < 0 or asked.max() >= len(self):
            raise IndexError(
                f"{self.path}: frames {asked.min()} to {asked.max()} asked of {len(self)}"
            )
        unique, place = np.unique(asked, return_inverse=True)
        decoded = self._source.read(unique.tolist())
        return decoded if np.array_equal(unique, asked) else decoded[place]

    def close(self) -> None:
        """Let go of the video; ``frames`` raises from here on. Closing twice is harmless.

        Example:
            >>> import tempfile
            >>> from PIL import Image
            >>> from cvrl.video.reader import open_video
            >>> folder = tempfile.mkdtemp()
            >>> Image.new("RGB", (8, 4)).save(f"{folder}/1.png")
            >>> open_video(folder).close()
        """
        self._source = None

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
