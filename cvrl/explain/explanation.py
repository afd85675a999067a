"""Draw Grad-CAM heat maps: the video beside the video with its heat map, and a strip of frames.

Shapes: L ticks of the video, C channels (RGB), H W pixels, h w cells of the heat map; S is the side
of the centre crop that the network sees, as drawn.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from cvrl.data.clips import timeline
from cvrl.data.dataset import VideoReader
from cvrl.evaluation.features.extraction import evaluating
from cvrl.explain.grad_cam import (
    Heat,
    along,
    class_logit,
    class_number,
    feature_of_video,
    heat_of_video,
)
from cvrl.models.backbones import Encoder
from cvrl.models.heads import ClassHead
from cvrl.report.contact_sheet import contact_sheet
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.utils.log import track
from cvrl.video.encode import write_mp4
from cvrl.video.frame_cache import FrameSource

READER = VideoReader()
SIDE = 256  # pixels of the square, even
TOP, BAR, GAP = 28, 24, 4  # title line, heat over time, and the gap between the squares
STRENGTH = 0.7  # opacity of the colour at the maximum
COLOURS = "turbo"
HOTTEST = 0.88  # maximum of the colour map that is used; beyond it darkens
FRAMES_A_BLOCK = 32
STRIP_FRAMES = 8
PAPER, INK, PALE_INK, FAINT = (255, 255, 255), (30, 30, 30), (110, 110, 110), (215, 215, 215)


def explain(
    encoder: Encoder,
    head: ClassHead | None,
    path: str,
    *,
    class_name: str | None = None,
    like: str | None = None,
    stage: str | None = None,
    reader: VideoReader = READER,
) -> Heat:
    """Compute the Grad-CAM heat map of a video for a class or a reference video.

    Args:
        encoder: from ``load_encoder``.
        head: its classifier, or None.
        path: of the video.
        class_name: class to explain; None for the predicted class. Needs a classifier.
        like: explain the similarity to this video instead.
        stage: res2 to res5; earlier stages are finer and less specific. None for the last stage
            with at least 4 x 4 cells.
        reader: opens the files.

    Returns:
        The heat map. Without a classifier and without ``like`` it explains the video's mean
        feature.

    Raises:
        UserError: an unknown class or stage, or a class without a classifier.
        CorruptVideoError: a video cannot be decoded.

    Example:
        >>> from cvrl.models.backbones import build_encoder
        >>> explain(build_encoder("r3d_small", width=2), None, "a.mp4", class_name="run")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: class run: the model has no classifier; omit the class
    """
    if class_name is not None and (head is None or like is not None):
        reason = (
            "the model has no classifier"
            if head is None
            else "cannot be combined with another video"
        )
        raise UserError(f"class {class_name}", reason, "omit the class")
    if head is None or like is not None:
        reference_D = feature_of_video(encoder, like or path, reader).mean(dim=0)
        words = f"similarity to {Path(like).name}" if like else "mean feature"
        target = along(reference_D)
    else:
        number = None if class_name is None else class_number(head.class_names, class_name)
        with evaluating(head), torch.no_grad():
            chances_NK = head.probabilities(feature_of_video(encoder, path, reader))
        mean_K = chances_NK.mean(dim=0)
        number = int(mean_K.argmax()) if number is None else number
        words = f"class {head.class_names[number]} ({100 * mean_K[number]:.0f} %)"
        target = class_logit(head, number)
    return heat_of_video(encoder, path, target, words, stage=stage, reader=reader)


def write_explanation(
    encoder: Encoder,
    path: str,
    heat: Heat,
    output: str | os.PathLike[str],
    *,
    side: int = SIDE,
    reader: VideoReader = READER,
) -> list[Path]:
    """Draw a video beside the video with its heat map, and the heat over time below.

    The centre crop that the network sees is drawn, enlarged.

    Args:
        encoder: the explained encoder.
        path: of the video.
        heat: heat map of this video.
        output: the MP4; a PNG strip of frames is written beside it.
        side: of the square in pixels, even.
        reader: opens the files.

    Returns:
        The MP4 and the PNG. The MP4 has a frame per tick and is 2 * side + 4 pixels wide.

    Raises:
        UserError: the output does not end in ``.mp4``.
        CorruptVideoError: the video cannot be decoded.
    """
    output = Path(output)
    with reader.open(path, encoder.clip) as video:
        rate = encoder.clip.fps or video.fps
        ticks = np.arange(len(heat.map_Lhw))
        pairs = _drawn(video, encoder, heat, ticks, side)
        frames = _canvases(track(pairs, len(ticks), "drawing", unit="frames"), heat, side)
        write_mp4(output, frames, rate)
        some = np.unique(np.linspace(0, len(ticks) - 1, STRIP_FRAMES).round().astype(np.int64))
        seen, hot = zip(*_drawn(video, encoder, heat, some, side // 2), strict=True)
    rows = [np.stack(row).transpose(3, 0, 1, 2)[None] for row in (seen, hot)]
    strip = output.with_suffix(".png")
    contact_sheet(rows, [Path(path).name, heat.words], strip, frames=STRIP_FRAMES)
    return [output, strip]


def overlay(frame_HWC: NDArray[np.uint8], heat_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blend a heat map over a frame; a heat of 0 leaves the pixel unchanged.

    Args:
        frame_HWC: RGB.
        heat_HW: in [0, 1].

    Example:
        >>> frame = np.full((2, 2, 3), 90, np.uint8)
        >>> bool((overlay(frame, np.zeros((2, 2), np.float32)) == frame).all())
        True
    """
    from matplotlib import colormaps

    colour_HWC = colormaps[COLOURS](HOTTEST * heat_HW)[..., :3] * 255
    share_HW1 = STRENGTH * heat_HW[..., None]
    mixed_HWC = (1 - share_HW1) * frame_HWC + share_HW1 * colour_HWC
    return np.asarray(mixed_HWC.round(), dtype=np.uint8)


def _drawn(
    video: FrameSource, encoder: Encoder, heat: Heat, ticks: NDArray[np.int64], side: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield for each tick the centre crop (S, S, 3) and the crop with its heat map."""
    square = recipes.evaluation(side)
    shown_L = timeline(video.times, encoder.clip.fps)
    for first in range(0, len(ticks), FRAMES_A_BLOCK):
        block = ticks[first : first + FRAMES_A_BLOCK]
        frames = torch.from_numpy(np.ascontiguousarray(video.frames(shown_L[block])))
        seen_CTHW = square(frames.permute(3, 0, 1, 2))
        seen = seen_CTHW.mul(255).round().byte().permute(1, 2, 3, 0).numpy()
        maps_T1hw = torch.from_numpy(heat.map_Lhw[block])[:, None]
        fine = F.interpolate(maps_T1hw, (side, side), mode="bilinear", align_corners=False)
        for frame_HWC, heat_HW in zip(seen, fine[:, 0].numpy(), strict=True):
            yield frame_HWC, overlay(frame_HWC, heat_HW)


def _canvases(
    pairs: Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]], heat: Heat, side: int
) -> Iterator[NDArray[np.uint8]]:
    """Frames of the MP4: titles, two squares, and the heat over time with a cursor."""
    width = 2 * side + GAP
    page = Image.new("RGB", (width, TOP + side + BAR), PAPER)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=13)
    for left, text in ((6, "input of the network"), (side + GAP + 6, heat.words)):
        while draw.textlength(text, font=font) > side - 12:
            text = text[:-2].rstrip("…") + "…"
        draw.text((left, 6), text, font=font, fill=INK)
    canvas_HWC = np.array(page)
    canvas_HWC[TOP + side :] = _time_bar(heat, width)
    ticks = len(heat.map_Lhw)
    for tick, (seen, hot) in enumerate(pairs):
        frame_HWC = canvas_HWC.copy()
        frame_HWC[TOP : TOP + side, :side] = seen
        frame_HWC[TOP : TOP + side, side + GAP :] = hot
        cursor = round(tick / max(ticks - 1, 1) * (width - 2))
        frame_HWC[TOP + side :, cursor : cursor + 2] = INK
        yield frame_HWC


def _time_bar(heat: Heat, width: int) -> NDArray[np.uint8]:
    """Draw the mean heat over time as a filled curve (BAR, width, 3), scaled to its peak."""
    over_L = heat.over_time_L / max(float(heat.over_time_L.max()), 1e-12)
    ticks = np.arange(len(over_L))
    level_W = np.interp(np.linspace(0, max(len(over_L) - 1, 0), width), ticks, over_L)
    height_H1 = np.arange(BAR, 0, -1)[:, None] / BAR
    bar_HWC = np.full((BAR, width, 3), PAPER, np.uint8)
    bar_HWC[height_H1 <= level_W] = FAINT
    page = Image.fromarray(bar_HWC)
    font = ImageFont.load_default(size=11)
    ImageDraw.Draw(page).text((6, 6), "heat over time", font=font, fill=PALE_INK)
    return np.array(page)
