"""Open the videos of a data set, and read clips of them.

Shapes: V clips, C channels, T frames, H W pixels.
"""

import os
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvrl.data.cameras import Cameras
from cvrl.data.clips import ClipSpec, Ints
from cvrl.data.cropped_video import CroppedVideo
from cvrl.data.worker_watch import note_file
from cvrl.video.frame_cache import FrameCache, FrameSource
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.packet_index import user_store
from cvrl.video.reader import Decoder, Limits, open_video


@dataclass(frozen=True)
class VideoReader:
    """How the files of a data set are opened, the same for training and evaluation.

    Attributes:
        limits: what a file may cost.
        cache: keeps decoded frames; None decodes each time.
        decoder: who decodes, see :func:`cvrl.video.reader.open_video`.
        cameras: names of the files in an event's folder, where paths are those of events.
        packet_cache: keeps each file's packet index for its next visit; None: keeps only those of
            long files, on disk.
    """

    limits: Limits = Limits()
    cache: FrameCache | None = None
    decoder: Decoder = "pyav"
    cameras: tuple[str, ...] = ()
    packet_cache: PacketIndexCache | None = None

    def open(self, path: str, spec: ClipSpec | None = None) -> FrameSource:
        """Open a video, or an event's cameras in sequence; ``spec`` may ask to cut black bars."""
        if self.cameras:
            return Cameras([self._open(os.path.join(path, name)) for name in self.cameras])
        video = self._open(path)
        return CroppedVideo(video) if spec is not None and spec.crop_bars else video

    def _open(self, path: str) -> FrameSource:
        note_file(path)
        packet_cache = self.packet_cache or PacketIndexCache(0, user_store())
        if self.cache is not None:
            return self.cache.open(path, self.limits, self.decoder, packet_cache)
        return open_video(path, limits=self.limits, decoder=self.decoder, packet_cache=packet_cache)


def read_clips(video: FrameSource, frames_VT: Ints) -> Tensor:
    """Decode the frames of several clips in one pass.

    Args:
        video: the open video.
        frames_VT: stored frame numbers, any order, repeats allowed.

    Returns:
        uint8 (V, 3, T, H, W). A view of (V, T, 3, H, W) memory's channels-last frames, not a copy.
    """
    unique, place_VT = np.unique(frames_VT, return_inverse=True)
    frames_NHWC: NDArray[np.uint8] = np.ascontiguousarray(video.frames(unique))
    # Frame by frame; indexing with [] copies byte by byte, which takes ten times as long.
    row_VT = torch.from_numpy(place_VT.reshape(-1))
    clips_VTHWC = torch.from_numpy(frames_NHWC).index_select(0, row_VT)
    return clips_VTHWC.view(*frames_VT.shape, *frames_NHWC.shape[1:]).permute(0, 4, 1, 2, 3)
