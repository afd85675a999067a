"""A run from Python: the same files and numbers as the commands make."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
import torch

import cvrl
from cvrl.cli import main
from cvrl.config import load_config
from cvrl.run import Run, extract, predict, train
from cvrl.utils.errors import UserError
from cvrl.utils.log import logger

TINY = {"steps": 3, "batch_size": 4}
QUICK = {"train": TINY, "log": {"tensorboard": False}, "eval": {"every_epochs": 0}}


@pytest.fixture(autouse=True)
def as_before():
    """Training sets the threads of the process and the logger."""
    state, threads = (logger.handlers, logger.propagate, logger.level), torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])


def section(videos):
    return {"train": videos, "hold_out": 0.34, "workers": 0, "cache_dir": None}


@pytest.fixture(scope="module")
def run(video_folder, tmp_path_factory):
    threads = torch.get_num_threads()
    try:
        folder = tmp_path_factory.mktemp("runs") / "x"
        return train(section(video_folder), config="cvrl_small", output=folder, seed=3, **QUICK)
    finally:
        torch.set_num_threads(threads)


def test_train_is_the_command_with_the_same_overrides(run, video_folder, tmp_path):
    data = [f"data.train={video_folder}", "data.hold_out=0.34", "data.workers=0"]
    more = ["data.cache_dir=null", "train.steps=3", "train.batch_size=4", "seed=3"]
    quiet = ["log.tensorboard=false", "eval.every_epochs=0", f"output={tmp_path / 'y'}"]
    main(["train", "--config", "cvrl_small", *data, *more, *quiet])
    mine, theirs = Run(run.path).encoder.state_dict(), Run(tmp_path / "y").encoder.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    ours = load_config(tmp_path / "y" / "config.yaml")
    ours.output = run.config.output
    assert run.config == ours


def test_encoder_and_config_are_those_of_the_folder(run):
    assert run.encoder is run.encoder and run.encoder.dim == 128
    assert run.config.train.steps == 3 and run.config.data.hold_out == 0.34
    assert repr(run) == f"Run({str(run.folder)!r})"
    assert Run(run.folder / "model.safetensors").folder == run.folder


def test_evaluate_returns_and_writes_what_the_command_writes(run, tmp_path, capsys):
    (result,) = run.evaluate("knn", workers=0, k=3, output=tmp_path)
    assert "chance" in capsys.readouterr().out
    command = ["evaluate", "--checkpoint", str(run.folder), "--protocol", "knn", "--k", "3"]
    main([*command, "--workers", "0", "--output", str(tmp_path / "command")])
    written = json.loads((tmp_path / "knn.json").read_text())
    assert written == json.loads((tmp_path / "command" / "knn.json").read_text())
    assert written["rows"][0]["scores"]["top1"] == result.row("trained").scores["top1"]
    assert result.card.settings["k"] == 3


def test_a_setting_that_does_not_exist_is_refused(run):
    with pytest.raises(UserError, match=r"hold_ut = 0.3: is no setting; did you mean hold_out"):
        run.evaluate("knn", hold_ut=0.3)
    with pytest.raises(UserError, match=r"train.stepz: unknown key; did you mean train.steps"):
        train("videos", train={"stepz": 3})


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such run"):
        Run(tmp_path / "gone")


def test_the_page(run):
    page = run.page(searches=2, workers=0)
    assert page == run.folder / "report.html" and page.with_suffix(".png").is_file()
    assert page.read_text("utf-8").count('class="search"') == 2


def test_extract_and_predict(run, video_folder, tmp_path):
    report = extract(run, video_folder, workers=0)
    assert report.output == run.folder / "features.parquet" and report.n_clips == 12
    again = extract(run.folder, video_folder, tmp_path / "x.parquet", every=0.2, workers=0)
    assert again.n_clips > 12 and pyarrow.parquet.read_table(again.output).num_rows == again.n_clips
    tuned = train(
        section(video_folder),
        config="finetune/small",
        output=tmp_path / "tuned",
        encoder={"weights": run.folder},
        **QUICK,
    )
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    found = predict(tuned, video_folder, bad, clips=1, crops=1, workers=0)
    assert len(found.paths) == 12 and found.probability_VK.shape[0] == 12
    assert set(found.predicted) <= set(tuned.classifier.class_names)
    assert [path for path, _ in found.bad] == [str(bad)]
    with pytest.raises(UserError, match="holds no classifier"):
        predict(run, video_folder)


def test_the_names_are_imported_when_they_are_used():
    program = (
        "import sys, time; began = time.perf_counter(); import cvrl; "
        "print(time.perf_counter() - began); assert 'torch' not in sys.modules; "
        "assert cvrl.train.__module__ == cvrl.Run.__module__ == 'cvrl.run'"
    )
    root = Path(cvrl.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 0.1
