"""Contact sheet: the clips of some videos side by side in one PNG.

A row per video: frames of clip A, then of clip B; a single clip has no letter. Shapes: V clips of
one video, C = 3 channels, T frames, H W pixels.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset
from cvrl.data.manifest import Manifest
from cvrl.data.sampler import Visit
from cvrl.report.training_pairs import as_levels
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.views.temporal_pair import TemporalPair

MARGIN = 12
LINE = 18
GAP = 2
INK = (30, 30, 30)
FAINT = (110, 110, 110)
PAPER = (255, 255, 255)


def contact_sheet(
    clips: Sequence[ArrayLike],
    titles: Sequence[str],
    path: str | os.PathLike[str],
    *,
    frames: int = 6,
    caption: str = "",
) -> None:
    """Draw clips of videos as PNG: a row per video, clips A, B ... from left to right.

    Args:
        clips: for each video (V, C, T, H, W), uint8 or floats in [0, 1], as array or tensor; sizes
            may differ.
        titles: a line above each row.
        path: the PNG, written atomically.
        frames: maximum number of frames per clip, evenly spaced.
        caption: a line at the top.

    Raises:
        ValueError: no clips, a different number of titles, a wrong shape, or floats outside [0, 1].

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/sheet.png"
        >>> contact_sheet([np.zeros((2, 3, 16, 32, 32), np.uint8)], ["a.mp4"], path)
        >>> with Image.open(path) as sheet:
        ...     sheet.size
        (440, 92)
    """
    if not clips or len(clips) != len(titles):
        raise ValueError(f"{len(clips)} videos with {len(titles)} titles do not match")
    rows = [_row(_as_pictures(one), frames) for one in clips]
    top = MARGIN + (LINE + MARGIN if caption else 0)
    width = 2 * MARGIN + max(row.width for row in rows)
    height = top + sum(row.height + LINE + MARGIN for row in rows)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    if caption:
        _write(draw, (MARGIN, MARGIN), caption, width, FAINT)
    for row, title in zip(rows, titles, strict=True):
        _write(draw, (MARGIN, top), title, width)
        sheet.paste(row, (MARGIN, top + LINE))
        top += row.height + LINE + MARGIN
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def draw_pairs(
    manifest: Manifest,
    path: str | os.PathLike[str],
    *,
    videos: int = 8,
    spec: ClipSpec | None = None,
    size: int = 112,
    seed: int = 0,
    dataset: TrainDataset | None = None,
) -> None:
    """Draw the pairs that CVRL would be trained on: sampled in time, augmented.

    Args:
        manifest: the videos.
        path: the PNG.
        videos: how many at most, spread over the list.
        spec: the shape of a clip; None is 16 frames at stride 2.
        size: side of the augmented clips in pixels.
        seed: of interval, starts and augmentation.
        dataset: training samples of a config to draw instead of CVRL's, augmented on the worker;
            spec, size and seed are then not used.

    Raises:
        UserError: the manifest is empty.
        CorruptVideoError: too few of the videos can be read.

    Example:
        >>> from cvrl.data.manifest import read_manifest
        >>> draw_pairs(read_manifest("videos"), "sheet.png")  # doctest: +SKIP
    """
    if not len(manifest):
        raise UserError(manifest.source, "no videos to draw", "give a list that names some")
    if dataset is None:
        spec = spec or ClipSpec(frames=16, stride=2)
        dataset = TrainDataset(manifest, TemporalPair(spec), recipes.cvrl(size), seed=seed)
    chosen = np.unique(np.linspace(0, len(manifest) - 1, min(videos, len(manifest))).astype(int))
    samples = [dataset[Visit(0, int(row))] for row in chosen]
    titles = [_title(manifest.row(one.video_id), one.time_V.tolist()) for one in samples]
    n_clips, _, n_frames = samples[0].clips_VCTHW.shape[:3]
    stride = dataset.views.spec.stride
    caption = f"{n_clips} clips of {n_frames} frames at stride {stride}, after augmentation"
    clips = [as_levels(sample.clips_VCTHW, dataset.crop.normalised) for sample in samples]
    contact_sheet(clips, titles, path, caption=caption)


def _title(entry: dict[str, Any], starts: Sequence[float]) -> str:
    label = f"{entry['label']}   " if entry["label"] is not None else ""
    times = "   ".join(f"{chr(65 + v)} from {start:.2f} s" for v, start in enumerate(starts))
    return f"{label}{os.path.basename(entry['path'])}   {times}"


def _as_pictures(clips: ArrayLike) -> NDArray[np.uint8]:
    """Convert clips to (V, T, H, W, 3) uint8."""
    clips_VCTHW = np.asarray(clips)
    if clips_VCTHW.ndim != 5 or clips_VCTHW.shape[1] != 3 or not clips_VCTHW.size:
        raise ValueError(f"clips of a video are (V, 3, T, H, W), not {clips_VCTHW.shape}")
    if clips_VCTHW.dtype != np.uint8:
        low, high = float(clips_VCTHW.min()), float(clips_VCTHW.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ValueError(f"clips lie in [{low:.2f}, {high:.2f}], not in [0, 1]; undo Normalize")
        clips_VCTHW = np.rint(clips_VCTHW.clip(0, 1) * 255).astype(np.uint8)
    return clips_VCTHW.transpose(0, 2, 3, 4, 1)


def _row(clips_VTHWC: NDArray[np.uint8], frames: int) -> Image.Image:
    """Draw the clips of one video side by side, with letters if there are several."""
    n_clips, n_frames, height, width, _ = clips_VTHWC.shape
    shown = np.unique(np.linspace(0, n_frames - 1, min(frames, n_frames)).round().astype(int))
    clip_width = len(shown) * (width + GAP) - GAP
    head = LINE if n_clips > 1 else 0
    size = (n_clips * (clip_width + MARGIN) - MARGIN, height + head)
    row = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(row)
    for v, clip_THWC in enumerate(clips_VTHWC):
        left = v * (clip_width + MARGIN)
        if head:
            _write(draw, (left, 0), f"clip {chr(65 + v)}", size[0], FAINT)
        for place, t in enumerate(shown):
            picture = Image.fromarray(np.ascontiguousarray(clip_THWC[t]))
            row.paste(picture, (left + place * (width + GAP), head))
    return row


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    width: int,
    colour: tuple[int, int, int] = INK,
) -> None:
    """Write one line, cut at the edge of the sheet."""
    font = ImageFont.load_default(size=12)
    room = width - place[0] - MARGIN
    while text and draw.textlength(text, font=font) > room:
        text = text[:-2].rstrip("…") + "…" if len(text) > 2 else ""
    draw.text(place, text, font=font, fill=colour)
