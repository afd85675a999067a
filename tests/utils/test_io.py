"""A reader meets the old file or the new one, never half of one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cvrl.utils.io import atomic_path


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
