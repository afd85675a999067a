"""Packet arithmetic: presentation order, and where decoding may start."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.video.packets import Packets, Timeline, is_idr, seconds

times = st.integers(-(2**62), 2**62)
streams = st.lists(
    st.tuples(times, st.one_of(st.none(), times), st.integers(0, 2**31), st.booleans()),
    unique_by=lambda packet: packet[0],
    min_size=1,
    max_size=60,
)


def _packets(stream):
    packets = Packets()
    for pts, dts, size, is_key in stream:
        packets.append(pts, dts=dts, size=size, is_key=is_key)
    return packets


@given(streams)
def test_the_timeline_is_the_times_sorted(stream):
    timeline = _packets(stream).timeline()
    assert timeline.pts_N.tolist() == sorted(packet[0] for packet in stream)
    for index, pts in enumerate(timeline.pts_N.tolist()):
        assert timeline.find(pts) == index


@given(streams, times)
def test_only_times_of_frames_are_found(stream, pts):
    timeline = _packets(stream).timeline()
    index = timeline.find(pts)
    assert (index >= 0) == (pts in {packet[0] for packet in stream})
    assert timeline.find(None) == -1


@given(streams, st.data())
def test_decoding_starts_at_the_last_key_frame_not_shown_later(stream, data):
    packets = _packets(stream)
    timeline = packets.timeline()
    index = data.draw(st.integers(0, len(stream) - 1))
    row, first = timeline.start_before(index)
    shown = timeline.pts_N[index]
    keys = [p[0] for p in stream[1:] if p[3] and p[0] <= shown]
    assert first <= index
    if keys:
        assert stream[row][0] == max(keys) == timeline.pts_N[first]
    else:
        assert (row, first) == (0, 0)


@given(streams, st.data())
def test_a_packet_is_known_by_times_and_size(stream, data):
    packets = _packets(stream)
    row = data.draw(st.integers(0, len(stream) - 1))
    pts, dts, size, _ = stream[row]
    assert packets.is_at(row, pts, dts=dts, size=size)
    assert not packets.is_at(row, pts + 1, dts=dts, size=size)
    assert not packets.is_at(row, None, dts=dts, size=size)
    assert not packets.is_at(row, pts, dts=0 if dts is None else dts + 1, size=size)
    assert not packets.is_at(row, pts, dts=dts, size=size + 1)
    assert not packets.is_at(len(stream), pts, dts=dts, size=size)


@given(streams, st.data())
def test_a_seek_is_never_aimed_behind_the_packet(stream, data):
    row = data.draw(st.integers(0, len(stream) - 1))
    pts, dts, _, _ = stream[row]
    aim = _packets(stream).seek_time(row)
    assert aim <= pts and (dts is None or aim <= dts)
    assert aim in (pts, dts)


@given(streams)
def test_facts_about_all_packets(stream):
    packets = _packets(stream)
    assert len(packets) == len(stream)
    assert packets.smallest == min(size for _, _, size, _ in stream)
    assert packets.reordered == any(pts != dts for pts, dts, _, _ in stream)


@pytest.mark.parametrize(
    "pts", [[], [None], [0, None], [5, 5], [0, 3, 1, 3]], ids=["none", "a", "b", "twice", "again"]
)
def test_no_timeline_where_times_do_not_tell_frames_apart(pts):
    assert _packets((time, time, 9, True) for time in pts).timeline() is None


@given(st.integers(0, 2**40), st.integers(1, 10**6))
def test_seconds_are_as_exact_as_a_float(pts, rate):
    unit = Fraction(1, rate)
    assert seconds(np.array([pts]), unit)[0] == float(pts * unit)


def test_a_timeline_of_one_frame():
    timeline = Timeline(np.array([7]), np.array([0]), np.array([0]))
    assert timeline.start_before(0) == (0, 0) and timeline.find(7) == 0


@pytest.mark.parametrize("suffix", [".mp4", ".ts"], ids=["lengths", "start codes"])
@pytest.mark.parametrize("open_gop", [0, 1])
def test_an_open_group_does_not_start_afresh(tmp_path, make_video, suffix, open_gop):
    options = {"x264-params": f"open-gop={open_gop}:keyint=6:bframes=2:scenecut=0"}
    path = make_video(tmp_path / f"a{suffix}", 24, gop=6, options=options)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        extradata = stream.codec_context.extradata
        packets = [packet for packet in container.demux(stream) if packet.size]
    fresh = [is_idr(bytes(packet), extradata) for packet in packets if packet.is_keyframe]
    assert fresh[0] and len(fresh) >= 4
    assert all(fresh[1:]) == (not open_gop)
    assert not any(is_idr(bytes(packet), extradata) for packet in packets if not packet.is_keyframe)


@given(st.binary(max_size=64), st.one_of(st.none(), st.binary(max_size=8)))
def test_no_bytes_break_the_reader_of_slices(packet, extradata):
    assert is_idr(packet, extradata) in (True, False)
