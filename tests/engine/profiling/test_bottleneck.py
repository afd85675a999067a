"""The report of what holds a run back: its times on real files, its advice on made-up times."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvrl.config import Config, DataConfig, TrainConfig, load_config
from cvrl.data.dataset import VideoReader
from cvrl.data.loader import default_workers, enough_workers, usable_cores
from cvrl.data.sampler import Visit
from cvrl.engine import build
from cvrl.engine.clock import Clock
from cvrl.engine.profiling import advice, bottleneck
from cvrl.engine.profiling.advice import Parts, advise
from cvrl.engine.profiling.bottleneck import describe_bottleneck, measure
from cvrl.engine.trainer import Trainer
from cvrl.utils.errors import UserError

REPOSITORY = Path(__file__).parents[3]
TINY = """
clip: {frames: 8, stride: 2, size: 32}
augment: {name: light}
encoder: {name: r3d_small, width: 2, blocks: [1, 1, 1, 1]}
method: {name: simclr, hidden: 16, hidden_layers: 1, dim: 8}
optim: {warmup_epochs: 0}
train: {epochs: 1, batch_size: 4, threads: 1}
log: {tensorboard: false}
"""


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture
def tiny_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # runs/ would be made here
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture
def config_file(tiny_file, monkeypatch):
    """The config on a machine that has no GPU, or whose GPU is not seen."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tiny_file


def tiny(config_file, videos, *overrides):
    config = load_config(config_file, [f"data.train={videos}", *overrides])
    config.data.workers = config.data.workers or 0
    return config


# --- what is measured ----------------------------------------------------------------------------


def assert_sound(parts):
    times = (parts.decode_s, parts.augment_s, parts.model_s, parts.loop_step_s)
    assert all(0 < seconds < 10 for seconds in times), parts
    assert parts.transfer_s >= 0 and parts.device_augment_s >= 0 and 0 <= parts.waiting < 1
    assert parts.enough >= 1 and not parts.on_gpu


def test_a_run_is_measured_and_nothing_is_left(config_file, video_folder):
    parts, bad = measure(tiny(config_file, video_folder), steps=3)
    assert_sound(parts)
    assert parts.first_decode_s is None and parts.short_side == 48 and not bad
    assert (parts.videos, parts.workers, parts.threads) == (4, 0, 1)
    assert parts.waiting > 0.05  # who has no workers waits for each sample
    assert parts.transfer_s < 1e-3 and parts.device_augment_s < 1e-3
    assert [file.name for file in config_file.parent.iterdir()] == ["tiny.yaml"]


def test_decoding_and_augmentation_are_all_of_a_sample(config_file, video_folder):
    config = tiny(config_file, video_folder)
    data, views = build.build_data(config), build.build_views(config)
    dataset = build.build_dataset(config, data, views)
    rows = np.arange(12)
    _ = dataset[Visit(0, 0)]  # imports what decodes
    began = time.perf_counter()
    samples = bottleneck._time_samples(dataset, rows, epoch=0)
    whole = (time.perf_counter() - began) / len(rows)
    assert samples.count == 11
    assert 0.5 * whole < samples.decode_s + samples.augment_s < 1.5 * whole
    assert type(dataset.reader) is VideoReader  # the run's dataset is as it was


class SlowVideo:
    """8 frames, each of which takes 20 ms to read."""

    fps, times, size = 25.0, np.arange(8) / 25, (4, 6)

    def __len__(self):
        return 8

    def frames(self, indices):
        time.sleep(0.02 * len(indices))
        return np.zeros((len(indices), 4, 6, 3), np.uint8)

    def __exit__(self, *_):
        time.sleep(0.02)


def test_reading_is_decoding_and_the_rest_is_not():
    clock = Clock(clips_per_step=1)
    with bottleneck._TimedVideo(SlowVideo(), clock) as video:
        assert len(video) == 8 and video.frames(np.arange(2)).shape == (2, 4, 6, 3)
        time.sleep(0.06)
    assert 0.35 < clock.lap(1).data_wait < 0.65  # 60 of 120 ms


def test_a_timed_reader_gives_the_samples_of_the_run(config_file, video_folder):
    config = tiny(config_file, video_folder)
    data, views = build.build_data(config), build.build_views(config)
    dataset = build.build_dataset(config, data, views)
    expected = dataset[Visit(0, 3)].clips_VCTHW
    dataset.reader = bottleneck._TimedReader(**vars(dataset.reader))
    assert dataset[Visit(0, 3)].clips_VCTHW.equal(expected)
    assert dataset.reader.sides == [48] and dataset.reader.clock.lap(1).data_wait > 0


def test_with_a_cache_the_first_visit_is_told_apart(config_file, video_folder, make_video):
    folder = config_file.parent / "long"
    for index in range(8):
        # of different content, since the cache knows a video by it
        make_video(folder / f"{index}.mp4", frames=150 + index)
    config = tiny(config_file, folder, "data.cache_dir=runs/cache", "data.cache_short_side=36")
    parts, bad = measure(config, steps=2)
    assert_sound(parts)
    assert parts.first_decode_s > 3 * parts.decode_s  # all frames are decoded, shrunk and written
    assert parts.short_side == 36 and not bad
    assert {file.name for file in config_file.parent.iterdir()} == {"tiny.yaml", "long"}


def test_a_cache_that_is_there_is_not_written_to(config_file, video_folder):
    cache = config_file.parent / "cache"
    cache.mkdir()
    config = tiny(config_file, video_folder, f"data.cache_dir={cache}", "data.cache_short_side=36")
    measure(config, steps=1)
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ("videos", "batch", "length", "kept"), [(12, 4, 8, 8), (12, 8, 8, 8), (12, 12, 12, 12)]
)
def test_a_cache_is_tried_on_whole_batches(
    config_file, video_folder, videos, batch, length, kept, monkeypatch
):
    trainer = Trainer(tiny(config_file, video_folder, f"train.batch_size={batch}"))
    assert bottleneck._keep_some(trainer) == kept
    paths = trainer.data.train.paths
    assert len(paths) == length <= videos and len(set(paths)) == kept
    monkeypatch.setattr(bottleneck, "CACHED_VIDEOS", 3)
    assert bottleneck._keep_some(trainer) == 3
    assert len(set(trainer.data.train.paths)) == len(set(trainer.data.train.paths[:3])) == 3


def test_the_device_takes_its_part_of_the_augmentation(config_file, video_folder):
    on_device = tiny(config_file, video_folder, "data.augment_on=device", "train.accumulate=2")
    parts, _ = measure(on_device, steps=2)
    assert_sound(parts)
    assert parts.device_augment_s > 1e-4 and not parts.divides


def test_the_fast_form_is_tried_where_it_is_off(config_file, video_folder):
    slow = tiny(config_file, video_folder, "train.fast_conv=false")
    parts, _ = measure(slow, steps=1)
    assert parts.fast_model_s > 0
    assert measure(tiny(config_file, video_folder), steps=1)[0].fast_model_s is None


def test_what_the_workers_are_ahead_is_not_measured(config_file, video_folder):
    config = tiny(config_file, video_folder, "data.workers=1")
    trainer = Trainer(bottleneck._scratch(config, config_file.parent / "scratch", steps=3))
    speed, micro_batches, _ = bottleneck._watch_loop(trainer, steps=3, seconds=60.0)
    assert trainer.step == 2 + 3 and len(micro_batches) == 1  # taken away batches train nothing
    assert 0 <= speed.data_wait < 1


def test_the_loop_ends_in_time(config_file, video_folder):
    config = tiny(config_file, video_folder)
    trainer = Trainer(bottleneck._scratch(config, config_file.parent / "scratch", steps=50))
    bottleneck._watch_loop(trainer, steps=50, seconds=0.0)
    assert trainer.step == 2 + 1


@needs_gpu
@pytest.mark.parametrize("where", ["worker", "device"])
def test_a_gpu_has_its_own_parts(tiny_file, video_folder, where):
    parts, _ = measure(tiny(tiny_file, video_folder, f"data.augment_on={where}"), steps=2)
    assert parts.on_gpu and parts.transfer_s > 0 and parts.model_s > 0
    assert parts.fast_model_s is None
    assert (parts.device_augment_s > 1e-4) == (where == "device")


def test_a_cache_is_tried_beside_the_runs_own(tmp_path):
    def place(cache_dir):
        data = DataConfig(train="videos", cache_dir=cache_dir)
        return bottleneck._place_for_files(Config(data=data))

    (tmp_path / "there").mkdir()
    assert place(None) is None
    assert place(str(tmp_path / "there")) == tmp_path / "there"
    assert place(str(tmp_path / "there" / "not" / "yet")) == tmp_path / "there"


@pytest.mark.parametrize("steps", [None, 2, 5000])
def test_the_run_is_made_long_enough_and_no_shorter(steps):
    config = Config(data=DataConfig(train="videos", workers=3), train=TrainConfig(steps=steps))
    scratch = bottleneck._scratch(config, Path("/x"), steps=12)
    assert scratch.run_folder == Path("/x/run") and config.output is None
    assert scratch.train.epochs == 200 and scratch.data.cache_dir is None
    assert scratch.train.steps == (steps and max(steps, 12 + 6 + 2 + 6))


def test_bad_videos_are_named_and_left_out(config_file, video_folder):
    folder = config_file.parent / "mixed"
    folder.mkdir()
    for file in video_folder.rglob("*.mp4"):
        (folder / file.name).symlink_to(file)
    for name in ("bad_0.mp4", "bad_1.mp4", "bad_2.mp4"):  # more than data.max_bad_fraction
        (folder / name).write_text("no video")
    report = describe_bottleneck(tiny(config_file, folder, "train.batch_size=6"), steps=2)
    assert "3, left out as in training" in report
    for name in ("bad_0.mp4", "bad_1.mp4", "bad_2.mp4"):
        assert f"{folder / name}: " in report
    assert not (config_file.parent / "runs").exists()


def test_one_of_several_processes_is_refused(config_file, video_folder, monkeypatch):
    class Two:
        num_processes = 2

    monkeypatch.setattr(bottleneck, "build_accelerator", lambda train: Two())
    with pytest.raises(UserError, match="without torchrun"):
        measure(tiny(config_file, video_folder))


def test_a_cache_that_cannot_be_written_is_refused(config_file, video_folder):
    config = tiny(config_file, video_folder, "data.cache_dir=/proc/x", "data.cache_short_side=36")
    with pytest.raises(UserError, match=r"data\.cache_dir: cannot be written to"):
        measure(config)


# --- what is advised -----------------------------------------------------------------------------

STEADY = Parts(  # 8 samples of 60 ms on 2 workers against steps of 300 ms
    on_gpu=False,
    videos=8,
    decode_s=0.05,
    first_decode_s=None,
    augment_s=0.01,
    short_side=240,
    transfer_s=0.0,
    device_augment_s=0.0,
    model_s=0.3,
    fast_model_s=None,
    loop_step_s=0.3,
    waiting=0.0,
    workers=2,
    threads=2,
    divides=True,
)
ON_GPU = replace(STEADY, on_gpu=True, transfer_s=0.001)
SLOW_AUGMENT = {"decode_s": 0.01, "augment_s": 0.05}
CACHE = {"data.cache_dir": "x", "data.cache_short_side": 128}
BEST = {"train.precision": "bf16", "train.compile": True}


def advised(parts, cores, settings=None):
    """The settings advised, in order; without reasons."""
    settings = {"clip.size": 112, **(settings or {})}
    config = Config(data=DataConfig(train="videos"))
    for key, value in settings.items():
        section, name = key.split(".")
        setattr(getattr(config, section), name, value)
    lines = advise(parts, config, cores)
    assert lines and all(": " in line and "\n" not in line for line in lines)
    return [line.split(":")[0] for line in lines]


@pytest.mark.parametrize(
    ("parts", "cores", "settings", "expected"),
    [
        # data is the limit: workers, as far as there are cores
        ({"waiting": 0.5, "model_s": 0.1}, 8, {}, ["data.workers=5"]),
        ({"waiting": 0.5, "workers": 0}, 8, {}, ["data.workers=2"]),
        (
            {"waiting": 0.5, "model_s": 0.1},
            4,
            {},
            ["data.workers=4", "data.cache_dir=runs/cache data.cache_short_side=128"],
        ),
        # no cores left: cheaper samples
        (
            {"waiting": 0.5, "model_s": 0.1},
            2,
            {},
            ["data.cache_dir=runs/cache data.cache_short_side=128"],
        ),
        ({"waiting": 0.5}, 2, CACHE, ["nothing but more cores"]),
        (
            {"waiting": 0.5},
            2,
            CACHE | {"data.cache_short_side": 300},
            ["data.cache_short_side=128"],
        ),
        (
            {"waiting": 0.5, **SLOW_AUGMENT},
            2,
            CACHE,
            ["augment.name=light, which changes what is learned"],
        ),
        (
            {"waiting": 0.5, **SLOW_AUGMENT},
            2,
            {"augment.name": "light"},
            ["nothing but more cores"],
        ),
        (
            {"waiting": 0.5, "augment_s": 0.06},  # the larger part, which no GPU can take
            2,
            {},
            ["data.cache_dir=runs/cache data.cache_short_side=128"],
        ),
        # the model is the limit
        ({}, 2, {}, ["nothing"]),
        ({"fast_model_s": 0.29}, 2, {"train.fast_conv": False}, ["nothing"]),
        ({"fast_model_s": 0.2}, 2, {"train.fast_conv": False}, ["train.fast_conv=true"]),
        ({}, 2, {"train.precision": "bf16"}, ["train.precision=fp32"]),
        ({"threads": 1}, 16, {}, ["train.threads=14"]),
        # workers and model share the cores
        ({"waiting": 0.5, "workers": 3}, 8, {}, ["data.workers=6"]),  # cheap, and yet it waits
        (
            {"loop_step_s": 0.5},
            2,
            {},
            ["data.cache_dir=runs/cache data.cache_short_side=128"],
        ),
        ({"loop_step_s": 0.5}, 2, CACHE, ["nothing"]),
        ({"loop_step_s": 0.5, **SLOW_AUGMENT}, 2, {}, ["nothing"]),
        ({"loop_step_s": 0.5, "workers": 0}, 2, {}, ["nothing"]),
        ({"loop_step_s": 0.5, "decode_s": 0.001, "augment_s": 0.001}, 2, {}, ["nothing"]),
    ],
)
def test_advice_on_a_cpu(parts, cores, settings, expected):
    assert advised(replace(STEADY, **parts), cores, settings) == expected


@pytest.mark.parametrize(
    ("parts", "cores", "settings", "expected"),
    [
        ({"waiting": 0.5, "model_s": 0.05}, 16, {}, ["data.workers=10"]),
        ({"waiting": 0.5, **SLOW_AUGMENT}, 2, {}, ["data.augment_on=device"]),
        (
            {"waiting": 0.5, "divides": False, **SLOW_AUGMENT},
            2,
            CACHE,
            ["augment.name=light, which changes what is learned"],
        ),
        (
            {},
            4,
            {},
            ["train.precision=bf16", "train.tf32=true", "train.compile=true"],
        ),
        ({}, 4, {"train.precision": "bf16"}, ["train.compile=true"]),
        ({}, 4, {"train.compile": True, "train.tf32": True}, ["train.precision=bf16"]),
        ({}, 4, BEST, ["nothing"]),
        ({"transfer_s": 0.1}, 4, BEST, ["data.augment_on=device"]),
        ({"transfer_s": 0.1, "divides": False}, 4, BEST, ["nothing"]),
        ({"device_augment_s": 0.5, "divides": False}, 4, BEST, ["data.augment_on=worker"]),
        ({"device_augment_s": 0.5, "divides": False}, 2, BEST, ["nothing"]),
        ({"loop_step_s": 0.9}, 4, BEST, ["nothing"]),  # workers do not compute on a GPU
    ],
)
def test_advice_on_a_gpu(parts, cores, settings, expected):
    assert advised(replace(ON_GPU, **parts), cores, settings) == expected


def test_small_videos_are_not_sent_to_be_prepared():
    waiting = replace(STEADY, waiting=0.5)
    config = Config(data=DataConfig(train="videos"))  # of 224 pixels, from 256
    (line,) = advise(replace(waiting, short_side=480), config, cores=2)
    assert "--short-side 256 --gop 12" in line
    (line,) = advise(replace(waiting, short_side=256), config, cores=2)
    assert "prepare" not in line and "83%" in line and "50%" in line


def test_what_is_advised_can_be_set(config_file, video_folder):
    """Every setting that the advice names is one that a run accepts."""
    starts = ("data.", "train.", "augment.")
    named = set()
    for on_gpu in (False, True):
        for waiting in (0.0, 0.5):
            for fast in (None, 0.1):
                parts = replace(
                    STEADY, on_gpu=on_gpu, waiting=waiting, fast_model_s=fast, model_s=0.1
                )
                for line in advise(parts, Config(data=DataConfig(train="x")), cores=4):
                    named |= {w for w in line.split(":")[0].split() if w.startswith(starts)}
    assert len(named) >= 6
    for setting in named:
        tiny(config_file, video_folder, setting)


SECONDS = st.floats(1e-4, 10.0)
ANY_PARTS = st.builds(
    Parts,
    on_gpu=st.booleans(),
    videos=st.integers(1, 1024),
    decode_s=SECONDS,
    first_decode_s=st.none() | SECONDS,
    augment_s=SECONDS,
    short_side=st.integers(16, 2160),
    transfer_s=SECONDS,
    device_augment_s=SECONDS,
    model_s=SECONDS,
    fast_model_s=st.none() | SECONDS,
    loop_step_s=SECONDS,
    waiting=st.floats(0.0, 1.0),
    workers=st.integers(0, 64),
    threads=st.integers(1, 64),
    divides=st.booleans(),
)


@given(ANY_PARTS, st.integers(1, 64))
def test_there_is_always_advice_and_never_more_than_the_cores_give(parts, cores):
    lines = advise(parts, Config(data=DataConfig(train="videos")), cores)
    assert lines == advise(parts, Config(data=DataConfig(train="videos")), cores) != []
    for line in lines:
        setting, reason = line.split(": ", 1)
        name, _, value = setting.partition("=")
        assert reason and "\n" not in line
        if name == "data.workers":
            assert parts.workers < int(value) <= cores and parts.waiting > 0.05
        elif name == "train.threads":
            assert parts.threads < int(value) <= cores and not parts.on_gpu


@given(SECONDS, SECONDS)
def test_enough_workers_are_the_fewest_that_keep_up(batch_s, step_s):
    workers = enough_workers(batch_s, step_s)
    assert batch_s / workers <= step_s * (1 + 1e-9)
    assert workers == 1 or batch_s / (workers - 1) > step_s * (1 - 1e-9)


def test_workers_are_shared_among_the_ranks():
    cores = usable_cores()
    assert default_workers() == min(16, cores)
    assert default_workers(ranks_here=2 * cores) == 1


def test_enough_workers_are_those_that_feed_a_step():
    assert STEADY.sample_s == pytest.approx(0.06) and STEADY.step_s == 0.3
    assert STEADY.enough == 2  # 0.48 s of samples against 0.3
    assert replace(STEADY, model_s=0.05).enough == 10
    assert replace(STEADY, decode_s=1e-4, augment_s=0.0).enough == 1
    assert replace(STEADY, waiting=0.25, workers=6).enough == 8  # 6 are a quarter too slow
    assert replace(STEADY, waiting=0.04, workers=6).enough == 2
    assert advice.counted(0, "worker") == "0 workers"


# --- the command ---------------------------------------------------------------------------------


def train_net(config_file, *arguments):
    command = [sys.executable, str(REPOSITORY / "tools" / "train_net.py")]
    return subprocess.run(
        [*command, "--config", str(config_file), *map(str, arguments), "--bottleneck"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=config_file.parent,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


def test_the_command_prints_the_report_and_keeps_nothing(config_file, video_folder):
    done = train_net(config_file, f"data.train={video_folder}", "data.workers=1")
    assert done.returncode == 0, done.stderr
    facts = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert facts[:8] == [
        *("runs on", "decode", "augment", "transfer"),
        *("model", "whole step", "waiting", "enough workers"),
    ]
    assert set(facts[8:]) == {"change"}
    assert "a CPU, 1 thread; " in done.stdout and "0.0 ms a step" in done.stdout
    assert [file.name for file in config_file.parent.iterdir()] == ["tiny.yaml"]


def test_wrong_input_is_one_line(config_file):
    done = train_net(config_file, "data.train=nowhere")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "nowhere: no such file or folder" in line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.batch_size=13", "12 training videos"),
        ("data.cache_dir=x", "data.cache_short_side: .* set it to 36"),
        ("optim.lr=1e30", "lower optim.lr"),
        ("clip.size=64", "64x48 pixels"),
    ],
)
def test_a_run_that_cannot_work_is_refused(config_file, video_folder, override, words):
    with pytest.raises(UserError, match=words):
        measure(tiny(config_file, video_folder, override))
    assert [file.name for file in config_file.parent.iterdir()] == ["tiny.yaml"]


def test_a_dry_run_is_another_thing(config_file):
    done = train_net(config_file, "data.train=x", "--dry-run")
    assert done.returncode == 2 and "not allowed with" in done.stderr
