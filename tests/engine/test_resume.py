"""A run folder is taken up only by the run it holds."""

from pathlib import Path

import pytest

from cvrl.config import Config, DataConfig, describe, load_config
from cvrl.engine.checkpoint import save_checkpoint
from cvrl.engine.resume import check_continuation, find_checkpoint, start_folder
from cvrl.utils.errors import UserError


@pytest.fixture
def config(tmp_path):
    return Config(output=str(tmp_path / "run"), data=DataConfig(train="videos"))


@pytest.fixture
def started(config):
    start_folder(config, config.run_folder)
    for step in (2, 10):
        state = {"step": step, "task": {}}
        save_checkpoint(config.run_folder / "checkpoints", step, state, keep=2)
    return config


def test_a_fresh_folder_starts_from_the_beginning(config):
    assert find_checkpoint(config, config.run_folder) is None


def test_the_newest_checkpoint_is_taken(started):
    assert find_checkpoint(started, started.run_folder).name == "step_00000010.pt"


def test_a_named_checkpoint_is_taken(started):
    started.checkpoint.resume = "elsewhere/step_00000001.pt"
    assert find_checkpoint(started, started.run_folder) == Path("elsewhere/step_00000001.pt")


def test_never_refuses_a_folder_with_a_run(started):
    started.checkpoint.resume = "never"
    with pytest.raises(UserError, match="give another output= or remove it"):
        find_checkpoint(started, started.run_folder)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("log", "every_steps", 3),
        ("eval", "k", 5),
        ("data", "workers", 7),
        ("checkpoint", "keep", 9),
    ],
)
def test_what_does_not_change_the_run_may_change(started, section, key, value):
    setattr(getattr(started, section), key, value)
    assert find_checkpoint(started, started.run_folder) is not None


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("optim", "lr", 9.0), ("train", "epochs", 7), ("clip", "size", 8), ("data", "train", "other")],
)
def test_what_changes_the_run_is_refused_by_name(started, section, key, value):
    setattr(getattr(started, section), key, value)
    with pytest.raises(UserError, match=rf"{section}\.{key}=.*not {value}"):
        find_checkpoint(started, started.run_folder)


def test_a_longer_run_is_told_how(started):
    started.train.epochs += 1
    with pytest.raises(UserError, match=r"to train longer, give another output= and checkpoint\."):
        find_checkpoint(started, started.run_folder)


def test_another_config_is_refused_before_the_first_checkpoint(config):
    start_folder(config, config.run_folder)
    config.optim.lr = 9.0
    assert find_checkpoint(config, config.run_folder) is None  # no step was made
    (config.run_folder / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(UserError, match=r"optim\.lr"):
        find_checkpoint(config, config.run_folder)


VIDEOS = {"videos": 3, "files": "a", "order": "a", "labels": "a", "groups": "a", "sizes": "a"}


def check(config, state, resume="auto"):
    config.checkpoint.resume = resume
    check_continuation(config, VIDEOS, state, Path("step_00000002.pt"), config.run_folder)


def test_the_config_in_a_checkpoint_is_the_one_that_counts(config):
    written = describe(config)
    config.optim.lr = 9.0
    with pytest.raises(UserError, match=r"optim\.lr=0\.1, not 9\.0|optim\.lr="):
        check(config, {"config": written})
    check(config, {"config": written}, resume="elsewhere/step_00000002.pt")


def test_another_list_is_not_a_continuation(config):
    check(config, {"config": describe(config), "videos": dict(VIDEOS)})
    check(config, {})  # of a run from before they were kept
    with pytest.raises(UserError, match=r"videos: the run in .*run has 4 videos, not 3; give"):
        check(config, {"videos": VIDEOS | {"videos": 4}})


def test_a_run_is_read_from_any_folder(config, tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    start_folder(config, config.run_folder)
    config.run_folder.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_config("../moved/config.yaml").data.train == str(tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved" / "metrics.jsonl").write_text('{"step": 1}\n')
    assert find_checkpoint(config, tmp_path / "moved") is None  # the same config


def test_leftovers_of_a_kill_are_removed(started):
    leftover = started.run_folder / "checkpoints" / ".step_00000011.4194305.tmp.pt"
    leftover.write_bytes(b"half")
    find_checkpoint(started, started.run_folder)
    assert not leftover.exists()


def test_the_folder_says_with_what_it_was_made(started):
    text = (started.run_folder / "env.txt").read_text()
    assert text.startswith("python 3") and "decord2" in text
