"""The views of a test, 10 clips by 3 crops: decoded once for all, against each view by itself.

Each view by itself is how SlowFast's test loader reads: thirty items of the data set are thirty
views of a video, and every item opens the file and decodes its clip.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cvrl.bench.common.readers import plain_decode
from cvrl.bench.common.sample_video import write_film
from cvrl.bench.common.timing import Goal, Report, interleave, ratio
from cvrl.data.clips import ClipSpec, clip_indices, spread_starts
from cvrl.data.dataset import VideoReader
from cvrl.data.manifest import make_manifest
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.prediction.view_stream import PIECE_BYTES, Lens, ViewStream
from cvrl.transforms import recipes
from cvrl.transforms.crops import crops_of
from cvrl.transforms.geometry import cut_box
from cvrl.utils.errors import UserError

CPU = torch.device("cpu")


def all_at_once(path: Path, lens: Lens, clips: int) -> list[Tensor]:
    """The views by this package: (R, C, T, S, S) of each clip in turn.

    Args:
        path: the video.
        lens: shape of clips, and crops.
        clips: how many.
    """
    manifest = make_manifest({"path": [str(path)]}, root="/")
    stream = ViewStream(manifest, [lens], ClipChoice(clips=clips), reader=VideoReader())
    views: list[Tensor] = []
    for piece in stream:
        assert not isinstance(piece, ValueError)  # the film is whole
        views += piece.seen[0].views(lens.crops, CPU)
    return views


def one_by_one(path: Path, lens: Lens, clips: int, length: int) -> list[Tensor]:
    """The same views, each from a decode of its own, by PyAV's plain loop.

    Args:
        path: the video.
        lens: shape of clips, and crops.
        clips: how many.
        length: frames of the video.
    """
    views = []
    for start in spread_starts(length, lens.spec, clips):
        indices_T = clip_indices(int(start), lens.spec, length)
        crops = []
        for crop in range(lens.crops.number):
            unique, place_T = np.unique(indices_T, return_inverse=True)
            frames_THWC = torch.from_numpy(plain_decode(str(path), unique.tolist())[place_T])
            small_CTHW = lens.crops.shrink(frames_THWC.permute(3, 0, 1, 2))
            channels, frames, height, width = small_CTHW.shape
            boxes = lens.crops.boxes((channels, frames, height, width))
            crops.append(lens.crops.after(cut_box(small_CTHW, boxes[crop])))
        views.append(torch.stack(crops))
    return views


def measure(
    *,
    runs: int,
    against: Sequence[str] = (),
    seconds: float = 10.0,
    height: int = 256,
    width: int = 340,
    frames: int = 16,
    stride: int = 2,
    size: int = 112,
    clips: int = 10,
) -> Report:
    """Time the views of one video.

    Args:
        runs: of each candidate.
        against: peers; none reads like this.
        seconds: length of the film.
        height: of the film, pixels.
        width: of the film.
        frames: of a clip.
        stride: of a clip.
        size: side of a crop.
        clips: of the video, with three crops each.

    Raises:
        UserError: the two ways give unequal views.
    """
    spec = ClipSpec(frames=frames, stride=stride)
    lens = Lens(spec, crops_of(recipes.evaluation(size), number=3))
    length = round(seconds * 25)
    with tempfile.TemporaryDirectory() as place:
        film = write_film(Path(place) / "film.mp4", seconds=seconds, size=(height, width))
        candidates: dict[str, Callable[[], object]] = {
            "decoded once": lambda: all_at_once(film, lens, clips),
            "each view apart": lambda: one_by_one(film, lens, clips, length),
        }
        pairs = zip(
            all_at_once(film, lens, clips), one_by_one(film, lens, clips, length), strict=True
        )
        if not all(torch.equal(ours, theirs) for ours, theirs in pairs):
            raise UserError("views", "the two ways give unequal views", "report this film's size")
        timings = interleave(candidates, runs=runs, warm_up=0)
    starts_N = spread_starts(length, spec, clips)
    asked = np.unique([clip_indices(int(start), spec, length) for start in starts_N])
    share = ratio(timings, "decoded once", "each view apart")
    facts = {
        "views": f"{clips} clips of {frames} frames by 3 crops of {size}",
        "film": f"{width}x{height}, {seconds:g} s",
        "threads": 1,
        "MB of decoded frames held": round(len(asked) * height * width * 3 / 1e6, 1),
        "at most": round(PIECE_BYTES / 1e6),
    }
    goal = Goal("10 x 3 views decoded once / each apart", share, 0.15, "at most")
    return Report("views", timings, [goal], facts, notes=["the two ways give equal views"])
