"""An hour of video opens in little memory, and its index is kept for the next visit."""

import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from cvrl.data.dataset import VideoReader
from cvrl.video import packet_cache as packet_cache_module
from cvrl.video import reader as reader_module
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.packet_index import PacketIndexStore
from cvrl.video.reader import open_video

HOUR = 25 * 3600  # frames
GROUP = 25
MEASURE = """
import resource, sys
import av
from cvrl.video.reader import open_video
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
open_video(sys.argv[2])
before = used()
video = open_video(sys.argv[1])
print(len(video), round(video.times[-1]), used() - before)
"""


def write_long(path, frames):
    """Repeat one group of pictures, with times that go on, up to a number of frames."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": str(GROUP), "bf": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 25)
        packets = []
        for index in range(GROUP):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (32, 32, 3), np.uint8))
            frame.pts = index
            packets += stream.encode(frame)
        data = [bytes(packet) for packet in packets + stream.encode(None)]
        for index in range(frames):
            packet = av.Packet(data[index % GROUP])
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            packet.is_keyframe = index % GROUP == 0
            container.mux(packet)


def _never(*_):
    raise AssertionError("the file is looked through again")


@pytest.fixture(scope="module", params=["mp4", "ts"])
def hour(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / f"hour.{request.param}"
    write_long(path, HOUR)
    return path


@pytest.mark.slow
@pytest.mark.long
def test_an_hour_opens_in_bounded_memory(hour, tmp_path):
    short = tmp_path / f"short{hour.suffix}"
    write_long(short, 2 * GROUP)
    command = [sys.executable, "-c", MEASURE, str(hour), str(short)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    frames, end, megabytes = map(int, done.stdout.split())
    assert frames == HOUR and abs(end - 3600) <= 2
    assert megabytes < 60


@pytest.mark.slow
@pytest.mark.long
def test_the_second_visit_of_an_hour_reads_no_packets(hour, tmp_path, monkeypatch):
    monkeypatch.setattr(packet_cache_module, "LONG", 0.0)  # a fast machine is done sooner
    store = PacketIndexStore(tmp_path / "kept")
    first = VideoReader(packet_cache=PacketIndexCache(store=store)).open(str(hour))
    assert len(list(store.folder.iterdir())) == 1
    wanted = open_video(hour).frames(range(GROUP))
    monkeypatch.setattr(reader_module, "_read_index", _never)
    again = VideoReader(packet_cache=PacketIndexCache(store=store)).open(str(hour))
    np.testing.assert_array_equal(first.times, again.times)
    indices = np.array([HOUR - 1, GROUP, 1, HOUR // 2])
    np.testing.assert_array_equal(again.frames(indices), wanted[indices % GROUP])
