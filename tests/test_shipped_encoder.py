"""The encoder that comes with the package: small, whole, the one of the model card, and usable."""

import hashlib
import re
from pathlib import Path

import pytest
import torch

from cvrl import load_encoder
from cvrl.config import load_config
from cvrl.pretrained import (
    SHIPPED,
    input_of,
    load_with_head,
    model_file,
    save_model,
)
from cvrl.run import Run
from cvrl.utils.errors import UserError

ROOT = Path(__file__).parents[1]
CARD = (ROOT / "docs" / "cvrl_small.md").read_text(encoding="utf-8")
FILE = SHIPPED / "cvrl_small.safetensors"


def test_it_is_at_most_eight_megabytes_and_the_one_of_the_card() -> None:
    data = FILE.read_bytes()
    assert len(data) <= 8_000_000
    assert f"`{hashlib.sha256(data).hexdigest()}`" in CARD


def test_it_loads_by_name_with_what_the_card_says() -> None:
    encoder = load_encoder("cvrl_small")
    assert not encoder.training
    assert (encoder.clip.frames, encoder.clip.stride, encoder.size) == (8, 3, 48)
    assert encoder.dim == 128 and input_of("cvrl_small") == "residual"
    assert load_with_head("cvrl_small")[1] is None
    clips = torch.randint(0, 256, (2, 3, 8, 60, 80), dtype=torch.uint8)
    features = encoder(encoder.preprocess(clips))
    assert features.shape == (2, 128) and torch.isfinite(features).all()
    assert not torch.allclose(features[0], features[1])


def test_the_commands_of_the_card_exist() -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    made_by = CARD.split("## What it is worth")[0]
    commands = re.findall(r"^python .+$", made_by, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert command.replace("python", "$(PY)", 1) in make
        assert (ROOT / command.split()[1]).exists()
    config = load_config(ROOT / "configs" / "pretrain" / "people_small.yaml")
    encoder = load_encoder("cvrl_small")
    assert config.clip.frames == encoder.clip.frames and config.clip.size == encoder.size
    assert config.clip.stride == encoder.clip.stride and config.clip.crop_bars
    assert config.data.train == "runs/people/manifest.csv"


def test_a_file_or_a_run_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_encoder("cvrl_small")
    monkeypatch.chdir(tmp_path)
    Path("cvrl_small").mkdir()
    with pytest.raises(UserError, match=r"cvrl_small: holds no model.safetensors"):
        load_encoder("cvrl_small")
    save_model("cvrl_small/model.safetensors", shipped, clip=shipped.clip, size=64)
    assert load_encoder("cvrl_small").size == 64
    with pytest.raises(UserError, match=r"cvrl_large: holds no model.safetensors"):
        model_file("cvrl_large")


def test_it_is_scored_by_name(
    video_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (result,) = Run("cvrl_small").evaluate(
        "knn", train=video_folder, hold_out=0.34, device="cpu", workers=0
    )
    assert 0 <= result.row("trained").scores["top1"] <= 1
    assert (tmp_path / "runs" / "shipped" / "cvrl_small" / "eval" / "knn.json").exists()
    assert [file.name for file in SHIPPED.iterdir()] == [FILE.name]
