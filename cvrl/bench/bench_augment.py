"""CVRL's whole recipe on two decoded clips: this package against kornia and torchvision.

Peers get the same operations with the same ranges and probabilities, drawn once a clip, on one
thread. Draws and formulas differ from package to package, so outputs are held together where
nothing is random: the whole frame, resized, and no colour touched.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cvrl.bench.bench_loader import plan_visits
from cvrl.bench.common.peers import load, split_by_installed
from cvrl.bench.common.readers import plain_decode
from cvrl.bench.common.sample_video import write_film
from cvrl.bench.common.timing import Goal, Report, interleave, ratio
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import TrainDataset, read_clips
from cvrl.data.manifest import make_manifest
from cvrl.transforms import recipes
from cvrl.transforms.geometry import resize
from cvrl.utils.errors import UserError
from cvrl.video.reader import open_video
from cvrl.views.temporal_pair import TemporalPair

Augment = Callable[[Tensor], Tensor]
VIEWS = ((1.0, 0.0), (0.1, 0.2))  # probabilities of blur and solarising, of CVRL's two views
MOST_APART = 0.02  # mean distance of the resized frames, in [0, 1]: interpolations differ


def kornia_recipe(size: int, *, random: bool = True) -> Augment:
    """The recipe by kornia's VideoSequential, which works on float32 clips.

    Args:
        size: side of the clips.
        random: False resizes the whole frame and leaves colours alone.

    Returns:
        From uint8 (2, 3, T, H, W) to float32 (2, 3, T, size, size).
    """
    K: Any = load("kornia.augmentation")

    def view(blur: float, solarise: float) -> Any:
        if not random:
            return K.VideoSequential(K.Resize((size, size)), data_format="BCTHW")
        taps = 2 * (size // 20) + 1
        return K.VideoSequential(
            K.RandomResizedCrop((size, size), scale=(0.3, 1.0), ratio=(0.5, 2.0)),
            K.RandomHorizontalFlip(p=0.5),
            K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
            K.RandomGrayscale(p=0.2),
            K.RandomGaussianBlur((taps, taps), (0.1, 2.0), border_type="constant", p=blur),
            K.RandomSolarize(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=solarise),
            data_format="BCTHW",
            same_on_frame=True,
        )

    views = [view(*chances) for chances in VIEWS]

    def augment(clips_VCTHW: Tensor) -> Tensor:
        pairs = zip(views, clips_VCTHW, strict=True)
        return torch.cat([ops(clip[None].float().div_(255)) for ops, clip in pairs])

    return augment


def torchvision_recipe(size: int, *, dtype: torch.dtype, random: bool = True) -> Augment:
    """The recipe by torchvision's v2 transforms, one after the other.

    Args:
        size: side of the clips.
        dtype: uint8 works on whole levels up to the end, which is faster and coarser than float32.
        random: False resizes the whole frame and leaves colours alone.

    Returns:
        As :func:`kornia_recipe`.
    """
    v2: Any = load("torchvision.transforms.v2")
    taps = 2 * (size // 20) + 1

    def view(blur: float, solarise: float) -> Any:
        if not random:
            ops = [v2.Resize((size, size), antialias=False), v2.ToDtype(dtype, scale=True)]
            return v2.Compose([*ops, v2.ToDtype(torch.float32, scale=True)])
        jitter = v2.ColorJitter(0.8, 0.8, 0.8, 0.2)
        middle = 0.5 if dtype.is_floating_point else 128
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, (0.3, 1.0), (0.5, 2.0), antialias=False),
                v2.RandomHorizontalFlip(0.5),
                v2.ToDtype(dtype, scale=True),
                v2.RandomApply([jitter], 0.8),
                v2.RandomGrayscale(0.2),
                v2.RandomApply([v2.GaussianBlur(taps, (0.1, 2.0))], blur),
                v2.RandomSolarize(middle, solarise),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    views = [view(*chances) for chances in VIEWS]

    def augment(clips_VCTHW: Tensor) -> Tensor:
        clips_VTCHW = clips_VCTHW.transpose(1, 2)
        done = [ops(clip) for ops, clip in zip(views, clips_VTCHW, strict=True)]
        return torch.stack(done).transpose(1, 2)

    return augment


PEER_RECIPES: dict[str, dict[str, Callable[..., Augment]]] = {
    "kornia": {"kornia": kornia_recipe},
    "torchvision": {
        "torchvision float32": partial(torchvision_recipe, dtype=torch.float32),
        "torchvision uint8": partial(torchvision_recipe, dtype=torch.uint8),
    },
}


def check_alike(name: str, clips_VCTHW: Tensor, size: int, peer: Callable[..., Augment]) -> str:
    """Hold a peer's resized clips against ours, and its random ones against what clips are.

    Args:
        name: of the peer.
        clips_VCTHW: uint8.
        size: side of the result.
        peer: makes its recipe.

    Returns:
        How far they agree, in words.

    Raises:
        UserError: they do not.
    """
    ours = torch.stack([resize(clip, size, size, antialias=False) for clip in clips_VCTHW])
    distance = float((peer(size, random=False)(clips_VCTHW) - ours.float() / 255).abs().mean())
    drawn = peer(size)(clips_VCTHW)
    low, high = drawn.aminmax()
    said = f"{name}: resized frames differ by {distance:.4f} of 1 in the mean"
    if distance > MOST_APART or drawn.shape != ours.shape or low < -1e-4 or high > 1.0001:
        raise UserError(name, said, "its times would compare unequal work: leave it out")
    return said


def measure(
    *,
    runs: int,
    against: Sequence[str],
    seconds: float = 10.0,
    height: int = 256,
    width: int = 340,
    frames: int = 16,
    stride: int = 2,
    size: int = 112,
    samples: int = 8,
) -> Report:
    """Time the augmentation of samples.

    Args:
        runs: of each candidate.
        against: peers.
        seconds: length of the film whose decoding it is compared with.
        height: of the film, pixels.
        width: of the film.
        frames: of a clip.
        stride: of a clip.
        size: side of the augmented clips.
        samples: augmented a run, each with draws of its own.

    Raises:
        UserError: a peer does other work.
    """
    here, absent = split_by_installed([name for name in against if name in PEER_RECIPES])
    with tempfile.TemporaryDirectory() as place:
        film = write_film(Path(place) / "film.mp4", seconds=seconds, size=(height, width))
        recipe = recipes.cvrl(size)
        views = TemporalPair(ClipSpec(frames=frames, stride=stride))
        data = TrainDataset(make_manifest({"path": [str(film)]}, root="/"), views, recipe, seed=0)
        visits = plan_visits(data, samples)
        with open_video(film) as video:
            clips = [read_clips(video, frames_VT) for frames_VT in visits.frames]
        peers = {name: peer for one in here for name, peer in PEER_RECIPES[one].items()}
        notes = [check_alike(name, clips[0], size, peer) for name, peer in peers.items()]
        candidates: dict[str, Callable[[], object]] = {
            "decode": partial(visits.read, plain_decode),
            "cvrl": partial(_each_drawn, recipe, clips),
        }
        for name, peer in peers.items():
            candidates[name] = partial(_each, peer(size), clips)
        timings = interleave(candidates, runs=runs)

    def times(name: str) -> float | None:
        return ratio(timings, name, "cvrl") if name in timings else None

    goals = [
        Goal("augmentation / plain decode", ratio(timings, "cvrl", "decode"), 0.15, "at most"),
        Goal("kornia / cvrl", times("kornia"), 2.0, "at least"),
        Goal("torchvision in float32 / cvrl", times("torchvision float32"), 1.5, "at least"),
        Goal("torchvision in uint8 / cvrl", times("torchvision uint8"), 1.5, "at least"),
    ]
    facts = {
        "clips": f"2 of {frames} frames, {width}x{height} to {size}x{size}",
        "samples": samples,
        "threads": 1,
    }
    return Report("augment", timings, goals, facts, absent, notes)


def _each(augment: Augment, clips: Sequence[Tensor]) -> None:
    for seed, clips_VCTHW in enumerate(clips):
        torch.manual_seed(seed)
        augment(clips_VCTHW)


def _each_drawn(recipe: recipes.Recipe, clips: Sequence[Tensor]) -> None:
    for seed, clips_VCTHW in enumerate(clips):
        recipe(clips_VCTHW, torch.Generator().manual_seed(seed))
