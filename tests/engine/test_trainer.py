"""The loop: it learns, it is exact over kills, workers and ranks, and it stops with clear words."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cvrl.config import load_config
from cvrl.engine.checkpoint import list_checkpoints, load_checkpoint
from cvrl.engine.signals import StopRequest
from cvrl.engine.trainer import Trainer, train
from cvrl.pretrained import load_encoder
from cvrl.utils.errors import UserError
from cvrl.utils.log import read_metrics

REPOSITORY = Path(__file__).parents[2]
TRAIN_NET = [sys.executable, str(REPOSITORY / "tools" / "train_net.py")]
TINY = """
name: tiny
clip: {frames: 8, stride: 2, size: 32}
augment: {name: light}
encoder: {name: r3d_small, width: 4, blocks: [1, 1, 1, 1]}
method: {name: simclr, hidden: 16, hidden_layers: 1, dim: 8}
optim: {name: sgd, lr: 0.05, warmup_epochs: 0}
train: {epochs: 4, batch_size: 4, threads: 1}
checkpoint: {every_steps: 2}
eval: {every_epochs: 0}
log: {every_steps: 1, tensorboard: false}
"""


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


def overrides(video_folder, output, *more):
    workers = [] if any(text.startswith("data.workers") for text in more) else ["data.workers=0"]
    return [f"data.train={video_folder}", f"output={output}", *workers, *more]


def run(config_file, video_folder, output, *more):
    return train(load_config(config_file, overrides(video_folder, output, *more)))


def command(config_file, video_folder, output, *more):
    return [*TRAIN_NET, "--config", str(config_file), *overrides(video_folder, output, *more)]


def weights(folder):
    return load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])["task"]


def assert_same_weights(one, other, **tolerance):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        if tolerance:
            torch.testing.assert_close(first[name], second[name], **tolerance, msg=name)
        else:
            assert torch.equal(first[name], second[name]), name


@pytest.fixture(scope="module")
def reference(tmp_path_factory, video_folder):
    """A run of 12 steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "tiny.yaml").write_text(TINY)
    return run(folder / "tiny.yaml", video_folder, folder / "run")


def test_a_run_leaves_what_its_docstring_says(reference):
    assert {file.name for file in reference.iterdir()} == {
        "config.yaml",
        "env.txt",
        "metrics.jsonl",
        "checkpoints",
        "model.safetensors",
    }
    records = read_metrics(reference / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, 13))
    assert {
        "loss",
        "lr",
        "epoch",
        "clips_per_s",
        "data_wait",
        "memory_gb",
        "bad_videos",
        "embedding_std",
        "effective_rank",
        "contrast_top1",
    } <= records[0].keys()
    assert "torch" in (reference / "env.txt").read_text()
    assert len(list_checkpoints(reference / "checkpoints")) == 3


def test_the_encoder_of_a_run_loads_in_one_line(reference):
    encoder = load_encoder(reference)
    state = weights(reference)
    for name, tensor in encoder.state_dict().items():
        key = name if name.startswith("projector.") else f"encoder.{name}"
        assert torch.equal(tensor, state[key])
    clips = torch.zeros(2, 3, 8, 50, 70, dtype=torch.uint8)
    assert encoder(encoder.preprocess(clips)).shape == (2, encoder.dim)
    assert encoder.clip.frames == 8 and not encoder.training


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(
    reference, config_file, video_folder, tmp_path, workers
):
    folder = run(config_file, video_folder, tmp_path / "run", f"data.workers={workers}")
    assert_same_weights(folder, reference)


def test_evaluating_on_the_way_changes_nothing(reference, config_file, video_folder, tmp_path):
    folder = run(
        config_file,
        video_folder,
        tmp_path / "run",
        f"data.test={video_folder}",
        "eval.every_epochs=1",
        "eval.k=3",
    )
    assert_same_weights(folder, reference)
    scores = [r["knn_top1"] for r in read_metrics(folder / "metrics.jsonl") if "knn_top1" in r]
    assert len(scores) == 4 and all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize("kill_after", [1, 5, 8])
def test_a_killed_run_goes_on_to_the_same_bits(
    reference, config_file, video_folder, tmp_path, kill_after
):
    folder = tmp_path / "run"
    asked = command(config_file, video_folder, folder, "data.workers=2")
    process = subprocess.Popen(asked, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if len(read_metrics(folder / "metrics.jsonl")) >= kill_after:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait(timeout=60) == -signal.SIGKILL
    done = subprocess.run(asked, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_weights(folder, reference)
    records = read_metrics(folder / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, 13))
    undisturbed = read_metrics(reference / "metrics.jsonl")
    assert [r["loss"] for r in records] == [r["loss"] for r in undisturbed]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_exits_with_zero(reference, config_file, video_folder, tmp_path, number):
    folder = tmp_path / "run"
    asked = command(config_file, video_folder, folder, "checkpoint.every_steps=1000")
    process = subprocess.Popen(asked, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while process.poll() is None and len(read_metrics(folder / "metrics.jsonl")) < 3:
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "the same command goes on" in errors
    assert 3 <= load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])["step"] < 12
    assert subprocess.run(asked, capture_output=True, timeout=240, check=False).returncode == 0
    assert_same_weights(folder, reference)


def test_a_finished_run_stays_as_it_is(reference, config_file, video_folder, tmp_path):
    first = run(config_file, video_folder, tmp_path / "run")
    before = (first / "metrics.jsonl").read_text()
    again = run(config_file, video_folder, tmp_path / "run")
    assert (again / "metrics.jsonl").read_text() == before
    assert_same_weights(again, reference)


def test_two_ranks_train_as_one_process(config_file, video_folder, tmp_path):
    # float32 rounding differs, and grows tenfold a step (float64: tests/distributed): two steps of
    # 0.02 move weights by 3e-2, and the two runs apart by 5e-7, with and without AVX
    more = ["train.steps=2", "optim.lr=0.02", "method.temperature=1.0", "seed=3"]
    more += ["train.batch_size=6", "clip.size=48"]
    alone = run(config_file, video_folder, tmp_path / "alone", *more)
    folder = tmp_path / "two"
    launched = subprocess.run(
        [
            sys.executable,
            *("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"),
            *command(config_file, video_folder, folder, *more)[1:],
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert_same_weights(alone, folder, atol=3e-5, rtol=3e-5)
    losses = [[r["loss"] for r in read_metrics(f / "metrics.jsonl")] for f in (alone, folder)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_accumulation_keeps_the_videos_of_a_step(config_file, video_folder, tmp_path):
    folder = run(config_file, video_folder, tmp_path / "run", "train.accumulate=2")
    records = read_metrics(folder / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, 13))


def test_recomputed_activations_change_no_weight(config_file, video_folder, tmp_path):
    steps = "train.steps=2"
    plain = run(config_file, video_folder, tmp_path / "plain", steps)
    thrifty = run(config_file, video_folder, tmp_path / "thrifty", steps, "train.recompute=true")
    assert_same_weights(plain, thrifty)


def test_few_clips_at_once_are_compared_with_the_whole_batch(config_file, video_folder, tmp_path):
    folder = run(config_file, video_folder, tmp_path, "train.steps=2", "train.clips_at_once=3")
    (_, last) = read_metrics(folder / "metrics.jsonl")
    assert last["loss"] > 0 and last["embedding_std"] > 0


def losses_of(folder):
    return [record["loss"] for record in read_metrics(folder / "metrics.jsonl")]


# Rounding grows tenfold a step where batch norm has few cells and the temperature is low.
ALIKE = ["train.steps=3", "clip.size=64", "clip.upscale=true", "method.temperature=1.0"]


def test_fast_convolutions_train_alike(config_file, video_folder, tmp_path):
    how = {
        "fast": ["optim.lr=0.02"],
        "plain": ["optim.lr=0.02", "train.fast_conv=false"],
        "still": ["optim.lr=1e-9", "train.fast_conv=false"],
    }
    fast, plain, still = (
        losses_of(run(config_file, video_folder, tmp_path / name, *ALIKE, *more))
        for name, more in how.items()
    )
    assert fast[0] == pytest.approx(plain[0], abs=1e-4)
    apart = max(abs(one - other) for one, other in zip(fast, plain, strict=True))
    assert apart < 0.1 * max(abs(one - other) for one, other in zip(still, plain, strict=True))


@pytest.mark.slow
def test_a_compiled_encoder_trains_alike(config_file, video_folder, tmp_path):
    plain, compiled = (
        losses_of(run(config_file, video_folder, tmp_path / name, *ALIKE, "optim.lr=0.02", *more))
        for name, more in {"plain": [], "compiled": ["train.compile=true"]}.items()
    )
    assert compiled[0] == pytest.approx(plain[0], abs=1e-4)
    assert compiled == pytest.approx(plain, abs=1e-2)


@pytest.mark.parametrize("name", ["lars", "adamw"])
def test_other_optimisers_resume_exactly(config_file, video_folder, tmp_path, name):
    more = [f"optim.name={name}", "train.steps=4"]
    whole = run(config_file, video_folder, tmp_path / "whole", *more)
    cut = tmp_path / "cut"
    trainer = Trainer(load_config(config_file, overrides(video_folder, cut, *more)))
    trainer.fit(StopAfter(2))
    assert len(list_checkpoints(cut / "checkpoints")) == 1
    run(config_file, video_folder, cut, *more)
    assert_same_weights(whole, cut)


class StopAfter:
    """A stop request that comes after so many steps."""

    def __init__(self, steps):
        self.left = steps

    @property
    def requested(self):
        self.left -= 1
        return self.left <= 0

    def check_while_waiting(self):
        """Batches come at once here."""


def test_bf16_trains_close_to_fp32(config_file, video_folder, tmp_path):
    more = ["train.steps=1"]
    exact = run(config_file, video_folder, tmp_path / "fp32", *more)
    half = run(config_file, video_folder, tmp_path / "bf16", *more, "train.precision=bf16")
    losses = [[r["loss"] for r in read_metrics(f / "metrics.jsonl")] for f in (exact, half)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_the_loss_falls(config_file, video_folder, tmp_path):
    folder = run(
        config_file,
        video_folder,
        tmp_path / "run",
        "train.epochs=15",
        "optim.name=adamw",
        "optim.lr=0.003",
    )
    loss = [record["loss"] for record in read_metrics(folder / "metrics.jsonl")]
    assert sum(loss[-6:]) / 6 < 0.8 * sum(loss[:6]) / 6


def test_a_loss_that_is_no_number_stops_the_run(config_file, video_folder, tmp_path):
    with pytest.raises(UserError, match=r"lower optim\.lr"):
        run(config_file, video_folder, tmp_path / "run", "optim.lr=1e30", "train.epochs=20")


def test_weights_that_are_not_finite_replace_none(config_file, video_folder, tmp_path):
    more = ["checkpoint.keep=1", "checkpoint.every_steps=1", "train.steps=4"]
    config = load_config(config_file, overrides(video_folder, tmp_path / "run", *more))
    trainer = Trainer(config)
    trainer.schedule.lr_at[2:] = 3e38  # the third step leaves infinite weights and a finite loss
    with pytest.raises(UserError, match=r"^step 3: tensor .*step_00000002\.pt, is finite; lower"):
        trainer.fit(StopRequest())
    (kept,) = list_checkpoints(trainer.folder / "checkpoints")
    assert load_checkpoint(kept)["step"] == 2
    load_encoder(trainer.folder)


def test_another_config_is_not_a_continuation(reference, config_file, video_folder):
    with pytest.raises(UserError, match=r"holds a run with optim\.lr=0\.05, not 0\.1"):
        run(config_file, video_folder, reference, "optim.lr=0.1")
    with pytest.raises(UserError, match="resume=never"):
        run(config_file, video_folder, reference, "checkpoint.resume=never")


def test_a_checkpoint_of_another_shape_is_refused(reference, config_file, video_folder, tmp_path):
    newest = list_checkpoints(reference / "checkpoints")[-1]
    with pytest.raises(UserError, match="is of another network"):
        run(
            config_file,
            video_folder,
            tmp_path / "run",
            f"checkpoint.resume={newest}",
            "encoder.width=8",
        )


def test_bad_videos_are_named_once_and_training_goes_on(config_file, video_folder, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for file in video_folder.rglob("*.mp4"):
        (videos / file.name).write_bytes(file.read_bytes())
    (videos / "broken.mp4").write_text("not a video")
    folder = run(config_file, videos, tmp_path / "run", "data.workers=1")
    lines = (folder / "quarantine.csv").read_text().splitlines()
    assert len(lines) == 2 and "broken.mp4" in lines[1]
    assert read_metrics(folder / "metrics.jsonl")[-1]["bad_videos"] == 1
    with pytest.raises(UserError, match="1 of 13 videos"):
        run(config_file, videos, tmp_path / "strict", "data.max_bad_fraction=0.01")


def test_labels_train_a_classifier(config_file, video_folder, tmp_path):
    file = tmp_path / "supervised.yaml"
    file.write_text(
        TINY.replace("method: {name: simclr, hidden: 16, hidden_layers: 1, dim: 8}", "")
        + "method: {name: classify}\nviews: {name: temporal_pair, clips: 1}\n"
    )
    folder = run(file, video_folder, tmp_path / "run")
    assert "train_top1" in read_metrics(folder / "metrics.jsonl")[0]


def test_the_config_of_a_run_starts_it_again(reference, video_folder, tmp_path):
    folder = train(load_config(reference / "config.yaml", [f"output={tmp_path / 'again'}"]))
    assert_same_weights(folder, reference)
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["step"] == 1
