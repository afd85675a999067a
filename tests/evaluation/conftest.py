"""A small library of real (if tiny) videos and a small encoder, shared by the evaluation tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest, make_manifest, read_manifest
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.transforms import recipes

CLASSES = {"blue": (20, 20, 220), "green": (20, 200, 20), "red": (220, 30, 30)}
VIDEOS_A_CLASS = 6


def write_video(folder: Path, colour: tuple[int, int, int], frames: int, seed: int) -> None:
    """A folder of frames: one colour, with a texture that drifts and tells the video apart."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    texture = rng.integers(-20, 20, size=(36, 80, 3))
    for i in range(frames):
        frame = np.clip(np.array(colour) + texture[:, i : i + 40], 0, 255).astype(np.uint8)
        Image.fromarray(frame).save(folder / f"{i:03d}.png")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class, six videos a class of 9 to 14 frames."""
    root = tmp_path_factory.mktemp("library")
    for c, (name, colour) in enumerate(CLASSES.items()):
        for i in range(VIDEOS_A_CLASS):
            write_video(root / name / f"v_{name}_g{i:02d}_c01", colour, 9 + i, seed=100 * c + i)
    return root


@pytest.fixture
def videos(library: Path) -> Manifest:
    return read_manifest(library)


@pytest.fixture
def with_a_bad_video(library: Path, tmp_path: Path) -> Manifest:
    """The first four videos of the library with a broken one in third place."""
    bad = tmp_path / "broken.mp4"
    bad.write_text("this is no video")
    paths = read_manifest(library).paths[:4]
    return make_manifest({"path": [*paths[:2], str(bad), *paths[2:]]}, root="/")


@pytest.fixture
def encoder() -> Encoder:
    """A small encoder with everything ``load_encoder`` would have filled in."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build_encoder("r3d_small", width=4)
        made.projector = torch.nn.Linear(made.dim, 6)
    made.clip = ClipSpec(frames=8, stride=1)
    made.size = 32
    made.preprocess = recipes.evaluation(32)
    return made.eval()


@pytest.fixture
def dataset_of(encoder: Encoder) -> Callable[..., EvalDataset]:
    def build(manifest: Manifest, clips: int = 2) -> EvalDataset:
        assert encoder.preprocess is not None
        return EvalDataset(manifest, encoder.clip, clips, encoder.preprocess)

    return build
