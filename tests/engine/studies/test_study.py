"""A study trains every arm and seed once, scores it, and makes one table."""

import json
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from cvrl.engine.studies.study import load_study, run_study
from cvrl.engine.studies.study_table import tabulate
from cvrl.utils.errors import UserError

CONFIG = {
    "name": "tiny",
    "clip": {"frames": 8, "stride": 2, "size": 32},
    "augment": {"name": "light"},
    "encoder": {"name": "r3d_small", "width": 4},
    "method": {"name": "simclr", "hidden": 16, "hidden_layers": 1, "dim": 8},
    "optim": {"warmup_epochs": 0},
    "train": {"steps": 2, "batch_size": 4, "threads": 1},
    "data": {"workers": 0, "hold_out": 0.5},
    "eval": {"every_epochs": 0},
    "log": {"tensorboard": False},
}
STUDY = {
    "name": "tiny_study",
    "config": "tiny.yaml",
    "seeds": [0, 1],
    "protocols": ["knn"],
    "clips_per_video": 2,
    "k": 3,
    "arms": {"CVRL": [], "uniform, please": ["views.prior=uniform"]},
}


@pytest.fixture
def study_file(tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return tmp_path / "study.yaml"


@pytest.mark.slow
def test_every_arm_and_seed_is_scored_once(study_file, video_folder, tmp_path):
    study, output = load_study(study_file), tmp_path / "out"
    table = run_study(study, output, [f"data.train={video_folder}"], jobs=2)
    assert (output / "table.md").read_text() == table
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == [
        "CVRL",
        "uniform, please",
        "random init",
        "chance",
    ]
    records = json.loads((output / "results.json").read_text())
    trained = {(r["arm"], r["seed"]) for r in records if r["row"] == "trained"}
    assert trained == {(arm, seed) for arm in STUDY["arms"] for seed in (0, 1)}
    run = output / "cvrl" / "seed0"
    kept = [run / "eval" / "knn.json", run / "model.safetensors"]
    written = [path.stat().st_mtime_ns for path in kept[:1]], kept[1].read_bytes()
    assert run_study(study, output, [f"data.train={video_folder}"]) == table
    assert written == ([path.stat().st_mtime_ns for path in kept[:1]], kept[1].read_bytes())


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is of Linux")
def test_the_runs_end_with_the_study(study_file, video_folder, tmp_path):
    more = ["--output", str(tmp_path / "out"), f"data.train={video_folder}", "train.steps=100000"]
    command = [sys.executable, "-m", "cvrl", "study", "--study", str(study_file), *more]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as study:
        until = time.monotonic() + 200
        while not list((tmp_path / "out").glob("*/seed0/metrics.jsonl")):
            assert study.poll() is None and time.monotonic() < until
            time.sleep(0.2)
        runs = psutil.Process(study.pid).children(recursive=True)
        study.kill()
    gone, alive = psutil.wait_procs(runs, timeout=60)
    assert gone and not alive


def test_a_wrong_path_shows_before_anything_is_trained(study_file, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        run_study(load_study(study_file), tmp_path / "out", ["data.train=nowhere"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"sedes": [1]}, "unknown key sedes"), ({"arms": None}, "needs name and arms")],
)
def test_a_study_that_makes_no_sense_is_refused(study_file, change, words):
    content = {key: value for key, value in {**STUDY, **change}.items() if value is not None}
    study_file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=words):
        load_study(study_file)


def test_a_missing_study_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_study(tmp_path / "none.yaml")


def test_alignment_has_rows_behind_the_head_and_fixed_answers():
    errors = {"trained": 0.2, "projected": 0.1, "untrained": 0.3, "chance": 0.33, "middle": 0.25}
    records = [
        {"arm": "a", "seed": 0, "protocol": "alignment", "row": row, "alignment_error": error}
        for row, error in errors.items()
    ]
    assert tabulate(records, ["a"], ["alignment"]).splitlines() == [
        "| | alignment alignment error % |",
        "|---|---|",
        "| a | 20.0 (20.0 to 20.0) |",
        "| a, behind its head | 10.0 (10.0 to 10.0) |",
        "| random init | 30.0 (30.0 to 30.0) |",
        "| chance | 33.0 |",
        "| middle | 25.0 |",
    ]


def test_the_table_holds_means_and_extremes():
    records = [
        {"arm": arm, "seed": seed, "protocol": "linear", "row": row, "top1": top1}
        for arm, seed, row, top1 in [
            ("a", 0, "trained", 0.5),
            ("a", 1, "trained", 0.7),
            ("a", 0, "untrained", 0.3),
            ("a", 1, "untrained", 0.3),
            ("a", 0, "chance", 0.25),
            ("a", 1, "chance", 0.25),
        ]
    ]
    lines = tabulate(records, ["a"], ["linear"]).splitlines()
    assert lines[2:] == [
        "| a | 60.0 (50.0 to 70.0) |",
        "| random init | 30.0 (30.0 to 30.0) |",
        "| chance | 25.0 |",
    ]


@pytest.mark.slow
def test_an_arm_is_scored_by_its_own_protocols(study_file, video_folder, tmp_path):
    arms = {"CVRL": [], "other": {"set": ["views.prior=uniform"], "protocols": ["instance"]}}
    content = STUDY | {"arms": arms, "seeds": [0], "protocols": ["knn", "instance"]}
    study_file.write_text(yaml.safe_dump(content, sort_keys=False))
    output = tmp_path / "out"
    run_study(load_study(study_file), output, [f"data.train={video_folder}"])
    scored = {arm: {f.stem for f in (output / arm / "seed0" / "eval").iterdir()} for arm in
              ("cvrl", "other")}  # fmt: skip
    assert scored == {"cvrl": {"knn", "instance"}, "other": {"instance"}}
    records = json.loads((output / "results.json").read_text())
    assert {r["protocol"] for r in records if r["arm"] == "other"} == {"instance"}
