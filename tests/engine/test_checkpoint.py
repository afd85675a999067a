"""Checkpoints are whole or absent, and nothing in them runs."""

import os
import pickle

import pytest
import torch

from cvrl.engine.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from cvrl.utils.errors import UserError


def state(step):
    return {"step": step, "task": {"w": torch.full((2,), float(step))}, "optimizer": {}}


def test_round_trip_and_the_newest_are_kept(tmp_path):
    for step in (1, 2, 30, 4):
        save_checkpoint(tmp_path, step, state(step), keep=3)
    assert [p.name for p in list_checkpoints(tmp_path)] == [
        "step_00000002.pt",
        "step_00000004.pt",
        "step_00000030.pt",
    ]
    loaded = load_checkpoint(tmp_path / "step_00000030.pt")
    assert loaded["step"] == 30 and torch.equal(loaded["task"]["w"], torch.full((2,), 30.0))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "step_00000001.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_named_with_the_remedy(tmp_path, share):
    path = save_checkpoint(tmp_path, 1, state(1), keep=1)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"not a whole cvrl checkpoint.*remove it"):
        load_checkpoint(path)


class Attack:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_nothing_in_a_file_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "task": Attack()}, "step_00000001.pt")
    with pytest.raises(UserError):
        load_checkpoint("step_00000001.pt")
    (tmp_path / "step_00000002.pt").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(UserError):
        load_checkpoint("step_00000002.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [{"step": 1}, [1, 2], {"task": {}}])
def test_foreign_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match="not a cvrl checkpoint"):
        load_checkpoint(tmp_path / "other.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    broken = state(1) | {"task": {"w": torch.tensor([1.0, torch.nan])}}
    path = save_checkpoint(tmp_path, 1, broken, keep=1)
    with pytest.raises(UserError, match=r"tensor w holds 1 of 2 values .*remove it"):
        load_checkpoint(path)


def test_a_full_disk_is_said_and_costs_no_older_checkpoint(small_disk):
    place = small_disk("200k")
    first = save_checkpoint(place, 1, state(1), keep=1)
    with pytest.raises(UserError, match=r"step_00000002\.pt: the disk is full"):
        save_checkpoint(place, 2, state(2) | {"optimizer": torch.zeros(100_000)}, keep=1)
    assert list(place.iterdir()) == [first] and load_checkpoint(first)["step"] == 1
