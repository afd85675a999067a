"""Perturbations of clips, to find out what the score of a network depends on.

Each perturbation takes one thing away and leaves the rest:

    still               motion: one frame is repeated
    shuffled            the order of the frames; what moves between them is still there
    reversed            the direction of time alone
    background_blurred  the detail of whatever does not move: the scene
    foreground_blurred  the detail of whatever moves: the actor

What moves is found by a heuristic, see :func:`moving`. It needs a camera that stands still.

Shapes: S perturbations, N clips of a video, M = S x N, C channels (RGB), T frames, H W pixels.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cvrl.data.clips import Ints
from cvrl.transforms.filters import GaussianBlur
from cvrl.transforms.op import to_float
from cvrl.utils.errors import UserError
from cvrl.utils.seed import numpy_rng

Perturbation = Literal[
    "plain", "still", "shuffled", "reversed", "background_blurred", "foreground_blurred"
]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)
TITLES: dict[Perturbation, str] = {
    "plain": "as it runs",
    "still": "one frame repeated",
    "shuffled": "frames shuffled",
    "reversed": "frames reversed",
    "background_blurred": "background blurred",
    "foreground_blurred": "foreground blurred",
}
FOR_SHUFFLE = 6  # the last part of a random key: what the draw is for
CHANGE = 20  # a pixel that differs by fewer levels from the background belongs to it
CELLS = 60  # motion is looked for in cells of a 60th of the short side
REACH = 2  # cells that the moving part is widened by
BLUR = 0.1  # sigma of the blur over the short side: limbs and objects are gone, light is left
BLURRED_SIDE = 32  # the blur works on frames reduced to this, or more; nothing finer survives it


def check_perturbations(perturbations: Sequence[str]) -> tuple[Perturbation, ...]:
    """The perturbations of a list without repeats; ``all`` stands for every one.

    Args:
        perturbations: names, at least one.

    Raises:
        UserError: an unknown name, or none at all.

    Example:
        >>> check_perturbations(["still", "still"]), len(check_perturbations(["all"]))
        (('still',), 6)
    """
    asked = list(PERTURBATIONS) if "all" in perturbations else list(dict.fromkeys(perturbations))
    unknown = [name for name in asked if name not in PERTURBATIONS]
    if unknown or not asked:
        asked_for = " ".join(["--perturb", *unknown])
        reason = "is no perturbation" if unknown else "names none"
        raise UserError(asked_for, reason, f"use {', '.join(PERTURBATIONS)} or all")
    return tuple(name for name in PERTURBATIONS if name in asked)


def rearrange(ticks_NT: Ints, perturbations: Sequence[Perturbation], *key: int) -> Ints:
    """The ticks of every perturbation's clips.

    Args:
        ticks_NT: of the plain clips.
        perturbations: what the clips shall show.
        key: of the shuffles, integers: seed and video. Each clip has a shuffle of its own.

    Returns:
        (S * N, T), all clips of the first perturbation before those of the second.

    Example:
        >>> rearrange(np.array([[4, 6, 8]]), ["plain", "still", "reversed"]).tolist()
        [[4, 6, 8], [6, 6, 6], [8, 6, 4]]
    """
    frames = ticks_NT.shape[1]
    return np.stack(
        [
            ticks_T[frame_order(perturbation, frames, *key, clip)]
            for perturbation in perturbations
            for clip, ticks_T in enumerate(ticks_NT)
        ]
    )


def frame_order(perturbation: Perturbation, frames: int, *key: int) -> Ints:
    """Which frame of the plain clip stands at each place.

    A shuffle is drawn evenly from those that leave no frame in its place. A clip of one frame has
    none, and stays as it is.

    Args:
        perturbation: of the clip.
        frames: T.
        key: of the shuffle, integers.

    Returns:
        (T,) integers in [0, T).

    Example:
        >>> frame_order("still", 4).tolist(), frame_order("shuffled", 2, 0).tolist()
        ([2, 2, 2, 2], [1, 0])
    """
    order_T = np.arange(frames, dtype=np.int64)
    if perturbation == "still":
        return np.full_like(order_T, frames // 2)
    if perturbation == "reversed":
        return order_T[::-1].copy()
    if perturbation != "shuffled" or frames < 2:
        return order_T
    rng = numpy_rng(*key, FOR_SHUFFLE)
    while True:  # 1 in e draws is one, whatever the number of frames
        drawn_T = rng.permutation(order_T)
        if (drawn_T != order_T).all():
            return drawn_T


def repaint(clips_MCTHW: Tensor, perturbations: Sequence[Perturbation]) -> Tensor:
    """Blur what the perturbations want blurred; clips of other perturbations keep every bit.

    Args:
        clips_MCTHW: uint8, the rearranged clips of all perturbations.
        perturbations: what they show, in the order of :func:`rearrange`.

    Returns:
        uint8 of the same shape; the argument itself where no perturbation blurs.
    """
    if not any(name.endswith("blurred") for name in perturbations):
        return clips_MCTHW
    painted = []
    chunks = clips_MCTHW.chunk(len(perturbations))
    for perturbation, clips_NCTHW in zip(perturbations, chunks, strict=True):
        if perturbation == "background_blurred":
            clips_NCTHW = torch.where(moving(clips_NCTHW), clips_NCTHW, blurred(clips_NCTHW))
        elif perturbation == "foreground_blurred":
            clips_NCTHW = torch.where(moving(clips_NCTHW), blurred(clips_NCTHW), clips_NCTHW)
        painted.append(clips_NCTHW)
    return torch.cat(painted)


def moving(clips_NCTHW: Tensor) -> Tensor:
    """Where something moves: where a frame differs from the median of its clip over time.

    A heuristic. It takes the background for what most frames of the clip agree on, so the camera
    must stand still: where it pans or shakes, textured background counts as moving too, and in the
    end all does. An actor who stays in one place for most of the clip belongs to the background,
    and where nothing moves, everything does. The mask is coarse, and wider than what moves by about
    a thirtieth of the short side.

    Args:
        clips_NCTHW: uint8.

    Returns:
        Bool (N, 1, T, H, W).

    Example:
        >>> moving(torch.full((1, 3, 5, 64, 64), 7, dtype=torch.uint8)).any().item()
        False
    """
    N, _, T, H, W = clips_NCTHW.shape
    background_NC1HW = _median(clips_NCTHW)[:, :, None]
    change = torch.maximum(clips_NCTHW, background_NC1HW) - torch.minimum(
        clips_NCTHW, background_NC1HW
    )
    change_1HW = change.amax(dim=1).reshape(N * T, 1, H, W).float()
    cell = max(1, min(H, W) // CELLS)
    cells = F.avg_pool2d(change_1HW, cell, ceil_mode=True)  # a cell is less noisy than a pixel
    wide = F.max_pool2d((cells > CHANGE).float(), 2 * REACH + 1, stride=1, padding=REACH)
    mask = wide.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3)[..., :H, :W]
    return mask.reshape(N, 1, T, H, W) > 0


def blurred(clips_NCTHW: Tensor) -> Tensor:
    """The clips through a Gaussian with a tenth of the short side as its sigma, frame by frame.

    Args:
        clips_NCTHW: uint8.

    Returns:
        uint8 of the same shape.

    Example:
        >>> grey = torch.full((1, 3, 2, 40, 50), 100, dtype=torch.uint8)
        >>> bool((blurred(grey) == 100).all())
        True
    """
    H, W = clips_NCTHW.shape[-2:]
    factor = max(1, min(H, W) // BLURRED_SIDE)
    sigma = BLUR * min(H, W) / factor
    taps = 2 * round(3 * sigma) + 1
    blur = GaussianBlur(sigma=(sigma, sigma), kernel_size=taps, padding="replicate")
    out_NCTHW = torch.empty_like(clips_NCTHW, memory_format=torch.contiguous_format)
    for clip_CTHW, out_CTHW in zip(clips_NCTHW, out_NCTHW, strict=True):
        small = F.interpolate(to_float(clip_CTHW), (H // factor, W // factor), mode="area")
        large = F.interpolate(blur(small), (H, W), mode="bilinear", align_corners=False)
        out_CTHW.copy_(large.mul_(255).round_().clamp_(0, 255))
    return out_NCTHW


def _median(clips_NCTHW: Tensor) -> Tensor:
    """The median over time (N, C, H, W), of an even number the lower of the middle two.

    Sorts whole frames by exchanging neighbours: ten times faster than ``Tensor.median`` on uint8.
    """
    frames = list(clips_NCTHW.unbind(dim=2))
    for step in range(len(frames)):
        for t in range(step % 2, len(frames) - 1, 2):
            pair = frames[t], frames[t + 1]
            frames[t], frames[t + 1] = torch.minimum(*pair), torch.maximum(*pair)
    return frames[(len(frames) - 1) // 2]
