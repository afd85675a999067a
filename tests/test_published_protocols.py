"""Configs with a published number run the paper's protocol: constants of the official files."""

from pathlib import Path

import pytest

from cvrl.config import load_config
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
