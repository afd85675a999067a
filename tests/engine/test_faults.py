"""Runs that lose a worker, a rank, their launcher or their disk: one line, and nothing is mixed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cvrl.engine.checkpoint import list_checkpoints, load_checkpoint
from cvrl.utils.log import read_metrics

REPOSITORY = Path(__file__).parents[2]
TINY = """
clip: {frames: 8, stride: 2, size: 32}
augment: {name: light}
encoder: {name: r3d_small, width: 4, blocks: [1, 1, 1, 1]}
method: {name: simclr, hidden: 16, hidden_layers: 1, dim: 8}
optim: {name: sgd, lr: 0.001, warmup_epochs: 0}
train: {epochs: 4000, batch_size: 4, threads: 1}
checkpoint: {every_steps: 100000}
eval: {every_epochs: 0}
log: {every_steps: 1, tensorboard: false}
"""


@pytest.fixture
def start(tmp_path, video_folder):
    """Starts a long run; it is ended with the test."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    started = []

    def run(*more, output=None, launcher=()):
        command = [sys.executable, *launcher, str(REPOSITORY / "tools" / "train_net.py")]
        output = output or tmp_path / "run"
        command += ["--config", str(file), f"data.train={video_folder}", f"output={output}", *more]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stderr=pipe, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def wait_for_steps(folder, steps, process):
    deadline = time.monotonic() + 120
    while len(read_metrics(folder / "metrics.jsonl")) < steps:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def loaders_of(process):
    return [child.pid for child in psutil.Process(process.pid).children()]


def last_step(folder):
    return load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])["step"]


def is_one_error(text):
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    return len(errors) == 1 and "Traceback" not in text


def test_a_killed_loader_worker_costs_no_step(start, tmp_path):
    process = start("data.workers=1")
    wait_for_steps(tmp_path / "run", 3, process)
    os.kill(loaders_of(process)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and is_one_error(errors), errors
    assert "(SIGKILL)" in errors and f"step {last_step(tmp_path / 'run')} is saved" in errors
    assert last_step(tmp_path / "run") >= 3


@pytest.mark.parametrize("ask", [True, False], ids=["by a signal", "by the watch"])
def test_a_stuck_loader_worker_does_not_hold_the_run(start, tmp_path, ask):
    process = start("data.workers=1", f"data.stall_seconds={60 if ask else 2}")
    wait_for_steps(tmp_path / "run", 3, process)
    os.kill(loaders_of(process)[0], signal.SIGSTOP)
    time.sleep(0.5)
    if ask:
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == (0 if ask else 2), errors
    assert ask or (is_one_error(errors) and ".mp4: reading it has stood still" in errors)
    assert last_step(tmp_path / "run") >= 3


def test_a_second_run_in_the_folder_is_kept_out_until_the_first_ends(start, tmp_path):
    first = start("data.workers=0")
    wait_for_steps(tmp_path / "run", 2, first)
    second = start("data.workers=0")
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 2 and is_one_error(errors)
    assert f"is written by process {first.pid} on " in errors


def test_ranks_end_with_their_launcher(start, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")
    process = start("data.workers=0", launcher=launcher)
    wait_for_steps(tmp_path / "run", 3, process)
    ranks = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive
    assert last_step(tmp_path / "run") >= 3


def test_a_dead_rank_is_one_line_of_the_others(start, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    ranks = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        ranks.append(start("data.workers=0"))
    wait_for_steps(tmp_path / "run", 2, ranks[0])
    ranks[1].kill()
    _, errors = ranks[0].communicate(timeout=60)
    assert ranks[0].returncode == 2 and is_one_error(errors), errors
    assert "error: another rank: has ended; see its message" in errors


def test_a_run_goes_on_without_its_cache_on_a_full_disk(start, tmp_path, small_disk):
    place = small_disk("64k")
    process = start("train.epochs=2", f"data.cache_dir={place}", "data.cache_short_side=48")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "the disk is full" in errors and last_step(tmp_path / "run") == 6


def test_a_full_disk_at_a_checkpoint_is_one_line(start, small_disk):
    place = small_disk("120k")
    process = start("train.epochs=2", "data.workers=0", output=place / "run")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2 and is_one_error(errors), errors
    assert "the disk is full" in errors
    assert not [path for path in place.rglob("*") if ".tmp" in path.name]


@pytest.mark.parametrize("output", ["file", "file/run"])
def test_an_output_that_cannot_be_made_is_one_line(start, tmp_path, output):
    (tmp_path / "file").touch()
    process = start(output=tmp_path / output)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and is_one_error(errors), errors
    assert "cannot be created" in errors
