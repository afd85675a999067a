"""Speed counts clips and leaves out what is not training."""

import time

import pytest

from cvrl.engine.clock import Clock


def test_a_lap_counts_clips_and_waiting():
    clock = Clock(clips_per_step=4)
    clock.start(step=10)
    with clock.waiting():
        time.sleep(0.05)
    time.sleep(0.05)
    speed = clock.lap(step=12)
    assert 20 < speed.clips_per_second < 81
    assert 0.3 < speed.data_wait < 0.7


def test_waiting_that_ends_in_an_error_was_waiting_all_the_same():
    clock = Clock(clips_per_step=1)
    clock.start(0)
    with pytest.raises(KeyError), clock.waiting():
        time.sleep(0.02)
        raise KeyError
    assert clock.lap(1).data_wait > 0.5


def test_a_pause_is_not_counted():
    clock = Clock(clips_per_step=1)
    clock.start(0)
    with clock.paused():
        time.sleep(0.2)
    time.sleep(0.01)
    assert clock.lap(1).clips_per_second > 10


def test_laps_begin_anew():
    clock = Clock(clips_per_step=1)
    clock.start(0)
    with clock.waiting():
        time.sleep(0.02)
    clock.lap(1)
    time.sleep(0.02)
    assert clock.lap(2).data_wait == pytest.approx(0.0, abs=1e-6)
