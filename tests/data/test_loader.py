"""A worker that was killed or hangs ends the loading in one line, and is not waited for."""

import os
import signal
import time

import pytest
from torch.utils.data import IterableDataset

import cvrl.data.loader as loader_module
from cvrl.data.loader import StopWaitingError, stream_loader
from cvrl.data.worker_watch import Board, LoaderError, Watch, note_file


class Endless(IterableDataset):
    """Hands over the process that works, then opens a file that never answers."""

    def __iter__(self):
        note_file("first.mp4")
        yield os.getpid()
        note_file("stalled.mp4")
        time.sleep(600)
        yield 0


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch):
    monkeypatch.setattr(loader_module, "LOOK_EVERY_S", 0.1)


def has_ended(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_stuck_file_is_named_and_its_worker_ended():
    batches = stream_loader(Endless(), workers=1)
    batches._stall_seconds = 0.3
    loading = iter(batches)
    pid = next(loading)
    with pytest.raises(LoaderError, match=r"^stalled\.mp4: reading it has stood still for"):
        next(loading)
    assert has_ended(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_killed_worker_is_one_line(number):
    loading = iter(stream_loader(Endless(), workers=1))
    pid = next(loading)
    os.kill(pid, number)
    words = rf"^loader worker {pid}: was ended from outside \({number.name}\)"
    with pytest.raises(LoaderError, match=words):
        next(loading)


def test_a_killed_worker_does_not_interrupt_a_step():
    """torch's own handler raises wherever the program is, in the middle of a step too."""
    loading = iter(stream_loader(Endless(), workers=1))
    os.kill(next(loading), signal.SIGKILL)
    time.sleep(0.3)
    loading.close()


def test_a_request_ends_the_waiting():
    def stop():
        raise StopWaitingError

    batches = stream_loader(Endless(), workers=1)
    batches._on_wait = stop
    loading = iter(batches)
    pid = next(loading)
    with pytest.raises(StopWaitingError):
        next(loading)
    assert has_ended(pid)


class Process:
    """This process, as a worker that computes or does not."""

    pid = os.getpid()


def test_slow_work_is_not_stuck():
    board = Board(workers=1)
    board.begin(0, "long.mp4")
    watch = Watch([Process()], board, stall_seconds=2.0)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        sum(range(100_000))
        watch.check()


def test_a_resting_worker_is_not_stuck():
    board = Board(workers=1)
    watch = Watch([Process()], board, stall_seconds=0.0)
    watch.check()
    time.sleep(0.05)
    watch.check()
    board.begin(0, "a.mp4")
    assert board.path(0) == "a.mp4"
    board.rest(0)
    assert board.path(0) == ""
    board.go_on(0)
    assert board.path(0) == "a.mp4"
