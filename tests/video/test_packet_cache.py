"""Files are looked through once, unless they change."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from cvrl.data.dataset import VideoReader
from cvrl.utils.errors import CorruptVideoError
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.reader import open_video


def look(packets, calls):
    def found():
        calls.append(packets)
        return SimpleNamespace(packets=range(packets))

    return found


def test_a_file_is_looked_through_once(tmp_path):
    packet_cache, calls = PacketIndexCache(), []
    file = tmp_path / "a"
    file.write_text("a")
    one = packet_cache.of(str(file), "how", look(3, calls))
    assert packet_cache.of(str(file), "how", look(4, calls)) is one
    assert calls == [3]
    packet_cache.of(str(file), "another way", look(5, calls))
    file.write_text("changed")
    packet_cache.of(str(file), "how", look(6, calls))
    assert calls == [3, 5, 6]
    with pytest.raises(FileNotFoundError):
        packet_cache.of(str(tmp_path / "b"), "how", look(7, calls))


def test_the_file_seen_least_lately_is_forgotten(tmp_path):
    packet_cache, calls = PacketIndexCache(most_packets=10), []
    files = [str(tmp_path / name) for name in "abc"]
    for file in files:
        with open(file, "w") as stream:
            stream.write(file)
    packet_cache.of(files[0], (), look(5, calls))
    packet_cache.of(files[1], (), look(4, calls))
    packet_cache.of(files[0], (), look(5, calls))  # seen again
    packet_cache.of(files[2], (), look(3, calls))  # so the second goes
    packet_cache.of(files[0], (), look(5, calls))
    assert calls == [5, 4, 3]
    packet_cache.of(files[1], (), look(4, calls))
    assert calls == [5, 4, 3, 4]


def test_what_is_too_large_is_not_kept(tmp_path):
    packet_cache, calls = PacketIndexCache(most_packets=2), []
    file = tmp_path / "a"
    file.write_text("a")
    assert len(packet_cache.of(str(file), (), look(3, calls)).packets) == 3
    packet_cache.of(str(file), (), look(3, calls))
    assert calls == [3, 3]


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_frames_of_a_second_visit_are_the_same(video_folder, decoder):
    path = str(sorted(video_folder.rglob("*.mp4"))[0])
    reader = VideoReader(decoder=decoder, packet_cache=PacketIndexCache())
    indices = [5, 1, 9]
    with open_video(path) as video:
        theirs, times = video.frames(indices), video.times
    for _ in range(3):
        with reader.open(path) as video:
            assert np.array_equal(video.frames(indices), theirs)
            assert np.array_equal(video.times, times)


def test_another_film_in_its_place_is_seen(video_folder, tmp_path):
    first, second = sorted(video_folder.rglob("*.mp4"))[:2]
    reader, path = VideoReader(packet_cache=PacketIndexCache()), tmp_path / "film.mp4"
    for film in (first, second):
        shutil.copyfile(film, path)
        with reader.open(str(path)) as video, open_video(str(film)) as plain:
            assert np.array_equal(video.frames([0, 3]), plain.frames([0, 3]))


def test_a_broken_file_is_named_every_time(tmp_path):
    reader, path = VideoReader(packet_cache=PacketIndexCache()), tmp_path / "broken.mp4"
    path.write_bytes(b"no film")
    for _ in range(2):
        with pytest.raises(CorruptVideoError, match=r"broken\.mp4"):
            reader.open(str(path))
