"""One list with some labels serves training, evaluation, fine-tuning, testing and prediction."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvrl.data.manifest import read_manifest

ROOT = Path(__file__).parents[2]
TINY = """
encoder: {name: r3d_small, width: 2}
clip: {frames: 8, stride: 1, size: 32}
augment: {name: light}
train: {steps: 2, batch_size: 4, threads: 1}
optim: {name: adamw, lr: 1e-3, warmup_epochs: 0}
data: {workers: 0}
log: {tensorboard: false}
eval: {every_epochs: 0}
"""


@pytest.fixture(scope="module", params=["csv", "list"])
def mixed(request, video_folder, tmp_path_factory):
    """The twelve videos, a third of them without a label; a CSV also says who is tested."""
    videos = read_manifest(video_folder)
    file = tmp_path_factory.mktemp("mixed") / f"videos.{'csv' if request.param == 'csv' else 'txt'}"
    lines = ["path,label,split"] if request.param == "csv" else []
    for row, path in enumerate(videos.paths):
        label = "" if row % 3 == 0 else videos.class_names[videos.label_ids[row]]
        split = "test" if row % 2 else "train"
        lines.append(f"{path},{label},{split}" if request.param == "csv" else f"{path} {label}")
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    """Run a tool in a folder of its own that holds ``tiny.yaml``."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY)

    def run(name, *arguments):
        command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *map(str, arguments)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    run.folder = folder
    return run


@pytest.mark.slow
def test_one_list_goes_through_every_command(mixed, tool):
    kind = mixed.suffix[1:]
    pretrained, tuned = tool.folder / f"pre_{kind}", tool.folder / f"tuned_{kind}"
    own = ("--config", "tiny.yaml", f"data.train={mixed}")
    tool("train_net", *own, f"output={pretrained}")
    share = () if kind == "csv" else ("--hold-out", "0.4")
    said = tool("evaluate", "--checkpoint", pretrained, "--protocol", "knn", "--workers", 0, *share)
    assert "have no label and are left out" in said.replace("\n", " ")
    card = json.loads((pretrained / "eval" / "knn.json").read_text())["card"]
    assert 0 < card["n_scored"] == card["n_listed"] < 6
    assert card["n_unlabelled"] + card["n_train_unlabelled"] == 4
    how = ("method.name=finetune", "views.clips=1", f"encoder.weights={pretrained}")
    said = tool("train_net", *own, *how, "train.batch_size=2", f"output={tuned}")
    assert "of 6 videos have no label" in said or "of 12 videos have no label" in said
    few = ("--clips", 1, "--crops", 1, "--workers", 0)
    said = tool("test_net", "--checkpoint", tuned, *few, *share)
    assert "have no label and are left out" in said.replace("\n", " ")
    said = tool("predict", "--checkpoint", tuned, mixed, *few)
    assert said.count(".mp4") == 12
