"""Random access equals sequential decoding for every container, codec and kind of time stamps.

The files are encoded here: 40 frames of 64x48 pixels, a group of pictures every 9 frames. What
FFmpeg cannot write, and what its own sequential decoding cannot read back, is left out; some
containers of each codec must remain, so that a matrix that shrinks fails.
"""

import random
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from cvrl.video.reader import open_video

FRAMES, SIZE, RATE = 40, (48, 64), 25
CONTAINERS = (
    "mp4 mov mkv avi ts m2ts mpg vob webm flv wmv ogv nut mxf 3gp ivf m4v h264 hevc obu m1v m2v "
    "mjpeg gif apng y4m rm wtv gxf amv roq h261 h263 dv swf drc"
)
EMPTY_PICTURE = bytes.fromhex("000001b6507fff")
DIVX_503 = b"\0\0\1\xb2DivX503b1393p"
MAIN = "mp4 mkv avi ts mpg flv wmv nut webm"  # for the stamps that no muxer writes itself
X264 = "keyint=9:min-keyint=1:scenecut=0:bframes={}:open-gop={}:b-pyramid={}"
FIELDS = X264.format(2, 0, "none") + ":interlaced=1"
STRIPES = "keyint=9:bframes=0:intra-refresh=1:scenecut=0"
X265 = "keyint=9:min-keyint=1:scenecut=0:log-level=none:pools=none:bframes={}:open-gop={}"
G = {"g": "9"}
CLOSED = G | {"bf": "2", "flags": "+cgop", "sc_threshold": "1000000000"}
VPX = {"g": "9", "deadline": "realtime", "cpu-used": "8"}
LAGGED = {"g": "9", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "8"}
CODECS = {  # encoder, options, containers that must be among those that it is written to
    "h264": ("libx264", {"x264-params": X264.format(0, 0, "none")}, "mp4 mkv avi ts flv"),
    "h264-b3": ("libx264", {"x264-params": X264.format(3, 0, "normal")}, "mp4 mkv avi ts flv"),
    "h264-open": ("libx264", {"x264-params": X264.format(2, 1, "none")}, "mp4 mkv avi ts flv"),
    "h264-fields": ("libx264", {"x264-params": FIELDS}, "mp4 mkv avi ts flv"),
    "h264-stripes": ("libx264", {"x264-params": STRIPES}, "mp4 mkv avi ts flv"),
    "h264-rgb": ("libx264rgb", {"x264-params": X264.format(2, 0, "none")}, "mp4 mkv"),
    "hevc": ("libx265", {"x265-params": X265.format(0, 0)}, "mp4 mkv ts"),
    "hevc-b3": ("libx265", {"x265-params": X265.format(3, 0)}, "mp4 mkv ts"),
    "hevc-open": ("libx265", {"x265-params": X265.format(3, 1)}, "mp4 mkv ts"),
    "mpeg4": ("mpeg4", G, "mp4 mkv avi ts"),
    "mpeg4-b1": ("mpeg4", G | {"bf": "1"}, "mp4 mkv avi ts"),
    "mpeg4-b2": ("mpeg4", G | {"bf": "2"}, "mp4 mkv avi ts"),
    "mpeg4-b4-qpel": ("mpeg4", G | {"bf": "4", "flags": "+qpel+mv4"}, "mp4 mkv avi ts"),
    "mpeg4-fields": ("mpeg4", G | {"bf": "2", "flags": "+ildct+ilme"}, "mp4 mkv avi ts"),
    "mpeg2": ("mpeg2video", G, "mkv mpg ts vob"),
    "mpeg2-b2": ("mpeg2video", G | {"bf": "2"}, "mkv mpg ts vob"),
    "mpeg2-fields": ("mpeg2video", G | {"bf": "2", "flags": "+ildct+ilme"}, "mkv mpg ts vob"),
    "mpeg2-closed": ("mpeg2video", CLOSED, "mkv mpg ts vob"),
    "mpeg1": ("mpeg1video", G, "mkv mpg"),
    "mpeg1-b2": ("mpeg1video", G | {"bf": "2"}, "mkv mpg"),
    "vp8": ("libvpx", VPX, "webm mkv"),
    "vp8-alt": ("libvpx", LAGGED, "webm mkv"),
    "vp9": ("libvpx-vp9", VPX, "webm mkv mp4"),
    "vp9-alt": ("libvpx-vp9", LAGGED, "webm mkv mp4"),
    "av1": ("libsvtav1", G | {"preset": "13", "svtav1-params": "lp=1"}, "webm mkv mp4"),
    "wmv1": ("wmv1", G, "wmv avi"),
    "wmv2": ("wmv2", G, "wmv avi"),
    "msmpeg4v2": ("msmpeg4v2", G, "wmv avi"),
    "msmpeg4v3": ("msmpeg4", G, "wmv avi mkv"),
    "flv1": ("flv", G, "flv avi"),
    "h261": ("h261", G, "avi"),
    "h263": ("h263", G, "3gp avi"),
    "h263p": ("h263p", G, "avi"),
    "rv10": ("rv10", G, "rm"),
    "rv20": ("rv20", G, "rm"),
    "snow": ("snow", G, "avi"),
    "svq1": ("svq1", G, "mov"),
    "zmbv": ("zmbv", G, "avi"),
    "flashsv": ("flashsv", G, "flv"),
    "flashsv2": ("flashsv2", G, "flv"),
    "msvideo1": ("msvideo1", G, "avi"),
    "qtrle": ("qtrle", G, "mov"),
    "rpza": ("rpza", G, "mov"),
    "ffv1": ("ffv1", G, "mkv avi"),
    "mjpeg": ("mjpeg", {}, "avi mov"),
    "amv": ("amv", {}, "avi"),
    "asv1": ("asv1", {}, "avi"),
    "huffyuv": ("huffyuv", {}, "avi"),
    "utvideo": ("utvideo", {}, "avi"),
    "magicyuv": ("magicyuv", {}, "avi"),
    "jpeg2000": ("jpeg2000", {}, "mov"),
    "prores": ("prores_ks", {}, "mov"),
    "dnxhd": ("dnxhd", {"profile": "dnxhr_lb"}, "mov"),
    "png": ("png", {}, "mov"),
    "apng": ("apng", {}, "apng"),
    "gif": ("gif", {}, "gif"),
    "raw": ("rawvideo", {}, "avi"),
}
SIZES = {"h261": (144, 176), "h263": (96, 128), "dnxhd": (144, 256)}
FORMATS = {"mjpeg": "yuvj420p", "amv": "yuvj420p", "zmbv": "bgr0"}
STAMPS = ("as written", "pts = dts", "no pts")  # in all containers
ODD = ("late", "early", "gaps", "all keys", "no keys", "headless", "sound", "fragments")  # in MAIN
DIVX = ("packed", "unpacked", "copied")  # MPEG-4 with B-frames, as DivX and XviD wrote it
UNSTEADY = {("flashsv2", "no keys")}  # FFmpeg's sequential decoding gives other frames each time
IN_BRIEF = (  # each gave other frames than sequential decoding, or times that repeat
    ("h263p", "as written", "avi"),
    ("mpeg4-b2", "all keys", "mp4"),
    ("msmpeg4v3", "all keys", "mkv"),
    ("wmv1", "all keys", "wmv"),
    ("flv1", "all keys", "flv"),
    ("mpeg4-b4-qpel", "unpacked", "avi"),
    ("mpeg4-b1", "headless", "mp4"),
    ("mpeg2-b2", "as written", "wmv"),
    ("mpeg2-b2", "pts = dts", "mpg"),
)


def pictures(container, name):
    """The stream and the packets of a moving pattern, encoded for a container."""
    codec, options, _ = CODECS[name]
    height, width = SIZES.get(name, SIZE)
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (height // 4, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    stream = container.add_stream(codec, rate=RATE, options=options)
    stream.height, stream.width = height, width
    formats = [form.name for form in stream.codec_context.codec.video_formats or ()]
    usual = "yuv420p" if not formats or "yuv420p" in formats else formats[0]
    stream.pix_fmt = FORMATS.get(name, usual)
    stream.codec_context.time_base, stream.codec_context.thread_count = Fraction(1, RATE), 1
    packets = []
    for t in range(FRAMES):
        frame = av.VideoFrame.from_ndarray(np.roll(still, (t, 3 * t), (0, 1)))
        frame.pts = t
        packets += stream.encode(frame)
    return stream, packets + stream.encode(None)


def stamped(packets, stamps):
    """The packets with other time stamps or flags, or without the first of them."""
    start = {"late": 1000, "early": -7}.get(stamps, 0)
    for place, packet in enumerate(packets):
        if stamps == "pts = dts":
            packet.pts = packet.dts
        elif stamps == "no pts":
            packet.pts = None
        elif stamps in ("all keys", "no keys"):
            packet.is_keyframe = stamps == "all keys" or not place
        elif stamps == "gaps":
            packet.pts, packet.dts = (5 * t // 2 + 90 * (t > 20) for t in (packet.pts, packet.dts))
        packet.pts = None if packet.pts is None else packet.pts + start
        packet.dts += start
    return packets[4:] if stamps == "headless" else packets


def write(path, name, stamps):
    """Write one file of the matrix; raises where FFmpeg cannot."""
    if stamps == "packed":
        return write_packed(path, name)
    if stamps in ("unpacked", "copied"):
        packed = path.with_name(f"{name}-packed.avi")
        if not packed.exists():
            write_packed(packed, name)
        return copy(packed, path, unpack=stamps == "unpacked")
    how = {"movflags": "frag_keyframe+empty_moov"} if stamps == "fragments" else {}
    with av.open(str(path), "w", options=how) as container:
        sound = container.add_stream("mp2", rate=32000) if stamps == "sound" else None
        _, packets = pictures(container, name)
        if sound is not None:
            packets += noise(sound)
            packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in stamped(packets, stamps):
            container.mux(packet)


def noise(stream):
    """Packets of two seconds of sound."""
    packets, rng = [], np.random.default_rng(0)
    stream.layout = "mono"
    for start in range(0, 2 * 32000, 1152):
        samples = rng.integers(-9999, 9999, (1, 1152), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 32000, start
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def pack(packets):
    """Put the first of the B-frames after a P-frame into its packet, as DivX and XviD do.

    ``P B B`` becomes ``PB B N``, where N is an empty picture, so that the count stays.
    """
    data = [bytes(packet) for packet in packets]
    at = data[0].index(b"\0\0\1\xb6")
    data[0] = data[0][:at] + DIVX_503 + data[0][at:]
    is_b = [one[one.index(b"\0\0\1\xb6") + 4] >> 6 == 2 for one in data]
    packed = []
    for place, one in enumerate(data):
        if not is_b[place]:
            if place and is_b[place - 1]:
                packed.append(EMPTY_PICTURE)
            packed.append(one)
        elif is_b[place - 1]:
            packed.append(one)
        else:
            packed[-1] += one
    return packed


def write_packed(path, name):
    """Write MPEG-4 with packed B-frames."""
    with av.open(str(path), "w") as container:
        stream, packets = pictures(container, name)
        for place, data in enumerate(pack(packets)):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = place
            packet.is_keyframe = packets[place].is_keyframe
            container.mux(packet)


def copy(source, path, unpack):
    """Copy a file as ``ffmpeg -c copy`` does, or with ``-bsf:v mpeg4_unpack_bframes``."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        into = new.add_stream_from_template(stream)
        unpacked = BitStreamFilterContext("mpeg4_unpack_bframes", stream, into)
        for packet in old.demux(stream):
            if unpack:
                packets = unpacked.filter(packet if packet.size else None)
            else:
                packets = [packet] if packet.size else []
            for one in packets:
                one.stream = into
                new.mux(one)


def plain_decode(path):
    """All frames, in sequence, by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def wrong_requests(path, images):
    """Requests that give other frames than sequential decoding, and how many frames were compared.

    Each frame alone in random order, all frames, and sets in random, ascending and falling order.
    """
    count, rng, video = len(images), random.Random(0), open_video(path)
    if len(video) != count or not (np.diff(video.times) > 0).all():
        least = np.diff(video.times).min(initial=np.inf)
        return [f"{len(video)} of {count} frames, {least:.3f} s apart"], 0
    requests = [[index] for index in rng.sample(range(count), count)]
    sets = [rng.sample(range(count), min(5, count)) for _ in range(8)]
    requests += [list(range(count)), list(range(count))[::-1], *sets, *map(sorted, sets)]
    wrong = []
    for indices in requests:
        try:
            same = np.array_equal(video.frames(indices), [images[i] for i in indices])
        except ValueError as error:
            same, indices = False, (indices, error)
        wrong += [] if same else [str(indices)]
    return wrong, sum(map(len, requests))


@pytest.mark.parametrize(("name", "stamps", "suffix"), IN_BRIEF)
def test_random_access_is_sequential_decoding(name, stamps, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    write(path, name, stamps)
    assert wrong_requests(path, plain_decode(path))[0] == []


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CODECS)
def test_random_access_is_sequential_decoding_in_every_container(name, tmp_path):
    wrong, files, frames, written = {}, 0, 0, set()
    kinds = [(stamps, CONTAINERS.split()) for stamps in STAMPS] + [
        (stamps, MAIN.split()) for stamps in ODD
    ]
    kinds += [(stamps, CONTAINERS.split()) for stamps in DIVX if name.startswith("mpeg4-b")]
    for stamps, suffix in [(stamps, suffix) for stamps, among in kinds for suffix in among]:
        path = tmp_path / f"{name}-{stamps}.{suffix}".replace(" ", "_")
        if (name, stamps) in UNSTEADY:
            continue
        try:
            write(path, name, stamps)
            images = plain_decode(path)
        except (ValueError, OSError, NotImplementedError, IndexError, av.FFmpegError):
            continue  # this codec does not go into the container, or not with these stamps
        if not images:
            continue
        faults, compared = wrong_requests(path, images)
        files, frames, written = files + 1, frames + compared, written | {suffix}
        if faults:
            wrong[path.name] = (len(faults), faults[0])
    counts = f"{files} files, {frames} frames compared, {len(wrong)} files wrong"
    sys.stdout.write(f"{name}: {counts}\n")
    assert wrong == {}
    assert set(CODECS[name][2].split()) <= written
