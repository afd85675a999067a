"""Exactness: whatever is asked, in whatever file, against PyAV's plain decode; and typed errors.

All files are encoded here, for real; the tests marked ``real`` read files found in the wild.
"""

import csv
import os
import random
import struct
import subprocess
import sys
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvrl.utils.errors import CorruptVideoError
from cvrl.video import reader as video_module
from cvrl.video.limits import Limits
from cvrl.video.pyav_file import File
from cvrl.video.reader import open_video

ONE = 1 << 16


def plain_decode(path):
    """The measure: every frame in the order it comes, upright; and the timestamps."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = [
            (np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)), frame.pts)
            for frame in container.decode(stream)
        ]
        unit = stream.time_base
    return [image for image, _ in decoded], [pts and float(pts * unit) for _, pts in decoded]


def assert_exact(path, requests=6, **how):
    """All frames, then frames at random, each time through a video opened anew."""
    images, _ = plain_decode(path)
    video = open_video(path, **how)
    assert len(video) == len(images) and video.size == images[0].shape[:2]
    np.testing.assert_array_equal(video.frames(range(len(images))), images)
    rng = random.Random(len(images))
    for _ in range(requests):
        indices = rng.choices(range(len(images)), k=rng.randint(1, 6))
        np.testing.assert_array_equal(
            open_video(path, **how).frames(indices),
            [images[index] for index in indices],
            str(indices),
        )


@pytest.fixture
def decoders(monkeypatch):
    """Which way the frames came, in the order they were asked."""
    seen = []
    decord, in_order = video_module.read_with_decord, video_module._VideoFile._fill_in_order
    seeking = video_module._VideoFile._fill_by_seeking

    def spy_decord(*args):
        frames = decord(*args)
        seen.extend(["decord"] if frames is not None else [])
        return frames

    def spy_seeking(self, *args):
        done = seeking(self, *args)
        seen.extend(["seeking"] if done else [])
        return done

    def spy_in_order(self, *args):
        seen.append("in order")
        return in_order(self, *args)

    monkeypatch.setattr(video_module, "read_with_decord", spy_decord)
    monkeypatch.setattr(video_module._VideoFile, "_fill_by_seeking", spy_seeking)
    monkeypatch.setattr(video_module._VideoFile, "_fill_in_order", spy_in_order)
    return seen


X264 = {"x264-params": "keyint=6:min-keyint=1:bframes=2:open-gop=0:scenecut=0"}
OPEN = {"x264-params": "keyint=6:min-keyint=1:bframes=2:open-gop=1:scenecut=0"}
STRIPES = {"x264-params": "keyint=6:bframes=0:intra-refresh=1:scenecut=0"}
X265 = "keyint=6:min-keyint=1:bframes=2:open-gop={}:scenecut=0:log-level=none:pools=none"
# suffix, codec, pixel format, options, what is expected to read it (None: either way of PyAV's)
KINDS = {
    "h264 mp4": (".mp4", "libx264", "yuv420p", X264, "seeking"),
    "h264 mkv": (".mkv", "libx264", "yuv420p", X264, "seeking"),
    "h264 mov": (".mov", "libx264", "yuvj420p", X264, "seeking"),
    "h264 ts": (".ts", "libx264", "yuv420p", X264, "seeking"),
    "h264 flv": (".flv", "libx264", "yuv420p", X264, "seeking"),
    "h264 avi": (".avi", "libx264", "yuv420p", X264, "in order"),
    "h264 raw": (".h264", "libx264", "yuv420p", X264, "in order"),
    "open groups": (".mp4", "libx264", "yuv420p", OPEN, "seeking"),
    "open groups mkv": (".mkv", "libx264", "yuv420p", OPEN, "seeking"),
    "intra refresh": (".mp4", "libx264", "yuv420p", STRIPES, None),
    "10 bit": (".mp4", "libx264", "yuv420p10le", X264, "seeking"),
    "yuv444p": (".mp4", "libx264", "yuv444p", X264, "seeking"),
    "hevc": (".mp4", "libx265", "yuv420p", {"x265-params": X265.format(0)}, "seeking"),
    "hevc open": (".mkv", "libx265", "yuv420p", {"x265-params": X265.format(1)}, None),
    "mpeg4 avi": (".avi", "mpeg4", "yuv420p", {"g": "6", "qmin": "1", "qmax": "2"}, "seeking"),
    "mpeg4 avi B": (".avi", "mpeg4", "yuv420p", {"bf": "2", "g": "6"}, "seeking"),
    "mpeg4 mp4 B": (".mp4", "mpeg4", "yuv420p", {"bf": "2", "g": "6"}, "seeking"),
    "mpeg1": (".mpg", "mpeg1video", "yuv420p", {"bf": "2", "g": "6"}, None),
    "mpeg2 ts": (".ts", "mpeg2video", "yuv420p", {"bf": "2", "g": "6"}, None),
    "wmv": (".wmv", "wmv2", "yuv420p", {"g": "6"}, None),
    "vp8": (".webm", "libvpx", "yuv420p", {"g": "6", "auto-alt-ref": "1"}, "seeking"),
    "vp9": (".webm", "libvpx-vp9", "yuv420p", {"g": "6", "cpu-used": "8"}, "seeking"),
    "vp9 alpha": (".webm", "libvpx-vp9", "yuva420p", {"cpu-used": "8"}, "seeking"),
    "mjpeg": (".avi", "mjpeg", "yuvj420p", {}, None),
    "prores": (".mov", "prores_ks", "yuv422p10le", {}, None),
    "ffv1": (".mkv", "ffv1", "yuv420p", {}, None),
    "gif": (".gif", "gif", "bgr8", {}, None),
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, make_video):
    """A maker of one file a kind, 27 frames of 48x64, made when first asked for."""
    folder, made = tmp_path_factory.mktemp("encoded"), {}

    def make(kind):
        if kind not in made:
            suffix, codec, pix_fmt, options, _ = KINDS[kind]
            path = folder / f"{kind.replace(' ', '_')}{suffix}"
            made[kind] = make_video(path, 27, codec=codec, pix_fmt=pix_fmt, gop=6, options=options)
        return made[kind]

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_the_plain_decodes(kind, encoded, decoders):
    assert_exact(encoded(kind))
    assert KINDS[kind][-1] in (None, *decoders[:1])


@pytest.mark.parametrize("kind", ["h264 mp4", "open groups", "h264 avi", "h264 ts", "hevc open"])
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_indices_in_any_order(kind, data, encoded):
    indices = data.draw(st.lists(st.integers(0, 26), min_size=1, max_size=12))
    images, _ = plain_decode(encoded(kind))
    frames = open_video(encoded(kind)).frames(indices)
    np.testing.assert_array_equal(frames, [images[index] for index in indices])


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    suffix=st.sampled_from([".mp4", ".mkv", ".avi", ".ts"]),
    gop=st.integers(1, 9),
    b_frames=st.integers(0, 3),
    open_gop=st.booleans(),
    count=st.integers(8, 25),
)
def test_any_group_of_pictures(tmp_path, make_video, suffix, gop, b_frames, open_gop, count):
    params = f"keyint={gop}:min-keyint=1:bframes={b_frames}:open-gop={int(open_gop)}:scenecut=0"
    options = {"x264-params": params, "preset": "ultrafast"}
    assert_exact(make_video(tmp_path / f"a{suffix}", count, gop=gop, options=options), requests=3)


@pytest.mark.parametrize("size", [(16, 16), (50, 98), (48, 48), (34, 66), (90, 160)])
def test_small_and_odd_sizes(tmp_path, make_video, moving_frames, size):
    assert_exact(make_video(tmp_path / "a.mp4", moving_frames(9, size)))


@pytest.mark.parametrize("size", [(49, 64), (48, 65), (37, 41)])
def test_odd_heights_and_widths(tmp_path, make_video, moving_frames, size):
    path = make_video(tmp_path / "a.mp4", moving_frames(9, size), codec="mpeg4")
    assert_exact(path)


@pytest.fixture
def moving_frames():
    def make(count, size):
        rng = np.random.default_rng(count)
        blocks = rng.integers(256, size=(size[0] // 4 + 1, size[1] // 4 + 1, 3), dtype=np.uint8)
        still = blocks.repeat(4, axis=0).repeat(4, axis=1)[: size[0], : size[1]]
        return np.stack([np.roll(still, index, axis=1) for index in range(count)])

    return make


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("h264 avi", "h264 raw", "gif")]
)
def test_times_are_the_frames_own(kind, encoded):
    _, times = plain_decode(encoded(kind))
    video = open_video(encoded(kind))
    assert video.times.dtype == np.float64
    np.testing.assert_allclose(video.times, times, rtol=0, atol=1e-9)
    assert video.fps == pytest.approx(25, rel=0.01)


def test_variable_rate_is_told_by_times(tmp_path, make_video):
    ticks = [0, 1, 2, 3, 10, 11, 30, 60, 61, 62]
    path = make_video(tmp_path / "a.mp4", 10, times=ticks)
    video = open_video(path)
    np.testing.assert_allclose(video.times, np.array(ticks) / 25, atol=1e-6)
    assert_exact(path)


def test_a_stream_starts_where_it_starts(tmp_path, make_video):
    path = make_video(tmp_path / "a.mkv", 12, times=list(range(100, 112)))
    np.testing.assert_allclose(open_video(path).times, np.arange(100, 112) / 25, atol=1e-3)
    assert_exact(path)


def test_guessed_times_are_made_to_ascend(encoded):
    """In an AVI frames come out in order but with each other's times."""
    _, times = plain_decode(encoded("h264 avi"))
    assert (np.diff(times) < 0).any()
    np.testing.assert_allclose(open_video(encoded("h264 avi")).times, np.arange(1, 28) / 25)


def test_without_timestamps_the_rate_tells_times(encoded):
    video = open_video(encoded("h264 raw"))
    assert video.fps == 25
    np.testing.assert_allclose(video.times, np.arange(27) / video.fps)


def test_frame_rates_that_are_no_whole_number(tmp_path, make_video):
    video = open_video(make_video(tmp_path / "a.mp4", 10, fps=30000 / 1001))
    assert video.fps == pytest.approx(30000 / 1001)


# --- rotation ------------------------------------------------------------------------------------


def _with_matrix(path, matrix, frames=7):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_matrix(matrix)
        rng = np.random.default_rng(0)
        for index in range(frames):
            image = rng.integers(256, size=(48, 64, 3), dtype=np.uint8)
            image[:24, :32] = 20 * index
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("matrix", "size"),
    [
        ((ONE, 0, 0, ONE), (48, 64)),
        ((0, ONE, -ONE, 0), (64, 48)),
        ((-ONE, 0, 0, -ONE), (48, 64)),
        ((0, -ONE, ONE, 0), (64, 48)),
    ],
    ids=["0", "90", "180", "270"],
)
def test_rotated_files_come_upright(tmp_path, matrix, size):
    a, b, c, d = matrix
    path = _with_matrix(tmp_path / "a.mp4", [a, b, 0, c, d, 0, 0, 0, 1 << 30])
    assert open_video(path).size == size
    assert_exact(path)


def test_a_mirrored_file_is_mirrored_back(tmp_path):
    path = _with_matrix(tmp_path / "a.mp4", [-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30])
    with av.open(str(path)) as container:
        coded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(open_video(path).frames([5, 1])[0], coded[5][:, ::-1])


# --- which decoder -------------------------------------------------------------------------------

FOR_DECORD = {"h264 mp4", "h264 mkv", "h264 mov", "mpeg4 avi"}


@pytest.mark.parametrize("kind", KINDS)
def test_decord_gives_the_frames_of_pyav_or_is_not_asked(encoded, decoders, kind):
    assert_exact(encoded(kind), decoder="decord")
    assert ("decord" in decoders) == (kind in FOR_DECORD)
    assert kind not in FOR_DECORD or set(decoders) == {"decord"}


@pytest.mark.parametrize("module", ["missing", "failing"])
def test_pyav_reads_what_decord_cannot(monkeypatch, encoded, decoders, module):
    class Failing:
        def __getattr__(self, name):
            raise RuntimeError("no")

    monkeypatch.setitem(sys.modules, "decord", None if module == "missing" else Failing())
    assert_exact(encoded("h264 mp4"), decoder="decord")
    assert set(decoders) == {"seeking"}


def test_pyav_reads_what_decord_counts_otherwise(monkeypatch, encoded, decoders):
    import decord

    monkeypatch.setattr(decord.VideoReader, "__len__", lambda self: 26)
    assert_exact(encoded("h264 mp4"), decoder="decord")
    assert set(decoders) == {"seeking"}


def test_decord_is_not_given_more_than_it_could_be_stopped_in(monkeypatch, encoded, decoders):
    monkeypatch.setattr(video_module, "_DECORD_COST", 48 * 64 * 6)
    video = open_video(encoded("h264 mp4"), decoder="decord")
    video.frames([6, 11])
    video.frames([6, 12])
    assert decoders == ["decord", "seeking"]


@pytest.mark.parametrize("milliseconds", [1e9, 1e12, 1e15])
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_header_that_claims_too_much_is_kept_from_decord(
    tmp_path, encoded, decoders, milliseconds, decoder
):
    """It makes room for all the frames that would be, and takes the process down with it."""
    data = bytearray(encoded("h264 mkv").read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # the element Duration, a float of eight bytes
    data[at : at + 8] = struct.pack(">d", milliseconds)
    path = tmp_path / "a.mkv"
    path.write_bytes(data)
    assert_exact(path, decoder=decoder)
    assert set(decoders) == {"seeking"}


@pytest.fixture
def decoded(monkeypatch):
    """The frames that came out of a decoder which started at a key frame, in their order."""
    seen = []
    decode_from = File.decode_from

    def spy(self, *args):
        for index, frame in decode_from(self, *args):
            seen.append(index)
            yield index, frame

    monkeypatch.setattr(File, "decode_from", spy)
    return seen


def test_a_far_frame_is_reached_from_its_key_frame(tmp_path, make_video, decoded):
    """Of 240 frames, two groups of 12 are decoded and no more."""
    path = make_video(tmp_path / "a.ts", 240)
    video, images = open_video(path), plain_decode(path)[0]
    np.testing.assert_array_equal(video.frames([230, 100]), [images[230], images[100]])
    assert len(decoded) < 30 and decoded[0] >= 90


@pytest.mark.parametrize("kind", ["h264 mp4", "h264 mov", "mpeg4 mp4 B", "10 bit"])
def test_what_no_asked_frame_needs_is_not_decoded(encoded, decoded, kind):
    path = encoded(kind)
    video, images = open_video(path), plain_decode(path)[0]
    for index in range(len(images)):
        decoded.clear()
        np.testing.assert_array_equal(video.frames([index])[0], images[index])
        assert index in decoded
        if index == len(images) - 1:
            assert len(decoded) <= 4  # of a group of 6 with 2 of 3 frames that nothing needs


def test_frames_in_between_are_left_out_over_a_long_group(tmp_path, make_video, decoded):
    options = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none:scenecut=0"}
    path = make_video(tmp_path / "a.mp4", 100, gop=100, options=options)
    video, images = open_video(path), plain_decode(path)[0]
    counts = []
    for asked in ([98], [0, 99], range(60, 90, 2), range(100)):
        decoded.clear()
        np.testing.assert_array_equal(video.frames(asked), [images[i] for i in asked])
        counts.append(len(decoded))
    assert counts[0] <= 28 and counts[1] <= 28 and counts[2] <= 40 and counts[3] == 100


def test_the_first_of_two_streams_is_read(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, side in zip(streams, (32, 64), strict=True):
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
        for index in range(6):
            for stream in streams:
                image = np.full((stream.height, stream.width, 3), 40 * index, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    assert open_video(path).size == (32, 32)
    assert_exact(path)


def test_sound_beside_the_picture_does_not_matter(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(20):
            image = np.full((48, 64, 3), 10 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
        _add_sound(container, sound)
    assert_exact(path)


def _add_sound(container, stream):
    for index in range(20):
        samples = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 1024 * index
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def test_a_size_that_changes_is_scaled_to_the_first(tmp_path, make_video, moving_frames):
    small = make_video(tmp_path / "small.h264", moving_frames(10, (48, 64)))
    large = make_video(tmp_path / "large.h264", moving_frames(10, (96, 128)))
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with av.open(str(path)) as container:
        scaled = [
            frame.reformat(64, 48, "rgb24").to_ndarray() for frame in container.decode(video=0)
        ]
    frames = open_video(path).frames(range(20))
    np.testing.assert_array_equal(frames, scaled)
    np.testing.assert_array_equal(frames[:10], plain_decode(small)[0])


def test_packets_without_a_picture_are_no_frames(tmp_path, make_video):
    """XviD writes a few bytes where nothing moves, and no frame comes of them."""
    source = make_video(tmp_path / "a.avi", 24, codec="mpeg4", gop=6)
    path = tmp_path / "b.avi"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for index, packet in enumerate(old.demux(video=0)):
            if not packet.size:
                continue
            if index in (9, 16):
                empty = av.Packet(_not_coded(index))
                empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
                packet = empty
            packet.stream = stream
            new.mux(packet)
    images, times = plain_decode(path)
    assert len(images) == 22
    np.testing.assert_allclose(open_video(path).times, times)
    assert_exact(path)


def _not_coded(index):
    """An MPEG-4 picture header that says "not coded" (ISO 14496-2, 6.2.5)."""
    bits = f"01{'0'}1{index % 25:05b}1" + "0"  # P, no full second, marker, tick, marker, not coded
    bits += "0" + "1" * (-len(bits) % 8 - 1)  # stuffing
    return b"\0\0\1\xb6" + int(bits, 2).to_bytes(len(bits) // 8, "big")


# --- damage --------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path, make_video):
    """An mp4 of four groups of six, in which a packet's length field of the second is nonsense."""
    path = make_video(tmp_path / "a.mp4", 24, gop=6, options=X264)
    images, _ = plain_decode(path)
    with av.open(str(path)) as container:
        places = [(p.pos, p.is_keyframe) for p in container.demux(video=0) if p.size]
    keys = [pos for pos, is_key in places if is_key]
    data = bytearray(path.read_bytes())
    data[keys[1] : keys[1] + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(data)
    return path, images


def test_damage_costs_its_own_group_only(damaged):
    path, images = damaged
    with pytest.raises(av.FFmpegError):
        plain_decode(path)
    video = open_video(path)
    assert len(video) == 24
    np.testing.assert_array_equal(video.frames(range(4)), images[:4])  # two wait in the decoder
    np.testing.assert_array_equal(video.frames([23, 13]), [images[23], images[13]])
    with pytest.raises(CorruptVideoError, match=r"frame 8 of 24 does not decode: Invalid data"):
        video.frames([3, 8, 20])


def test_all_of_a_damaged_file_raises(damaged):
    video = open_video(damaged[0])
    with pytest.raises(CorruptVideoError) as caught:
        video.frames(range(24))
    assert caught.value.path == str(damaged[0])
    assert "\n" not in caught.value.reason


def test_damage_in_a_counted_file_is_found_on_opening(tmp_path, encoded):
    """Of an AVI with B-frames every frame is decoded to count them."""
    path = tmp_path / "a.avi"
    data = bytearray(encoded("h264 avi").read_bytes())
    with av.open(str(encoded("h264 avi"))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[8:]:
        data[packet.pos + 8 : packet.pos + 8 + packet.size] = b"\0\0\1\x67" + b"\xff" * (
            packet.size - 4
        )
    path.write_bytes(data)
    with pytest.raises(av.FFmpegError):
        plain_decode(path)
    with pytest.raises(CorruptVideoError, match=r"decoding stops after \d+ frames: "):
        open_video(path)


@pytest.mark.parametrize("kind", ["h264 mkv", "h264 ts", "vp8", "vp9"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_cut_file_gives_what_is_left(tmp_path, encoded, kind, share):
    """No error tells that these were cut: the plain decode is as content."""
    source = encoded(kind)
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[: int(share * source.stat().st_size)])
    images, _ = plain_decode(path)
    assert 0 < len(images) < 27
    assert_exact(path)


def test_a_file_that_lost_its_start_gives_what_decodes(tmp_path, encoded):
    data = encoded("h264 ts").read_bytes()
    path = tmp_path / "a.ts"
    path.write_bytes(data[188 * (len(data) // 188 // 3) :])
    try:
        images, _ = plain_decode(path)
    except av.FFmpegError:
        images = []
    if images:
        assert_exact(path)
    else:
        with pytest.raises(CorruptVideoError):
            open_video(path)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_flipped_bits_give_frames_or_one_error(tmp_path, encoded, data):
    source = encoded(data.draw(st.sampled_from(["h264 mp4", "mpeg4 avi B", "vp9", "h264 ts"])))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / f"damaged{source.suffix}"
    path.write_bytes(content)
    try:
        video = open_video(path, limits=Limits(max_seconds=20, max_pixels=10**6))
        frames = video.frames([0, len(video) - 1])
    except CorruptVideoError as error:
        assert error.path == str(path) and error.reason and "\n" not in error.reason
    else:
        assert frames.shape == (2, *video.size, 3)
        assert (np.diff(video.times) >= 0).all()


def _audio_only(path):
    with av.open(str(path), "w") as container:
        _add_sound(container, container.add_stream("aac", rate=16000))


BROKEN = {
    "missing.mp4": (None, "no such file"),
    "empty.mp4": (b"", "the file is empty"),
    "text.mp4": (b"I am not a video.\n" * 50, "Invalid data found"),
    "random.avi": (random.Random(0).randbytes(20_000), "Invalid data found"),
    "subtitles.mp4": (b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n" * 9, "no video stream"),
    "concat.mp4": (b"ffconcat version 1.0\nfile 'other.mp4'\n", "Invalid argument"),
    "list.m3u8": (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mp4\n",
        "Invalid argument",
    ),
    "sound.mp4": (_audio_only, "no video stream"),
    "folder": (os.mkdir, "no jpg or png frames in the folder"),
    "pipe.mp4": (os.mkfifo, "not a regular file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_typed_error_with_path_and_reason(tmp_path, make_video, capfd, name):
    make_video(tmp_path / "other.mp4", 3)
    capfd.readouterr()
    content, reason = BROKEN[name]
    path = tmp_path / name
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(CorruptVideoError) as caught:
        open_video(path)
    assert caught.value.path == str(path)
    assert reason in caught.value.reason and "\n" not in caught.value.reason
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.8])
def test_an_mp4_without_its_index(tmp_path, encoded, keep):
    data = encoded("h264 mp4").read_bytes()
    path = tmp_path / "a.mp4"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CorruptVideoError):
        video = open_video(path)
        video.frames(range(len(video)))


def test_damage_makes_no_noise(damaged, encoded, capfd):
    for path in (damaged[0], encoded("h264 mp4"), encoded("hevc open")):
        video = open_video(path)
        try:
            video.frames(range(len(video)))
        except CorruptVideoError:
            assert path == damaged[0]
    assert capfd.readouterr().err == ""


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["h264 mp4", "h264 avi", "h264 raw"])
def test_limits_are_named(encoded, kind):
    path = encoded(kind)
    for limits, reason in (
        (Limits(max_pixels=48 * 64 - 1), "64x48 is over the limit max_pixels=3071"),
        (Limits(max_frames=26), "max_frames=26"),
        (Limits(max_seconds=1e-6), "max_seconds=1e-06"),
    ):
        with pytest.raises(CorruptVideoError, match=reason):
            open_video(path, limits=limits)
    assert len(open_video(path, limits=Limits(max_pixels=48 * 64, max_frames=27))) == 27


@pytest.mark.parametrize("kind", ["h264 mp4", "open groups", "h264 avi"])
def test_reading_has_its_own_time(encoded, kind, monkeypatch):
    video = open_video(encoded(kind))
    monkeypatch.setattr(video._source, "_limits", Limits(max_seconds=1e-6))
    with pytest.raises(CorruptVideoError, match="max_seconds"):
        video.frames([3])


def test_a_size_that_grows_is_caught_when_it_does(tmp_path, make_video, moving_frames):
    small = make_video(tmp_path / "small.h264", moving_frames(10, (48, 64)))
    large = make_video(tmp_path / "large.h264", moving_frames(10, (480, 640)))
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(CorruptVideoError):
        open_video(path, limits=Limits(max_pixels=48 * 64))


# --- living with it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ünï cödé 视频.mp4", "no_extension", "UPPER.MP4", "100%d.mp4", "wrong.avi", "a:b.mp4"]
)
def test_names_do_not_matter(tmp_path, encoded, name, monkeypatch):
    (tmp_path / name).write_bytes(encoded("h264 mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(
        open_video(name).frames([9]), open_video(encoded("h264 mp4")).frames([9])
    )
    assert open_video(name).path == name


def test_text_that_is_no_unicode_in_a_file_does_not_matter(tmp_path, encoded):
    source = tmp_path / "a.mkv"
    with av.open(str(encoded("h264 mkv"))) as old, av.open(str(source), "w") as new:
        new.metadata["title"] = "titletitle"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    source.write_bytes(source.read_bytes().replace(b"titletitle", b"\xff\xfe\xfa" + b"xtitle!"))
    assert len(open_video(source)) == 27


@pytest.mark.parametrize("kind", ["h264 mp4", "h264 ts", "h264 avi"])
def test_nothing_stays_open(encoded, kind):
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        pytest.skip("open files are listed on Linux only")
    path = encoded(kind)
    open_video(path).frames([3])
    before = len(os.listdir(folder))
    videos = [open_video(path) for _ in range(5)]
    for video in videos:
        video.frames([7, 20])
    assert len(os.listdir(folder)) == before


@pytest.mark.parametrize("kind", ["h264 mp4", "h264 ts", "h264 avi"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_video_survives_a_fork(encoded, kind):
    video = open_video(encoded(kind))
    wanted = video.frames(range(27))

    class Frames(torch.utils.data.Dataset):
        def __len__(self):
            return 27

        def __getitem__(self, index):
            return video.frames([index])[0]

    loader = torch.utils.data.DataLoader(
        Frames(), batch_size=9, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    np.testing.assert_array_equal(torch.cat(list(loader)).numpy(), wanted)


def test_importing_is_cheap():
    code = "import sys, cvrl.video.reader; print(sorted({'av', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" and done.stderr == ""


# --- files found in the wild ---------------------------------------------------------------------


def _checksums(path):
    """The plain decode of a file too large to keep, and the error that ended it."""
    sums, reason = [], None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1  # what FFmpeg paints over damage depends on the number
            for frame in container.decode(stream):
                image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                sums.append(zlib.crc32(np.ascontiguousarray(image)))
    except (av.FFmpegError, IndexError) as error:
        reason = error
    return sums, reason


def _sums(frames):
    return [zlib.crc32(frame) for frame in frames]


def _differences(path, requests=4):
    """What differs from the plain decode: all frames in pieces, then frames at random."""
    sums, reason = _checksums(path)
    try:
        video = open_video(path)
        pieces = [range(start, min(start + 32, len(video))) for start in range(0, len(video), 32)]
        given = [crc for piece in pieces for crc in _sums(video.frames(piece))]
    except CorruptVideoError as error:
        return [] if reason or not sums else [f"refused: {error.reason}"]
    found = [] if given == sums and not reason else [f"{len(given)} frames, {len(sums)} plain"]
    rng = random.Random(len(sums))
    for _ in range(requests):
        indices = rng.choices(range(len(sums)), k=rng.randint(1, 5))
        if _sums(video.frames(indices)) != [sums[index] for index in indices]:
            found.append(f"at {indices}")
    return found


@pytest.fixture(scope="session")
def formats(real_data):
    """Rows of the list of odd files."""
    folder = real_data / "formats"
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"{folder / 'manifest.csv'} is not there")
    with open(folder / "manifest.csv", encoding="utf-8") as lines:
        return [{**row, "path": folder / row["file"]} for row in csv.DictReader(lines)]


def _small(row):
    return int(row["w"] or 0) * int(row["h"] or 0) * int(row["decoded"]) < 5_000_000


def _one_size(row):
    return int(row["n_sizes"]) < 2


@pytest.mark.real
@pytest.mark.parametrize("small", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_real_formats_are_exact_or_refused(formats, small):
    rows = [row for row in formats if _small(row) == small and _one_size(row)]
    found = {row["file"]: _differences(row["path"]) for row in rows}
    assert len(found) > 10
    assert {name: differences for name, differences in found.items() if differences} == {}


@pytest.mark.real
def test_real_broken_files_raise_one_typed_error(formats):
    for row in formats:
        if row["status"] == "ok" and int(row["decoded"]):
            continue
        with pytest.raises(CorruptVideoError) as caught:
            video = open_video(row["path"])
            video.frames(range(len(video)))
        assert caught.value.path == str(row["path"])
        assert caught.value.reason and "\n" not in caught.value.reason


@pytest.mark.real
def test_real_damaged_files_give_what_lies_before_the_damage(formats):
    rows = [
        row for row in formats if row["status"].startswith("error after") and row["decoded"] != "0"
    ]
    assert rows
    for row in rows:
        count = int(row["decoded"])
        assert _sums(open_video(row["path"]).frames(range(count))) == _checksums(row["path"])[0]


@pytest.mark.real
def test_real_times_and_rates(formats):
    for row in formats:
        if row["status"] != "ok" or row["start_time"] == "" or row["decoded"] == "0":
            continue
        if row["container"] in ("avi", "mp3") or not _small(row):
            continue
        video = open_video(row["path"])
        assert video.times[0] == pytest.approx(float(row["start_time"]), abs=0.1), row["file"]
        assert (np.diff(video.times) > 0).all(), row["file"]
        if not row["avg_fps"].startswith("0/") and row["rotation"] == "":
            assert video.fps == pytest.approx(float(Fraction(row["avg_fps"])), rel=0.05), row[
                "file"
            ]


def _ucf101(real_data, name):
    path = real_data / "ucf101_4" / name.split("_")[1] / f"{name}.avi"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        "v_BabyCrawling_g13_c01",
        "v_BabyCrawling_g19_c04",
        "v_BabyCrawling_g02_c01",
        "v_JumpingJack_g20_c01",
        "v_JumpingJack_g20_c03",
        "v_JumpingJack_g20_c04",
        "v_PushUps_g01_c01",
    ],
)
def test_real_xvid_files_that_break_readers(real_data, name):
    path = _ucf101(real_data, name)
    assert _differences(path, requests=8) == []
    video = open_video(path)
    assert _sums(video.frames([len(video) - 1])) == _checksums(path)[0][-1:]
    assert (np.diff(video.times) > 0).all()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["ucf101_4", "weizmann4", "urfall_pairs"])
def test_every_real_file_is_exact(real_data, folder):
    paths = sorted(p for p in (real_data / folder).rglob("*") if p.suffix in (".avi", ".mp4"))
    if not paths:
        pytest.skip(f"{real_data / folder} holds no videos")
    found = {path.name: _differences(path, requests=2) for path in paths}
    assert {name: differences for name, differences in found.items() if differences} == {}


def test_key_frames_are_those_the_encoder_was_told_to_make(make_video, tmp_path):
    options = {"x264-params": "keyint=12:min-keyint=12:scenecut=0"}
    with open_video(make_video(tmp_path / "a.mp4", 40, options=options)) as video:
        assert video.key_frames.tolist() == [0, 12, 24, 36]


def test_without_the_loop_filter_frames_are_near(video_folder):
    path = str(sorted(video_folder.rglob("*.mp4"))[0])
    with open_video(path) as exact, open_video(path, decoder="lossy") as near:
        assert np.array_equal(near.times, exact.times)
        indices = range(0, len(exact), 2)
        apart = np.abs(near.frames(indices).astype(int) - exact.frames(indices).astype(int))
    assert 0 < apart.mean() < 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_b_frames_with_times_in_decoding_order_are_exact(codec, suffix, tmp_path):
    path = tmp_path / f"copied{suffix}"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": "2", "g": "9"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        still = rng.integers(0, 255, (48, 64, 3), np.uint8)
        for shift in [*range(24), None]:
            image = None if shift is None else np.roll(still, shift, axis=1)
            frame = None if image is None else av.VideoFrame.from_ndarray(image)
            for packet in stream.encode(frame):
                packet.pts = packet.dts
                container.mux(packet)
    images, _ = plain_decode(path)
    for index, image in enumerate(images):
        np.testing.assert_array_equal(open_video(path).frames([index])[0], image, str(index))
    assert_exact(path)
