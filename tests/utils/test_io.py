"""A reader meets the old file or the new one, never half of one."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from cvrl.utils.errors import UserError
from cvrl.utils.io import DiskFullError, atomic_path, remove_leftovers, reserve


def test_a_whole_file_takes_the_name(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists() and temporary.parent == target.parent
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    code = (
        "import sys, time\nfrom cvrl.utils.io import atomic_path\n"
        f"with atomic_path({str(target)!r}) as t:\n"
        "    t.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert target.read_text() == "old"


def test_readers_meet_whole_files_only(tmp_path):
    target = tmp_path / "file.txt"
    code = (
        "from cvrl.utils.io import atomic_path\n"
        "for i in range(200):\n"
        f"    with atomic_path({str(target)!r}) as t:\n"
        "        t.write_text(str(i % 10) * 100_000)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    sizes = set()
    while writer.poll() is None:
        if target.exists():
            text = target.read_text()
            sizes.add(len(text))
            assert len(set(text)) == 1
        time.sleep(0.001)
    assert writer.returncode == 0 and sizes == {100_000}


def test_a_full_disk_is_said_and_leaves_no_half_file(small_disk):
    place = small_disk("100k")
    full = pytest.raises(DiskFullError, match=r"note\.txt: the disk is full")
    with full, atomic_path(place / "note.txt") as temporary:
        temporary.write_bytes(bytes(200_000))
    assert list(place.iterdir()) == []


def test_a_full_disk_is_found_behind_the_error_of_a_library(small_disk):
    place = small_disk("100k")
    with pytest.raises(DiskFullError), atomic_path(place / "w.safetensors") as temporary:
        save_file({"w": torch.zeros(100_000)}, temporary)
    assert list(place.iterdir()) == []


def test_space_is_reserved_before_it_is_written(small_disk):
    place = small_disk("100k")
    full = pytest.raises(DiskFullError)
    with full, atomic_path(place / "a.npy") as temporary, open(temporary, "wb") as stream:
        reserve(stream, 200_000)


def test_a_file_gets_the_permissions_of_the_umask(tmp_path):
    former = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("x")
            temporary.chmod(0o600)  # as safetensors does
    finally:
        os.umask(former)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["a_file/x.txt", "a_folder"])
def test_a_file_that_cannot_be_created_is_named(tmp_path, name):
    (tmp_path / "a_file").touch()
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(UserError, match="cannot be created"), atomic_path(tmp_path / name):
        pytest.fail("the block is not entered")


def test_leftovers_of_dead_processes_go_and_no_others(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = [f".x.{dead.pid}.tmp.pt", f".x.{os.getpid()}.tmp.pt", "x.tmp.pt", ".x.y.tmp"]
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, least_age_s=60)
    assert len(os.listdir(tmp_path)) == 4
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])
    remove_leftovers(tmp_path / "missing")
