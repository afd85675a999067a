"""Every small config trains for 20 steps through the command, on real files."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cvrl.config import load_config
from cvrl.pretrained import load_encoder

ROOT = Path(__file__).parents[2]
PLACES = ("pretrain/*_small.yaml", "finetune/small*.yaml", "linear/small*.yaml")
FILES = sorted(file for place in PLACES for file in (ROOT / "configs").glob(place))
CONFIGS = {load_config(file, ["data.train=videos"]).name: file for file in FILES}
# Memories are as large as the data of the config; here there are twelve videos.
OWN = {
    "moco_small": ["method.queue=16"],
    "memory_bank_small": ["method.negatives_drawn=8"],
    "pirl_small": ["method.negatives_drawn=8"],
    "tcn_small": ["data.hold_out=0", "views.moments=2"],
    "tcn_single_small": ["views.clips=16"],
}


@pytest.fixture(scope="module")
def events(tmp_path_factory, video_folder):
    """Six events of two films each."""
    folder = tmp_path_factory.mktemp("events")
    down, right = (sorted((video_folder / name).iterdir()) for name in ("down", "right"))
    for number, films in enumerate(zip(down, right, strict=True)):
        for camera, film in enumerate(films):
            (folder / f"event{number}").mkdir(exist_ok=True)
            shutil.copy(film, folder / f"event{number}" / f"cam{camera}.mp4")
    return folder


@pytest.fixture(scope="module")
def humming(tmp_path_factory, make_video):
    """Twelve videos of two seconds, each with a tone."""
    folder = tmp_path_factory.mktemp("humming")
    for number in range(12):
        tone = np.sin(2 * np.pi * 200 * (1 + number) * np.arange(32_000) / 16_000)
        make_video(folder / f"{number}.mp4", 50, sound=(0.5 * tone).astype(np.float32))
    return folder


@pytest.fixture(autouse=True)
def threads():
    """The configs set one thread for their process, which here is everybody's."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_small_config_trains_for_20_steps(
    name, video_folder, events, humming, tmp_path, monkeypatch
):
    sources = {"tcn_small": events, "cross_modal_small": humming}
    source = sources.get(name, video_folder)
    command = [str(ROOT / "tools" / "train_net.py")]
    command += ["--config", str(CONFIGS[name])]
    command += [f"data.train={source}", f"output={tmp_path / 'run'}", "train.steps=20"]
    command += ["train.batch_size=4", "clip.upscale=true", "data.cache_dir=null"]
    command += ["data.workers=0", "eval.every_epochs=0", "log.tensorboard=false"]
    monkeypatch.setattr(sys, "argv", [*command, *OWN.get(name, [])])
    runpy.run_path(command[0], run_name="__main__")  # the command, without importing torch again
    assert load_encoder(tmp_path / "run").spec["name"] == "r3d_small"
