"""Clip arithmetic: exact strides, in bounds, whole videos covered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import (
    ClipSpec,
    clip_indices,
    spread_starts,
    timed_starts,
    timed_ticks,
    timeline,
    varying_rate,
)

specs = st.builds(
    ClipSpec,
    frames=st.integers(1, 40),
    stride=st.integers(1, 10),
    short_video=st.sampled_from(["loop", "repeat"]),
)


@given(specs, st.integers(1, 500), st.data())
def test_indices_are_in_bounds_and_strided(spec, length, data):
    start = data.draw(st.integers(0, length - 1))
    ticks = clip_indices(start, spec, length)
    assert ticks.shape == (spec.frames,) and ticks.dtype == np.int64
    assert ticks[0] == start and ticks.min() >= 0 and ticks.max() < length
    steps = np.diff(ticks)
    if start + spec.span <= length:
        assert (steps == spec.stride).all()
    elif spec.short_video == "loop":
        assert ((ticks - start - spec.stride * np.arange(spec.frames)) % length == 0).all()
    else:
        assert ((steps == spec.stride) | (ticks[1:] == length - 1)).all()


@given(specs, st.integers(1, 500), st.integers(1, 12))
def test_spread_clips_reach_both_ends(spec, length, clips):
    start = spread_starts(length, spec, clips)
    assert len(start) == clips and (np.diff(start) >= 0).all()
    assert start.min() >= 0 and start.max() < length
    if length >= spec.span:
        assert start[-1] + spec.span <= length
        if clips > 1:
            assert start[0] == 0 and start[-1] + spec.span == length
            steps = np.diff(start)
            assert steps.max() - steps.min() <= 1
    else:
        assert (start == 0).all()


@given(specs, st.integers(1, 300))
def test_start_count_is_what_fits(spec, length):
    fitting = sum(start + spec.span <= length for start in range(length))
    assert spec.start_count(length) == max(1, fitting)


def test_cvrl_counts_the_same_starts():
    # M = L - (n - 1) s of the paper's code, for its 16 x 2 clips
    assert ClipSpec(16, 2).start_count(250) == 250 - 15 * 2


@given(st.integers(2, 300), st.sampled_from([10.0, 23.976, 25.0, 30.0, 60.0]))
def test_a_timeline_at_the_videos_own_rate_is_every_frame(frames, fps):
    times = np.round(np.arange(frames) / fps + 0.033, 4)
    assert timeline(times, fps).tolist() == list(range(frames))


@given(st.lists(st.floats(0.005, 0.5), min_size=1, max_size=60), st.sampled_from([5.0, 12.5, 30.0]))
def test_a_tick_shows_the_frame_on_screen(gaps, fps):
    times = np.cumsum([0.0, *gaps])
    shown = timeline(times, fps)
    assert shown[0] == 0 and (np.diff(shown) >= 0).all() and shown.max() < len(times)
    slack = 0.01 / fps + 1e-5
    for tick, frame in enumerate(shown):
        assert times[frame] <= tick / fps + slack
        if frame + 1 < len(times):
            assert times[frame + 1] > tick / fps - slack


@given(
    st.lists(st.floats(0.005, 0.5), min_size=1, max_size=120),
    st.floats(0.01, 3.0),
    st.integers(1, 12),
)
def test_dense_starts_are_the_nearest_to_each_multiple(gaps, every, frames):
    seconds, spec = np.cumsum([0.0, *gaps]), ClipSpec(frames, 1)
    starts = timed_starts(seconds, spec, every)
    inside = seconds[: spec.start_count(len(seconds))]
    assert starts[0] == 0 and (np.diff(starts) > 0).all() and starts[-1] < len(inside)
    assert (np.abs(seconds[starts] / every - np.round(seconds[starts] / every)) < 0.5 + 1e-4).all()
    for k in range(int(inside[-1] / every) + 1):  # an independent, slow rule
        nearest = np.abs(inside - k * every).min()
        if nearest < every * (0.5 - 1e-5):
            assert np.abs(seconds[starts] - k * every).min() <= nearest + 2e-6


def test_a_pause_is_not_filled_with_clips():
    seconds = np.array([0, 0.5, 1, 1.4, 6, 6.5, 7])
    assert timed_starts(seconds, ClipSpec(1, 1), 1.0).tolist() == [0, 2, 4, 6]


@given(st.integers(1, 50), specs)
def test_no_seconds_apart_is_every_start(length, spec):
    starts = timed_starts(np.arange(length) / 25, spec, 0.0)
    assert starts.tolist() == list(range(spec.start_count(length)))


@given(st.sampled_from([10.0, 23.976, 25.0, 29.97, 60.0]), st.integers(1, 200))
def test_rounded_stamps_are_a_varying_rate(fps, frames):
    assert varying_rate(np.round(np.arange(frames) / fps, 3)) is None


def test_dropped_frames_are_a_varying_rate():
    times = np.delete(np.arange(200) / 30, np.arange(90, 180, 3))
    assert varying_rate(times) == pytest.approx(30)


def test_ticks_of_a_given_rate_are_even_in_time():
    times = np.array([2.0, 2.1, 2.7, 3.0])
    for every in (None, 0.5):
        shown, seconds = timed_ticks(times, 10.0, every)
        assert shown.tolist() == timeline(times, 10.0).tolist()
        np.testing.assert_allclose(seconds, np.arange(11) / 10)


@pytest.mark.parametrize("every", [None, 0.0])
def test_without_a_rate_ticks_are_the_stored_frames(every):
    times = np.array([2.0, 2.1, 2.7, 3.0])
    shown, seconds = timed_ticks(times, None, every)
    assert shown.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(seconds, times - 2)


def test_one_frame_is_one_tick():
    assert timeline(np.array([3.0]), 25.0).tolist() == [0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClipSpec(0, 1),
        lambda: ClipSpec(1, 0),
        lambda: ClipSpec(1, 1, "mirror"),
        lambda: ClipSpec(1, 1, fps=0.0),
        lambda: clip_indices(5, ClipSpec(2, 1), 5),
        lambda: clip_indices(-1, ClipSpec(2, 1), 5),
        lambda: spread_starts(5, ClipSpec(2, 1), 0),
        lambda: spread_starts(0, ClipSpec(2, 1), 1),
    ],
)
def test_impossible_clips_are_refused(make):
    with pytest.raises(ValueError):
        make()
