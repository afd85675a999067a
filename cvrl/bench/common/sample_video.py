"""A film to read where none is given: moving, textured and grainy, so it decodes like a real one.

Shapes: T frames, H W pixels.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from cvrl.utils.io import atomic_path
from cvrl.video.encode import h264_file

_TICKS = 90_000  # a second of the stream's clock


def write_film(
    path: Path,
    *,
    seconds: float = 10.0,
    size: tuple[int, int] = (256, 340),
    fps: int = 25,
    gop: int = 250,
    seed: int = 0,
) -> Path:
    """Write an H.264 file as data sets hold them: one key frame every ``gop``.

    Args:
        path: the file, an MP4.
        seconds: its length.
        size: height and width in pixels, even.
        fps: frames a second.
        gop: frames from one key frame to the next, at most; scenes do not cut.
        seed: of the content.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> film = write_film(Path(tempfile.mkdtemp()) / "a.mp4", seconds=0.2, size=(32, 48))
        >>> film.stat().st_size > 500
        True
    """
    options = {"threads": "1", "preset": "fast", "g": str(gop)}
    with (
        atomic_path(path) as temporary,
        h264_file(str(temporary), size, fps, Fraction(1, _TICKS), options) as write,
    ):
        for index, image_HWC in enumerate(frames(round(seconds * fps), size, seed)):
            write(image_HWC, index * (_TICKS // fps))
    return path


def frames(count: int, size: tuple[int, int], seed: int) -> Iterator[NDArray[np.uint8]]:
    """Frames of a camera that pans over a texture while patches of others cross it, with grain.

    Args:
        count: how many.
        size: H and W.
        seed: of all that is drawn.

    Yields:
        uint8 (H, W, 3).

    Example:
        >>> [image.shape for image in frames(2, (4, 6), seed=0)]
        [(4, 6, 3), (4, 6, 3)]
    """
    rng = np.random.default_rng(seed)
    H, W = size
    ground = _texture(rng, H + W, 2 * W)
    things = [_texture(rng, H, W) for _ in range(4)]
    sides = rng.integers(min(H, W) // 6 + 1, min(H, W) // 2 + 1, size=(4, 2))
    speeds = rng.uniform(-4, 4, size=(4, 2)) * W / 340
    places = rng.uniform(0, 1, size=(4, 2)) * size
    for time in range(count):
        top = round(W / 2 * (1 + np.sin(time / 40)))
        left = round(W / 2 * (1 + np.cos(time / 30)))
        image = ground[top : top + H, left : left + W].copy()
        for thing, side, speed, place in zip(things, sides, speeds, places, strict=True):
            at = np.rint(place + speed * time).astype(int)
            rows, columns = (at[k] + np.arange(side[k]) for k in (0, 1))
            image[np.ix_(rows % H, columns % W)] = thing[: side[0], : side[1]]
        image += 2 * rng.standard_normal((H, W, 1), np.float32)
        yield image.clip(0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Noise of many scales, the coarse strongest, as pictures have it: (height, width, 3)."""
    picture_1CHW = torch.full((1, 3, height, width), 128.0)
    for scale in (64, 32, 16, 8, 4, 2):
        coarse = rng.standard_normal((1, 3, height // scale + 2, width // scale + 2), np.float32)
        fine = F.interpolate(torch.from_numpy(coarse), scale_factor=scale, mode="bilinear")
        picture_1CHW += 4 * scale**0.5 * fine[..., :height, :width]
    return picture_1CHW[0].permute(1, 2, 0).contiguous().numpy()
