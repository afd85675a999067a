"""A packet index kept on disk is the one that was found, and only long files are kept."""

import dataclasses
import os
import time

import numpy as np
import pytest

from cvrl.data.dataset import VideoReader
from cvrl.video import packet_cache as packet_cache_module
from cvrl.video import reader as reader_module
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.packet_index import PacketIndex, PacketIndexStore, user_store
from cvrl.video.reader import open_video

X264 = {"x264-params": "keyint=6:bframes=2:scenecut=0"}


@pytest.fixture
def looks(monkeypatch):
    """The files that are looked through."""
    seen = []
    read_index = reader_module._read_index

    def spy(path, *args):
        seen.append(path)
        return read_index(path, *args)

    monkeypatch.setattr(reader_module, "_read_index", spy)
    return seen


@pytest.fixture
def short_is_long(monkeypatch):
    monkeypatch.setattr(packet_cache_module, "LONG", 0.0)


def assert_same(one, other):
    for field in dataclasses.fields(PacketIndex):
        if field.name not in ("packets", "timeline", "times_N"):
            assert getattr(one, field.name) == getattr(other, field.name), field.name
    np.testing.assert_array_equal(one.times_N, other.times_N)
    assert one.packets.reordered == other.packets.reordered
    assert one.packets.smallest == other.packets.smallest
    for name, column in one.packets.columns().items():
        np.testing.assert_array_equal(column, other.packets.columns()[name])
    assert (one.timeline is None) == (other.timeline is None)
    for name in ("pts_N", "rows", "firsts") if one.timeline else ():
        np.testing.assert_array_equal(getattr(one.timeline, name), getattr(other.timeline, name))


@pytest.mark.parametrize("suffix", ["mp4", "ts", "avi", "h264"])
def test_what_is_saved_is_loaded(tmp_path, make_video, suffix):
    path = str(make_video(tmp_path / f"a.{suffix}", 20, gop=6, options=X264))
    found = open_video(path)._source._index
    found.save(tmp_path / "a.npz")
    assert_same(found, PacketIndex.load(tmp_path / "a.npz"))


@pytest.mark.usefixtures("short_is_long")
def test_another_process_does_not_look_again(tmp_path, make_video, looks):
    path = str(make_video(tmp_path / "a.mp4", 20, gop=6, options=X264))
    store = PacketIndexStore(tmp_path / "kept")
    readers = [VideoReader(packet_cache=PacketIndexCache(store=store)) for _ in range(3)]
    frames = [reader.open(path).frames(np.array([3, 17])) for reader in readers]
    assert looks == [path]
    np.testing.assert_array_equal(frames[0], frames[2])
    make_video(tmp_path / "a.mp4", 21, gop=6, options=X264)
    assert len(readers[0].open(path)) == 21


def test_short_files_are_not_kept(tmp_path, make_video):
    path = str(make_video(tmp_path / "a.mp4", 20))
    store = PacketIndexStore(tmp_path / "kept")
    VideoReader(packet_cache=PacketIndexCache(store=store)).open(path)
    assert not store.folder.exists()


@pytest.mark.usefixtures("short_is_long")
@pytest.mark.parametrize("damage", [b"", b"no index", None])
def test_a_damaged_entry_is_read_anew(tmp_path, make_video, looks, damage):
    path = str(make_video(tmp_path / "a.mp4", 20))
    store = PacketIndexStore(tmp_path / "kept")
    VideoReader(packet_cache=PacketIndexCache(store=store)).open(path)
    (entry,) = store.folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:-40] if damage is None else damage)
    assert len(VideoReader(packet_cache=PacketIndexCache(store=store)).open(path)) == 20
    assert looks == [path, path]


@pytest.mark.usefixtures("short_is_long")
def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path, make_video):
    path = str(make_video(tmp_path / "a.mp4", 20))
    (tmp_path / "file").touch()
    store = PacketIndexStore(tmp_path / "file" / "kept")
    assert len(VideoReader(packet_cache=PacketIndexCache(store=store)).open(path)) == 20


def test_the_folder_stays_within_its_bound(tmp_path, make_video):
    found = open_video(make_video(tmp_path / "a.mp4", 20))._source._index
    found.save(tmp_path / "one.npz")
    size = (tmp_path / "one.npz").stat().st_size
    store = PacketIndexStore(tmp_path / "kept", most_bytes=3 * size)
    for turn, key in enumerate("abcd"):
        store.put(key, found)
        os.utime(store._file(key), (turn, turn))
        if turn == 2:
            assert store.get("a") is not None  # used again, so the second goes
    assert [store.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert sum(file.stat().st_size for file in store.folder.iterdir()) <= 3 * size


@pytest.mark.usefixtures("short_is_long")
def test_commands_keep_it_in_the_users_cache(tmp_path, make_video, looks, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = str(make_video(tmp_path / "a.mp4", 20))
    VideoReader().open(path)
    VideoReader().open(path)
    assert looks == [path]
    assert len(list(user_store().folder.iterdir())) == 1


def test_long_reading_shows_progress(tmp_path, make_video, monkeypatch, caplog):
    monkeypatch.setattr(reader_module, "_LONG", -1.0)
    path = make_video(tmp_path / "a.mp4", 20)
    with caplog.at_level("INFO", "cvrl"):
        open_video(path)
    assert any("reading the packets of a.mp4" in message for message in caplog.messages)


def test_short_reading_shows_none(tmp_path, make_video, caplog):
    with caplog.at_level("INFO", "cvrl"):
        open_video(make_video(tmp_path / "a.mp4", 20))
    assert caplog.messages == []


def test_a_busy_machine_is_no_reason_to_refuse(tmp_path, make_video, monkeypatch):
    """Each packet waits longer than the limit on the processor's time."""
    path = make_video(tmp_path / "a.mp4", 12)
    packets = reader_module.File._packets

    def slow(self, *streams):
        for packet in packets(self, *streams):
            time.sleep(0.11)
            yield packet

    monkeypatch.setattr(reader_module.File, "_packets", slow)
    video = open_video(path, limits=reader_module.Limits(max_seconds=0.1))
    assert len(video) == 12
