"""A small library of real (if tiny) videos and a small encoder, shared by the evaluation tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest, make_manifest, read_manifest
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.transforms import recipes


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
