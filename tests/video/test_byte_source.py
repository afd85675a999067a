"""Addresses name bytes in tars and Parquet files, which are read like files."""

import io
import os
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cvrl.utils.errors import CorruptVideoError
from cvrl.video.byte_source import (
    Address,
    byte_count,
    bytes_column,
    find_source,
    open_bytes,
    stamp_of,
    video_exists,
)
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.video.reader import Limits, open_video

CONTENT = bytes(range(200))


@pytest.fixture
def address(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(b"before" + CONTENT + b"after")
    return f"{path}@6+200/run/a.mp4"


@given(
    st.text(min_size=1).map(lambda name: name + ".tar"),
    st.integers(0, 2**50),
    st.integers(0, 2**50),
    st.text(alphabet=st.characters(exclude_characters="@")),
)
def test_an_address_is_read_as_it_was_written(container, start, length, name):
    address = Address(container, start, length, name)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "path",
    ["a.mp4", "x.tar", "x.tar@1+2", "x.tar@1+2+3/a", "x.zip@1+2/a", "x.tar@-1+2/a", "@1+2/a"],
)
def test_other_paths_are_no_addresses(path):
    assert find_source(path) is None


@given(st.lists(st.tuples(st.sampled_from(["read", 0, 1, 2]), st.integers(-300, 300)), max_size=9))
def test_a_range_behaves_like_a_file_of_its_own(tmp_path_factory, steps):
    path = tmp_path_factory.getbasetemp() / "range.tar"
    path.write_bytes(b"before" + CONTENT + b"after")
    real = io.BytesIO(CONTENT)
    with open_bytes(f"{path}@6+200/a") as stream:
        for what, number in steps:
            if what == "read":
                assert stream.read(number) == real.read(number if number >= 0 else -1)
            else:
                base = {0: 0, 1: real.tell(), 2: len(CONTENT)}[what]
                real.seek(max(0, base + number))
                assert stream.seek(number, what) == real.tell() == stream.tell()


def test_a_range_has_the_videos_name_and_is_closed(address):
    with open_bytes(address) as stream:
        assert stream.name == "run/a.mp4" and stream.seekable() and stream.readable()
        buffer = bytearray(300)
        assert stream.readinto(buffer) == 200 and bytes(buffer[:200]) == CONTENT
    assert stream.closed
    with pytest.raises(ValueError, match="closed file"):
        stream.read(1)


def test_size_and_stamp(address, tmp_path):
    assert byte_count(address) == 200 and video_exists(address)
    before = stamp_of(address)
    assert before == stamp_of(address)
    os.utime(tmp_path / "x.tar", (1, 1))
    assert stamp_of(address) != before
    assert byte_count(str(tmp_path / "x.tar")) == 211


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("x.tar@6+206/a.mp4", r"ends at byte 212, but .*x\.tar has 211"),
        ("x.tar@6+0/a.mp4", "the file is empty"),
        ("y.tar@6+9/a.mp4", "No such file"),
        ("y.parquet@0+0/a.mp4", "No such file"),
        ("x.parquet@0+9/a.mp4", "index out of bounds"),
        ("x.parquet@9+0/a.mp4", "no such row of bytes"),
        ("x.parquet@0+1/a.mp4", "the file is empty"),
        ("none.parquet@0+0/a.mp4", "no such row of bytes"),
        ("x.tar@6+9/a.mp4", "Invalid data"),
    ],
)
def test_an_address_with_no_video_behind_it_is_a_bad_video(address, tmp_path, place, reason):
    pq.write_table(pa.table({"mp4": [b"abc", b""]}), tmp_path / "x.parquet")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "none.parquet")
    with pytest.raises(CorruptVideoError, match=reason) as caught:
        open_video(tmp_path / place)
    assert caught.value.path == str(tmp_path / place)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not video_exists(str(tmp_path / place)) or "Invalid" in reason


def range_of(tar, name):
    """Where a member of a tar is, as it stands in an address."""
    with tarfile.open(tar) as archive:
        member = archive.getmember(name)
    return f"{tar}@{member.offset_data}+{member.size}"


@pytest.fixture(scope="module")
def packed(make_video, tmp_path_factory):
    """A video as a file, in a tar, and in a Parquet file as bytes and as a struct."""
    folder = tmp_path_factory.mktemp("packed")
    file = make_video(folder / "a.mp4", 20)
    with tarfile.open(folder / "x.tar", "w") as archive:
        archive.add(file, "other.mp4")
        archive.add(file, "a.mp4")
    content = file.read_bytes()
    pq.write_table(pa.table({"n": [1, 2], "mp4": [b"", content]}), folder / "x.parquet")
    struct = [{"bytes": content, "path": "a.mp4"}]
    pq.write_table(pa.table({"video": struct}), folder / "s.parquet")
    return {
        "file": str(file),
        "tar": f"{range_of(folder / 'x.tar', 'a.mp4')}/a.mp4",
        "parquet": f"{folder}/x.parquet@0+1/a.mp4",
        "struct": f"{folder}/s.parquet@0+0/a.mp4",
    }


@pytest.mark.parametrize("kind", ["tar", "parquet", "struct"])
@pytest.mark.parametrize("decoder", ["pyav", "decord", "lossy"])
def test_frames_are_those_of_the_file(packed, kind, decoder):
    cache = PacketIndexCache()
    for _ in range(2):
        with (
            open_video(packed["file"], decoder=decoder) as file,
            open_video(packed[kind], decoder=decoder, packet_cache=cache) as video,
        ):
            assert (video.fps, video.size) == (file.fps, file.size)
            np.testing.assert_array_equal(video.times, file.times)
            np.testing.assert_array_equal(video.frames([19, 0, 7]), file.frames([19, 0, 7]))


@pytest.mark.parametrize("suffix", ["avi", "mkv", "webm", "mov", "mpg", "gif"])
def test_containers_open_in_a_tar_as_in_a_folder(make_video, tmp_path, suffix):
    codec = {"webm": "libvpx", "mpg": "mpeg2video", "gif": "gif"}.get(suffix, "libx264")
    pixels = "rgb8" if suffix == "gif" else "yuv420p"
    file = make_video(tmp_path / f"a.{suffix}", 12, codec=codec, pix_fmt=pixels)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(file, "other")
        archive.add(file, file.name)
    address = f"{range_of(tmp_path / 'x.tar', file.name)}/{file.name}"
    with open_video(file) as plain, open_video(address) as video:
        np.testing.assert_array_equal(video.times, plain.times)
        np.testing.assert_array_equal(video.frames([11, 3]), plain.frames([11, 3]))


def test_images_in_a_tar_are_a_video(tmp_path):
    for number in (1, 2, 10):
        Image.new("RGB", (8, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for number in (10, 1, 2):
            archive.add(tmp_path / f"{number}.png", f"clip/{number}.png")
    place = tmp_path / "x.tar@0+3072"  # three headers and images of a block each
    with open_video(place / "clip", fps=5) as video:
        assert (len(video), video.fps, video.size) == (3, 5, (4, 8))
        assert video.frames([0, 1, 2])[:, 0, 0, 0].tolist() == [1, 2, 10]
    with pytest.raises(CorruptVideoError, match="max_frames=2"):
        open_video(
            place / "clip",
            limits=Limits(max_frames=2),
        )


def test_the_column_of_bytes():
    struct = pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])
    assert bytes_column(pa.schema([("label", pa.int64()), ("video", struct)])) == "video"
    assert bytes_column(pa.schema([("x", pa.struct([("path", pa.string())]))])) is None
