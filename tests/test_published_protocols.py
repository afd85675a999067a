"""Configs with a published number run the paper's protocol: constants of the official files."""

import math
from pathlib import Path

import numpy as np
import pytest

from cvrl.config import load_config
from cvrl.data.clips import clip_indices, timeline
from cvrl.engine.build import build_recipe, clip_spec
from cvrl.engine.schedule import cosine_with_warmup
from cvrl.schema import TestConfig

CONFIGS = Path(__file__).parents[1] / "configs"
DATA = ["data.train=videos.csv"]

# CVRL's linear evaluation (tensorflow/models, video_ssl) and SlowFast's contrastive_ssl configs:
# ten clips, three crops of 256 pixels along the longer side of frames whose short side is 256.
TESTED_AT_256 = (
    "linear/k400_cvrl.yaml",
    "linear/k400_slowfast.yaml",
    "finetune/ucf101_rho_split1.yaml",
    "finetune/ucf101_split1.yaml",
    "finetune/hmdb51_split1.yaml",
)


@pytest.mark.parametrize("name", TESTED_AT_256)
def test_ten_clips_and_three_crops_of_256_pixels(name: str) -> None:
    config = load_config(CONFIGS / name, DATA)
    assert config.clip.size == 224
    assert config.test == TestConfig(clips=10, crops=3, size=256, short_side=None)


def test_a_config_that_promises_256_pixels_is_tested_at_256() -> None:
    for path in sorted(CONFIGS.rglob("*.yaml")):
        header = "".join(line for line in path.read_text().splitlines(True) if line[0] == "#")
        if "3 crops of 256 pixels" in header and path.parent.name != "base":
            assert load_config(path, DATA).test.size == 256, path


# CVRL's pre-training (cvrl_pretrain_k600_200ep.yaml and its code): peak 0.32 for a batch of
# 1024, a warm-up of 1787 of 71488 steps over which the cosine runs already, L2 term 1e-6 w^2 / 2
# beside the sum of the two directions of the loss, which is twice our mean.
@pytest.mark.parametrize("name", ["cvrl_r3d50_k400", "cvrl_r3d50_k400_800ep"])
def test_cvrl_pretrains_as_its_code(name: str) -> None:
    config = load_config(CONFIGS / "pretrain" / f"{name}.yaml", DATA)
    optim, train = config.optim, config.train
    assert (optim.lr, optim.reference_batch, train.batch_size) == (0.32, 1024, 1024)
    assert optim.weight_decay == 1e-6 / 2
    assert config.encoder.keywords["init"] == "cvrl" and optim.cosine_under_warmup
    steps, warm = 71_488, 1_787
    rate = cosine_with_warmup(0.32, steps, warm, under_warmup=True)
    expected = [0.16 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    expected[:warm] = [expected[warm] * step / warm for step in range(warm)]
    assert np.allclose(rate, expected, atol=1e-12)
    assert rate.max() == pytest.approx(0.3195, abs=1e-4)


# SlowFast trains probes and fine-tunes on crops of 224 pixels from a short side of 256 to 320
# (TRAIN_JITTER_SCALES, TRAIN_CROP_SIZE); with SSL_COLOR_JITTER grey comes before the jitter, which
# then has no probability.
@pytest.mark.parametrize("name", TESTED_AT_256[1:])
def test_crops_and_colours_of_slowfast(name: str) -> None:
    (ops,) = build_recipe(load_config(CONFIGS / name, DATA)).views
    assert (ops[0].size, ops[0].short_side) == (224, (256, 320))
    kinds = [type(op).__name__ for op in ops if op.p > 0]
    colours = ["Grayscale", "ColorJitter"] if name.startswith("finetune") else []
    normalise = ["Normalize"] if "slowfast" in name or "rho" in name else []
    assert kinds == ["RandomResizedCrop", "HorizontalFlip", *colours, *normalise]
    if colours:
        grey, jitter = ops[2], ops[3]
        assert (grey.p, jitter.p, jitter.brightness, jitter.contrast) == (0.2, 1.0, 0.4, 0.4)
        assert (jitter.saturation, jitter.hue) == (0.4, 0.1)


# SlowFast (slowfast/datasets/decoder.py): a clip of NUM_FRAMES = 8 at SAMPLING_RATE = 8 covers
# 8 * 8 / TARGET_FPS seconds of frames, TARGET_FPS = 30, from which 8 are taken by
# linspace(first, last, 8), rounded down.
def frames_of_slowfast(fps: float, first: float) -> np.ndarray:
    size = 8 * 8 / 30 * fps
    return np.floor(np.linspace(first, first + size - 1, 8)).astype(int)


@pytest.mark.parametrize("name", ["linear/k400_slowfast.yaml", "finetune/ucf101_rho_split1.yaml"])
@pytest.mark.parametrize("fps", [12.0, 15.0, 25.0, 29.97, 30.0, 50.0, 60.0])
def test_a_clip_of_slowfast_takes_the_frames_of_its_linspace(name: str, fps: float) -> None:
    spec = clip_spec(load_config(CONFIGS / name, DATA))
    shown_L = timeline(np.arange(600) / fps, spec.fps)
    ours = shown_L[clip_indices(30, spec, len(shown_L))]
    theirs = frames_of_slowfast(fps, float(ours[0]))
    seconds = (ours[-1] - ours[0]) / fps
    assert seconds == pytest.approx(2.1, abs=1 / fps)
    if fps == 30:
        assert ours.tolist() == theirs.tolist()
    # Theirs ends one frame of the video before the end of 64 steps, ours one step before.
    assert abs(ours - theirs).max() <= np.ceil(max(1.0, fps / 30))
