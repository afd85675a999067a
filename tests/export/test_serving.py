"""``cvrl export`` and the example of docs/serving.md: the same labels as the model's own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cvrl.cli import main
from cvrl.config import Config, DataConfig, save_config
from cvrl.data.clips import ClipSpec
from cvrl.export.files import read_facts
from cvrl.models.backbones import build_encoder
from cvrl.models.heads import ClassHead
from cvrl.pretrained import load_classifier, save_model
from cvrl.utils.errors import UserError
from cvrl.utils.log import logger

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
CLASSES = ["blue", "red", "green"]
REFUSE = """
import sys
sys.modules.update(dict.fromkeys(["torch", "torchvision", "cvrl", "onnx", "decord"]))
"""


@pytest.fixture(autouse=True)
def logging_as_before():
    state = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])


@pytest.fixture
def run(tmp_path, video_folder):
    """A run with a classifier whose answers differ between videos."""
    torch.manual_seed(1)
    encoder = build_encoder("r3d_small", width=4)
    head = ClassHead(encoder.dim, CLASSES)
    with torch.no_grad():
        encoder.train()(torch.rand(8, 3, 8, 32, 32))
        head.weight.mul_(20)
    folder = tmp_path / "tuned"
    facts = {"clip": ClipSpec(8, 2), "size": 32, "class_head": head, "normalise": True}
    save_model(folder / "model.safetensors", encoder, **facts)
    data = DataConfig(train=str(video_folder), hold_out=0.34)
    save_config(Config(name="x", data=data), folder / "config.yaml")
    return folder


def test_the_example_gives_the_models_labels(run, video_folder, tmp_path, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len([line for line in example.splitlines() if line.strip()]) <= 26
    (tmp_path / "serve.py").write_text(REFUSE + example)
    output = str(tmp_path / "tuned.onnx")
    main(["export", "--checkpoint", str(run), "--format", "onnx", "--output", output])
    assert "wrote" in (said := capsys.readouterr().out) and "cosine 1.0000" in said
    videos = sorted(map(str, video_folder.rglob("*.mp4")))
    command = [sys.executable, "serve.py", *videos]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    rows = [line.rsplit(" ", 2) for line in shown.stdout.splitlines()]
    assert [row[0] for row in rows] == videos
    flags = ["--clips", "1", "--crops", "1", "--workers", "0", "--top", "1"]
    main(["predict", "--checkpoint", str(run), *videos, *flags])
    expected = re.findall(r"^ +([\d.]+) %  (\w+)$", capsys.readouterr().out, re.M)
    assert len({name for _, name in expected}) > 1, "the test needs videos that differ"
    for (_, label, share), (percent, name) in zip(rows, expected, strict=True):
        assert label == name and float(share) == pytest.approx(float(percent) / 100, abs=0.02)


def test_features_of_a_classifier_and_videos_of_ones_own(run, video_folder, tmp_path):
    path = tmp_path / "x.pt2"
    (run / "config.yaml").unlink()
    command = ["export", "--checkpoint", str(run), "--format", "torch", "--output", str(path)]
    with pytest.raises(UserError, match=r"names videos; give some with --videos"):
        main(command)
    video = str(next(video_folder.rglob("*.mp4")))
    main([*command, "--videos", video, "--features", "--input", "float"])
    facts = read_facts(path)
    assert (facts["output"], facts["parity"]["clips"]) == ("features", 1)
    assert facts["input"]["normalised_before"] and facts["labels"] is None
    clips = torch.rand(1, 3, 8, 32, 32)
    with torch.inference_mode():
        expected = load_classifier(run).encoder(clips)
        torch.testing.assert_close(torch.export.load(path).module()(clips), expected)
