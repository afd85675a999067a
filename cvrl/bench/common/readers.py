"""Ways to get chosen frames out of a file: the plain decode, this package, and its peers.

Each takes a path, ascending frame numbers and the rate, decodes on one thread, and gives uint8
(N, H, W, 3) RGB. The plain decode is the ceiling: one pass from the key frame before, each frame
decoded once, only those asked for converted to RGB, nothing checked.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cvrl.bench.common.peers import load
from cvrl.utils.errors import UserError
from cvrl.video.reader import open_video

Frames = NDArray[np.uint8]
Reader = Callable[[str, Sequence[int]], Frames]
MOST_APART = 1.0  # mean of the distance between two readers' values, in levels of 256


def plain_decode(path: str, indices: Sequence[int]) -> Frames:
    """Frames by PyAV's own loop, for a file of constant rate that starts at time 0.

    Args:
        path: the file.
        indices: frame numbers, ascending.
    """
    import av
    from av.video.reformatter import VideoReformatter

    kept, asked = [], set(indices)
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frame_ticks = 1 / ((stream.average_rate or 25) * (stream.time_base or 1))
        container.seek(round(indices[0] * frame_ticks), stream=stream)
        reformatter = VideoReformatter()
        for frame in container.decode(stream):
            if round((frame.pts or 0) / frame_ticks) in asked:
                rgb = reformatter.reformat(frame, format="rgb24", threads=1)
                kept.append(rgb.to_ndarray())
                if len(kept) == len(asked):
                    break
    return np.stack(kept)


def cvrl_reader(path: str, indices: Sequence[int]) -> Frames:
    """Frames by this package: the file is opened, looked through, and read in one pass."""
    with open_video(path) as video:
        return video.frames(indices)


def torchcodec_reader(path: str, indices: Sequence[int]) -> Frames:
    """Frames by torchcodec in its exact mode, all in one call."""
    decoder = load("torchcodec.decoders").VideoDecoder(
        path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact"
    )
    frames: Frames = decoder.get_frames_at(list(indices)).data.numpy()
    return frames


def decord_reader(path: str, indices: Sequence[int]) -> Frames:
    """Frames by decord2, all in one call."""
    decord = load("decord")
    decord.logging.set_level(decord.logging.QUIET)
    frames: Frames = decord.VideoReader(path, num_threads=1).get_batch(list(indices)).asnumpy()
    return frames


def pytorchvideo_reader(
    path: str, indices: Sequence[int], *, clip: int, stride: int, rate: Fraction
) -> Frames:
    """Frames by pytorchvideo, which gives all frames of one span of time a call.

    Args:
        path: the file.
        indices: those of several clips, one clip after the other, not merged.
        clip: frames a clip.
        stride: frames from one of a clip to its next.
        rate: frames a second.
    """
    encoded: Any = load("pytorchvideo.data.encoded_video").EncodedVideo
    video = encoded.from_path(path, decode_audio=False, decoder="pyav")
    parts = []
    for start in indices[::clip]:
        span = (start / rate, (start + (clip - 1) * stride + 1) / rate)
        parts.append(video.get_clip(*span)["video"][:, ::stride])
    video.close()
    clips_CNHW = torch.cat(parts, dim=1).to(torch.uint8)  # it gives float32 from 0 to 255
    frames: Frames = clips_CNHW.permute(1, 2, 3, 0).numpy()
    return frames


PEER_READERS: dict[str, Reader] = {"torchcodec": torchcodec_reader, "decord2": decord_reader}


def check_alike(name: str, ours: Frames, theirs: Frames) -> str:
    """Hold a peer's frames against ours; conversions to RGB round in different ways.

    Args:
        name: of the peer.
        ours: (N, H, W, 3).
        theirs: of the same frames.

    Returns:
        How far they agree, in words.

    Raises:
        UserError: they are other frames, so that times would compare unequal work.

    Example:
        >>> frame = np.zeros((1, 2, 2, 3), np.uint8)
        >>> check_alike("peer", frame, frame + np.uint8(1))
        'peer: frames differ by 1.00 of 256 levels in the mean, 1 at most'
    """
    if ours.shape != theirs.shape:
        raise UserError(name, f"gives frames of shape {theirs.shape}, not {ours.shape}")
    distance = np.abs(ours.astype(np.int16) - theirs)
    said = f"frames differ by {distance.mean():.2f} of 256 levels in the mean"
    if distance.mean() > MOST_APART:
        raise UserError(name, said, "its times would compare unequal work: leave it out")
    return f"{name}: {said}, {distance.max()} at most"
