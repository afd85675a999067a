"""A video without the black bars at its sides."""

from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from cvrl.transforms.black_bars import black_bars
from cvrl.video.frame_cache import FrameSource

LOOKED_AT = 3  # frames, spread over the video


class CroppedVideo:
    """Frames of a video with its black bars cut off, the same box in every frame.

    The box is found once, from a few frames spread over the video, so it does not depend on which
    frames are asked for.

    Args:
        video: an open video. Closing this one closes it.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from cvrl.video.reader import open_video
        >>> folder, picture = tempfile.mkdtemp(), Image.effect_noise((64, 48), 80).convert("RGB")
        >>> picture.paste((0, 0, 0), (0, 0, 64, 6))
        >>> picture.save(f"{folder}/1.png")
        >>> CroppedVideo(open_video(folder)).frames(np.array([0])).shape
        (1, 41, 64, 3)
    """

    def __init__(self, video: FrameSource) -> None:
        self._video = video
        self.fps = video.fps
        self.times = video.times
        places = np.linspace(0, len(video) - 1, LOOKED_AT + 2)[1:-1].round().astype(np.int64)
        frames = np.ascontiguousarray(video.frames(np.unique(places)))
        clips_1CTHW = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
        top, bottom, left, right = black_bars(clips_1CTHW)
        H, W = clips_1CTHW.shape[-2:]
        self.size = (H - top - bottom, W - left - right)
        self._rows, self._columns = slice(top, H - bottom), slice(left, W - right)

    def __len__(self) -> int:
        """The number of frames."""
        return len(self._video)

    def frames(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode frames, see :meth:`cvrl.video.frames.Video.frames`."""
        return self._video.frames(indices)[:, self._rows, self._columns]

    def __enter__(self) -> "CroppedVideo":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._video.__exit__(kind, error, traceback)
