"""test_net and predict answer on real files, and name what they cannot use."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pyarrow.parquet as pq
import pytest
import torch

from cvrl.config import Config, DataConfig, TestConfig, save_config
from cvrl.data.clips import ClipSpec
from cvrl.data.manifest import read_manifest
from cvrl.data.splits import Parts
from cvrl.evaluation.card import read_result
from cvrl.evaluation.prediction.multiview import evaluate_classifier
from cvrl.models.backbones import build_encoder
from cvrl.models.heads import ClassHead
from cvrl.pretrained import load_classifier, save_model

ROOT = Path(__file__).parents[2]
CLIP = ClipSpec(frames=8, stride=2)


def command(tool, *arguments):
    words = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*words, "--workers", "0"],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env=environment,
    )


@pytest.fixture(scope="module")
def names(video_folder):
    return sorted(folder.name for folder in video_folder.iterdir() if folder.is_dir())


@pytest.fixture(scope="module")
def run(names, tmp_path_factory):
    """A random classifier of the test videos' classes."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=4)
    head = ClassHead(encoder.dim, names)
    save_model(folder / "model.safetensors", encoder, clip=CLIP, size=32, class_head=head)
    return folder


@pytest.fixture(scope="module")
def tested(run, video_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("tested")
    how = ("--train", video_folder, "--clips", 2, "--crops", 3, "--output", output)
    done = command("test_net", "--checkpoint", run, *how)
    assert done.returncode == 0, done.stderr
    return output, done.stdout


def test_every_listed_video_is_scored(tested, video_folder):
    output, shown = tested
    files = list(video_folder.rglob("*.mp4"))
    card = json.loads((output / "classifier.json").read_text())["card"]
    assert card["n_listed"] == card["n_scored"] == len(files)
    assert (card["clips_per_video"], card["crops_per_clip"]) == (2, 3)
    assert "top-1 %" in shown and "3 crops along the longer side" in shown


def test_the_score_is_that_of_the_predictions(tested, names):
    output, _ = tested
    rows = pq.read_table(output / "predictions.parquet").to_pylist()
    probabilities = [[row[f"p_{name}"] for name in names] for row in rows]
    for row, shares in zip(rows, probabilities, strict=True):
        assert sum(shares) == pytest.approx(1.0, abs=1e-5)
        assert row["predicted"] == names[shares.index(max(shares))]
    right = sum(row["predicted"] == row["label"] for row in rows) / len(rows)
    result = json.loads((output / "classifier.json").read_text())
    trained = next(row for row in result["rows"] if row["name"] == "trained")
    assert trained["scores"]["top1"] == pytest.approx(right)


def test_the_confusion_matrix_counts_every_video(tested, names):
    output, _ = tested
    with open(output / "confusion.csv", newline="") as file:
        head, *lines = csv.reader(file)
    assert head[1:] == names and [line[0] for line in lines] == names
    counts = [[int(count) for count in line[1:]] for line in lines]
    assert sum(map(sum, counts)) == len(pq.read_table(output / "predictions.parquet"))
    height, width, _ = matplotlib.image.imread(output / "confusion.png").shape
    assert min(height, width) > 100


def test_two_classifiers_are_averaged(run, tested, names, video_folder, tmp_path):
    torch.manual_seed(1)
    encoder = build_encoder("r3d_small", width=4)
    head = ClassHead(encoder.dim, names)
    (tmp_path / "second").mkdir()
    file = tmp_path / "second" / "model.safetensors"
    save_model(file, encoder, clip=CLIP, size=32, class_head=head)
    how = ("--train", video_folder, "--clips", 2, "--crops", 3)
    for folder, runs in (("alone", [file.parent]), ("both", [run, "--join", file.parent])):
        done = command("test_net", "--checkpoint", *runs, *how, "--output", tmp_path / folder)
        assert done.returncode == 0, done.stderr
    first, alone, both = (
        pq.read_table(folder / "predictions.parquet").to_pylist()
        for folder in (tested[0], tmp_path / "alone", tmp_path / "both")
    )
    path = sorted(video_folder.rglob("*.mp4"))[0]
    views = ("--clips", 2, "--crops", 3, "--output", tmp_path / "mine")
    done = command("predict", "--checkpoint", run, "--join", file.parent, path, *views)
    assert done.returncode == 0, done.stderr
    (mine,) = pq.read_table(tmp_path / "mine" / "predictions.parquet").to_pylist()
    (same,) = [row for row in both if row["path"] == str(path)]
    for name in names:
        assert mine[f"p_{name}"] == pytest.approx(same[f"p_{name}"], abs=1e-5)
    for a, b, mean in zip(first, alone, both, strict=True):
        assert a["path"] == b["path"] == mean["path"]
        for name in names:
            expected = (a[f"p_{name}"] + b[f"p_{name}"]) / 2
            assert mean[f"p_{name}"] == pytest.approx(expected, abs=1e-5)


def test_the_size_is_the_commands_else_the_configs(run, video_folder, tmp_path):
    """The run's config decides on the test views, and the command line comes before it."""
    copy = shutil.copytree(run, tmp_path / "run")
    config = Config(data=DataConfig(train=str(video_folder)))
    config.test = TestConfig(clips=1, crops=1, size=48, short_side=50)
    save_config(config, copy / "config.yaml")
    sources = ("--checkpoint", copy, "--train", video_folder)
    for words, size, short_side in (((), 48, 50), (("--size", 40), 40, 50)):
        done = command("test_net", *sources, *words, "--output", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        card = read_result(tmp_path / "out" / "classifier.json").card
        assert (card.size, card.short_side) == (size, short_side)
        assert (card.clips_per_video, card.crops_per_clip) == (1, 1)
        assert f"{size} x {size} pixels of a short side of 50" in " ".join(done.stdout.split())
    path = sorted(video_folder.rglob("*.mp4"))[0]
    done = command("predict", "--checkpoint", copy, path, "--output", tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    _, predictions = evaluate_classifier(
        [load_classifier(run, size=48, short_side=50)],
        Parts(read_manifest(video_folder)),
        clips=1,
        crops=1,
    )
    table = pq.read_table(tmp_path / "mine" / "predictions.parquet")
    columns = [table[f"p_{name}"][0].as_py() for name in predictions.class_names]
    row = predictions.paths.index(str(path))
    assert torch.allclose(torch.tensor(columns), predictions.probability_VK[row], atol=1e-6)
    done = command("test_net", *sources, "--size", 64)
    assert done.returncode == 2 and "short side = 50: is smaller than the crop" in done.stderr


def test_an_encoder_without_classifier_is_refused_in_one_line(video_folder, tmp_path):
    encoder = build_encoder("r3d_small", width=4)
    save_model(tmp_path / "model.safetensors", encoder, clip=CLIP, size=32)
    done = command("test_net", "--checkpoint", tmp_path, "--train", video_folder)
    assert done.returncode == 2 and "trained without labels" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_broken_test_video_is_named(run, video_folder, tmp_path):
    for folder in video_folder.iterdir():
        if folder.is_dir():
            (tmp_path / "videos" / folder.name).mkdir(parents=True)
            one = next(folder.glob("*.mp4"))
            (tmp_path / "videos" / folder.name / one.name).symlink_to(one)
    (folder_of_broken := tmp_path / "videos" / folder.name).mkdir(exist_ok=True)
    (folder_of_broken / "broken.mp4").write_bytes(b"no video at all")
    how = ("--train", tmp_path / "videos", "--clips", 1, "--crops", 1)
    done = command("test_net", "--checkpoint", run, *how, "--output", tmp_path / "out")
    assert done.returncode == 2 and "broken.mp4" in done.stderr
    assert not (tmp_path / "out" / "classifier.json").exists()
    how = (*how, "--allow-missing")
    done = command("test_net", "--checkpoint", run, *how, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "classifier on 2 of 3 videos, 1 missing" in done.stdout
    card = read_result(tmp_path / "out" / "classifier.json").card
    assert card.n_missing == 1 and "broken.mp4" in card.missing[0]


def test_predict_prints_the_likeliest_classes(run, names, video_folder, tmp_path):
    video = sorted(video_folder.rglob("*.mp4"))[0]
    how = ("--top", 2, "--clips", 2, "--crops", 1, "--output", tmp_path, "--timeline")
    done = command("predict", "--checkpoint", run, video, *how)
    assert done.returncode == 0, done.stderr
    first, *answers = done.stdout.splitlines()[:3]
    assert first == str(video)
    shares = [float(line.split()[0]) for line in answers]
    assert shares == sorted(shares, reverse=True) and len(shares) == 2
    assert all(line.split("%")[1].strip() in names for line in answers)
    with open(tmp_path / f"{video.stem}.timeline.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["start_s", "end_s", *load_classifier(run).class_names]
    starts = [float(row[0]) for row in rows]
    assert starts == sorted(starts) and len(rows) > 1
    assert all(sum(map(float, row[2:])) == pytest.approx(1, abs=1e-4) for row in rows)
    assert matplotlib.image.imread(tmp_path / f"{video.stem}.timeline.png").shape[1] > 800


def test_predict_answers_the_good_files_and_names_the_bad_one(run, video_folder, tmp_path):
    good = sorted(video_folder.rglob("*.mp4"))[0]
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    files = (tmp_path / "bad.mp4", good)
    done = command("predict", "--checkpoint", run, *files, "--clips", 1, "--crops", 1)
    assert done.returncode == 2
    assert str(good) in done.stdout and "bad.mp4" not in done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "bad.mp4" in errors[0]
