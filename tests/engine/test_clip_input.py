"""What the encoder is fed travels from pre-training through every later use of the encoder."""

import logging
from pathlib import Path

import pytest
import torch

from cvrl.config import Config, DataConfig
from cvrl.data.splits import read_splits
from cvrl.engine import build
from cvrl.engine.trainer import train
from cvrl.evaluation.evaluate import Options, evaluate
from cvrl.models.inputs import Residual
from cvrl.pretrained import input_of, load_encoder


def config_of(videos: Path, output: Path, **clip: object) -> Config:
    """Two steps of a tiny network."""
    config = Config(data=DataConfig(train=str(videos)), output=str(output))
    config.augment.name, config.encoder.name = "light", "r3d_small"
    config.encoder.keywords = {"width": 2}
    config.clip.frames, config.clip.stride, config.clip.size = 8, 1, 32
    for key, value in clip.items():
        setattr(config.clip, key, value)
    config.method.keywords = {"hidden": 8, "hidden_layers": 1, "dim": 8}
    config.train.steps, config.train.batch_size, config.train.threads = 2, 4, 1
    config.optim.name, config.optim.lr, config.optim.warmup_epochs = "adamw", 1e-3, 0.0
    config.data.workers, config.eval.every_epochs, config.log.tensorboard = 0, 0, False
    return config


@pytest.fixture(scope="module")
def run(video_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run pre-trained on frame differences, with black bars cut off."""
    output = tmp_path_factory.mktemp("runs") / "residual"
    return train(config_of(video_folder, output, input="residual", crop_bars=True, upscale=True))


def encoder_built_by(config: Config) -> torch.nn.Module:
    data = build.build_data(config)
    schedule = build.build_schedule(config, len(data.train))
    return build.build_task(config, data, schedule, build.build_views(config)).encoder


def test_the_model_keeps_what_it_was_fed(run: Path) -> None:
    encoder = load_encoder(run)
    assert input_of(run) == encoder.spec["input"] == "residual"
    assert encoder.clip.crop_bars
    still = torch.rand(1, 3, 1, 32, 32).expand(-1, -1, 8, -1, -1)
    assert torch.equal(encoder(still), encoder(torch.zeros_like(still)))


def test_fine_tuning_feeds_what_pre_training_fed(
    run: Path, video_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(video_folder, tmp_path / "tuned")
    config.encoder.weights = str(run)
    with caplog.at_level(logging.WARNING):
        encoder = encoder_built_by(config)
    assert isinstance(encoder.input, Residual)
    assert not [r for r in caplog.records if "clip.input" in r.message]


def test_another_input_than_the_weights_had_is_warned_of(
    run: Path, video_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(video_folder, tmp_path / "tuned", input="rgb")
    config.encoder.weights = str(run)
    with caplog.at_level(logging.WARNING):
        encoder = encoder_built_by(config)
    assert isinstance(encoder.input, torch.nn.Identity)
    assert f"{run} was trained with clip.input=residual, not rgb" in caplog.text


def test_without_weights_it_is_rgb(video_folder: Path, tmp_path: Path) -> None:
    encoder = encoder_built_by(config_of(video_folder, tmp_path / "new"))
    assert "input" not in encoder.spec and isinstance(encoder.input, torch.nn.Identity)


@pytest.mark.parametrize("name", ["derivatives", "alternating"])
def test_training_takes_every_input(name: str, video_folder: Path, tmp_path: Path) -> None:
    folder = train(config_of(video_folder, tmp_path / name, input=name))
    assert load_encoder(folder).spec["input"] == name


def test_the_card_and_the_random_init_row_are_of_the_same_input(
    run: Path, video_folder: Path
) -> None:
    encoder = load_encoder(run)
    splits = read_splits(str(video_folder), hold_out=0.4, seed=0)
    card = evaluate(encoder, splits, ["knn"], Options(clips_per_video=1))[0].card
    assert card.encoder["input"] == "residual" and card.crop_bars
    assert build.build_encoder(**card.encoder).spec == encoder.spec
