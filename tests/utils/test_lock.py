"""Two processes do not write one place; a lock goes with its process."""

import os
import re
import signal
import subprocess
import sys

import pytest

from cvrl.utils.errors import UserError
from cvrl.utils.lock import locked

HOLD = (
    "import sys, time\nfrom cvrl.utils.lock import locked\n"
    "with locked(sys.argv[1], folder=sys.argv[2] == 'True'):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


@pytest.fixture(params=[True, False], ids=["folder", "file"])
def held(tmp_path, request):
    """A place that another process holds, whether it is a folder, and that process."""
    place = tmp_path / "place"
    command = [sys.executable, "-c", HOLD, str(place), str(request.param)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield place, request.param, holder
        holder.kill()


def test_a_second_process_is_refused_and_told_who_writes(held):
    place, folder, holder = held
    words = rf"{re.escape(str(place))}: is written by process {holder.pid} on .* since 0 min; wait"
    with pytest.raises(UserError, match=words), locked(place, folder=folder):
        pytest.fail("the block is not entered")


def test_the_lock_of_a_killed_process_is_taken_over(held):
    place, folder, holder = held
    leftover = (place if folder else place.parent) / f".x.{holder.pid}.tmp.txt"
    leftover.touch()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(place, folder=folder):
        assert not leftover.exists()


def test_nothing_is_left(tmp_path):
    with locked(tmp_path / "out.csv"):
        assert os.listdir(tmp_path) == [".out.csv.lock"]
    assert os.listdir(tmp_path) == []


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    """Loader workers outlive a killed run by seconds, and it must start again at once."""
    fork = HOLD.replace("print(", "os.fork() or time.sleep(9)\n    print(").replace(
        "import sys", "import os, sys"
    )
    command = [sys.executable, "-c", fork, str(tmp_path), "True"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        with locked(tmp_path, folder=True):
            pass
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_place_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="cannot be created"),
        locked(tmp_path / "file", folder=True),
    ):
        pytest.fail("the block is not entered")
