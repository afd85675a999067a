"""Times of frames: strictly ascending whatever the stamps, and unchanged where these are sound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.video.presentation import ascending, clock_joints, usual_step

NO_JOINT = np.empty(0, np.int64)
ticks = st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=80)


@given(ticks, st.data())
def test_times_always_ascend(stamps, data):
    joints = data.draw(st.lists(st.integers(1, len(stamps)), max_size=4, unique=True).map(sorted))
    joints = np.array([joint for joint in joints if joint < len(stamps)], np.int64)
    times = ascending(np.array(stamps) / 90, joints, step=0.04)
    assert len(times) == len(stamps) and (np.diff(times) > 0).all()
    assert times[0] == min(stamps[: joints[0] if len(joints) else None]) / 90


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=80, unique=True))
def test_sound_stamps_stay(stamps):
    stamps_N = np.sort(np.array(stamps) / 1000)
    assert clock_joints(stamps_N, restarts=0).tolist() == []
    assert ascending(stamps_N, NO_JOINT, step=0.04).tolist() == stamps_N.tolist()


@given(st.lists(st.integers(6, 40), min_size=1, max_size=4), st.integers(0, 9))
def test_joined_clocks_go_on_a_frame_later(lengths, start):
    stamps_N = np.concatenate([start + np.arange(length) / 25 for length in lengths])
    joints = clock_joints(stamps_N, restarts=len(lengths) - 1)
    assert joints.tolist() == np.cumsum(lengths)[:-1].tolist()
    np.testing.assert_allclose(
        ascending(stamps_N, joints, 0.04), start + np.arange(len(stamps_N)) / 25, atol=1e-9
    )


def test_exchanged_stamps_are_no_other_clock():
    stamps_N = np.array([0, 2, 1, 3, 5, 4, 6]) / 25
    assert clock_joints(stamps_N, restarts=2).tolist() == []
    assert ascending(stamps_N, NO_JOINT, 0.04).tolist() == sorted(stamps_N)


@pytest.mark.parametrize("may_jump", [False, True])
def test_a_long_step_ahead_is_a_pause_unless_the_container_may_change_its_clock(may_jump):
    stamps_N = np.append(np.arange(30), 5000 + np.arange(30)) / 25
    joints = clock_joints(stamps_N, restarts=0, may_jump=may_jump)
    assert joints.tolist() == [30] * may_jump
    end = ascending(stamps_N, joints, 0.04)[-1]
    assert end == pytest.approx(59 / 25 if may_jump else 5029 / 25)


def test_equal_stamps_are_spread_up_to_the_next():
    assert ascending(np.array([1.0, 1, 1, 4, 4]), NO_JOINT, 0.5).tolist() == [1, 2, 3, 4, 7]
    assert ascending(np.array([7.0, 7, 7]), NO_JOINT, 0.5).tolist() == [7, 7.5, 8]
    assert usual_step(np.array([7.0, 7, 7])) == 0
