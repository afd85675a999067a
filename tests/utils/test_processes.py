"""Processes may crash, hang or be killed; the items they do not work on come through."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvrl.utils.processes import Lost, map_in_processes

REPOSITORY = Path(__file__).parents[2]

# Spawned processes import functions by name, which those of a test file have not.
FUNCTIONS = """
import os, pathlib, signal, time

def double(item, beat):
    beat()
    return 2 * item

def nothing(item, beat):
    return None

def process(item, beat):
    time.sleep(0.05)
    return os.getpid()

def crash_on_odd(item, beat):
    if item % 2:
        os.abort()
    return item

def exit_on_odd(item, beat):
    if item % 2:
        os._exit(item)
    return item

def die_after_answering(item, beat):
    import threading
    threading.Timer(0.2, os._exit, [3]).start()
    return item

def hang_on_zero(item, beat):
    if item == 0:
        time.sleep(600)
    return item

def beat_for_long(item, beat):
    for _ in range(10):
        time.sleep(0.2)
        beat()
    return item

def interrupt(item, beat):
    os.kill(os.getpid(), signal.SIGINT)
    return item

def note(item, beat):
    pathlib.Path(item).write_text(str(os.getpid()))
    time.sleep(2)
"""


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """A module that spawned processes can import."""
    folder = tmp_path_factory.mktemp("functions")
    (folder / "functions_of_test_processes.py").write_text(FUNCTIONS)
    sys.path.insert(0, str(folder))
    import functions_of_test_processes as module

    yield module
    sys.path.remove(str(folder))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_item_gets_its_result(functions, workers):
    results = dict(map_in_processes(functions.double, [5, 6, 7, 8], workers=workers))
    assert results == {0: 10, 1: 12, 2: 14, 3: 16}


@pytest.mark.parametrize("workers", [0, 2])
def test_no_items(functions, workers):
    assert list(map_in_processes(functions.double, [], workers=workers)) == []


def test_none_is_a_result_too(functions):
    assert dict(map_in_processes(functions.nothing, [1, 2], workers=1)) == {0: None, 1: None}


def test_work_is_shared_among_processes(functions):
    found = {pid for _, pid in map_in_processes(functions.process, range(20), workers=2)}
    assert len(found) == 2 and os.getpid() not in found


def test_a_crash_costs_one_item_and_is_named(functions):
    results = dict(map_in_processes(functions.crash_on_odd, [0, 1, 2, 3, 4], workers=2))
    lost = Lost("the process that worked on it died (SIGABRT)")
    assert results == {0: 0, 1: lost, 2: 2, 3: lost, 4: 4}


def test_an_exit_is_named(functions):
    results = dict(map_in_processes(functions.exit_on_odd, [1, 2], workers=1))
    assert results == {0: Lost("the process that worked on it died (exit code 1)"), 1: 2}


def test_a_process_that_dies_between_items(functions):
    results = dict(map_in_processes(functions.die_after_answering, [1], workers=1))
    assert results == {0: 1}


def test_a_hang_is_ended(functions):
    began = time.monotonic()
    results = dict(map_in_processes(functions.hang_on_zero, [0, 1, 2], workers=1, stall_seconds=5))
    assert results == {0: Lost("no sign of life for 5 s"), 1: 1, 2: 2}
    assert time.monotonic() - began < 60


def test_signs_of_life_keep_slow_work_going(functions):
    results = dict(map_in_processes(functions.beat_for_long, [1], workers=1, stall_seconds=1.5))
    assert results == {0: 1}


def test_ctrl_c_is_left_to_the_parent(functions):
    assert dict(map_in_processes(functions.interrupt, [1, 2], workers=1)) == {0: 1, 1: 2}


def test_stopping_early_ends_the_processes(functions):
    results = map_in_processes(functions.double, list(range(100)), workers=2)
    next(results)
    results.close()
    assert not multiprocessing.active_children()


def test_an_error_of_the_reader_ends_the_processes(functions):
    with pytest.raises(KeyboardInterrupt):
        for _ in map_in_processes(functions.double, list(range(100)), workers=2):
            raise KeyboardInterrupt
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")
def test_processes_end_with_a_killed_parent(functions, tmp_path):
    note = tmp_path / "pid"
    code = (
        "import functions_of_test_processes as f\n"
        "from cvrl.utils.processes import map_in_processes\n"
        f"list(map_in_processes(f.note, [{str(note)!r}], workers=1))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=_environment(functions), stderr=subprocess.PIPE, text=True
    )
    child = int(_wait_for(lambda: note.exists() and note.read_text()))
    parent.kill()
    _wait_for(lambda: not _runs(child))
    assert parent.communicate()[1] == ""


def test_a_script_without_a_guard_is_told(functions, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import functions_of_test_processes as f\n"
        "from cvrl.utils.processes import map_in_processes\n"
        "print(dict(map_in_processes(f.double, [1], workers=1)))\n"
    )
    done = subprocess.run(
        [sys.executable, script], env=_environment(functions), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "worker process: cannot start (exit code 1); put the main part" in done.stderr


def test_a_function_that_cannot_be_imported():
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        list(map_in_processes(lambda item, beat: item, [1], workers=1))


def _environment(functions):
    """An environment in which a script finds the functions and the library."""
    folders = [str(Path(functions.__file__).parent), str(REPOSITORY)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(folders)}


def _runs(pid):
    """Whether a process is there and no zombie."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise TimeoutError
