"""Tars and Parquet files without an index are listed; what cannot be used is named."""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cvrl.data.manifest import read_manifest
from cvrl.utils.errors import UserError
from cvrl.video.reader import open_video


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def image(value):
    stream = io.BytesIO()
    Image.new("RGB", (8, 4), (value, 0, 0)).save(stream, "png")
    return stream.getvalue()


def note(**facts):
    return json.dumps(facts).encode()


@pytest.fixture(scope="module")
def video(make_video, tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("one") / "a.mp4", 12).read_bytes()


def test_samples_of_a_webdataset(video, tmp_path):
    members = [
        *(("0001.mp4", video), ("0001.cls", b"3\n"), ("0001.txt", b"a caption")),
        *(("0002.json", note(label="run", group="g", split="train", fps=30)), ("0002.mp4", video)),
        *(("sub/0003.avi", video), ("sub/._0003.avi", b"mac"), ("sub/0003.jpg", b"thumb")),
    ]
    listed = read_manifest(write_tar(tmp_path / "x.tar", members))
    rows = [listed.row(row) for row in range(len(listed))]
    assert listed.table["path"].to_pylist() == ["0001.mp4", "0002.mp4", "sub/0003.avi"]
    assert [row["label"] for row in rows] == ["3", "run", None]
    assert [row["group"] for row in rows] == [None, "g", None]
    assert [row["split"] for row in rows] == [None, "train", None]
    for row in rows:
        with open_video(row["path"]) as opened:
            assert len(opened) == 12


@pytest.mark.parametrize("first", ["cls", "json"])
def test_a_label_in_words_is_preferred_to_its_number(video, tmp_path, first):
    notes = {"cls": b"7", "json": note(label="run")}
    order = [first, *(notes.keys() - {first})]
    members = [*((f"1.{kind}", notes[kind]) for kind in order), ("1.mp4", video)]
    assert read_manifest(write_tar(tmp_path / "x.tar", members)).class_names == ["run"]


def test_notes_that_say_nothing_are_passed_over(video, tmp_path):
    members = [("1.json", b"{broken"), ("1.mp4", video), ("2.json", b"[1]"), ("2.mp4", video)]
    members += [("3.json", note(label=["a", "b"])), ("3.mp4", video)]
    listed = read_manifest(write_tar(tmp_path / "x.tar", members))
    assert len(listed) == 3 and listed.class_names == []


def test_shards_that_each_count_from_0(video, tmp_path):
    for name in ("b.tar", "a.tar"):
        write_tar(tmp_path / name, [("0.mp4", video), ("1.mp4", video)])
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.tar").touch()
    listed = read_manifest(tmp_path)
    assert listed.table["path"].to_pylist() == ["a/0.mp4", "a/1.mp4", "b/0.mp4", "b/1.mp4"]


@pytest.mark.parametrize(
    "names",
    [
        ("one/1.png", "one/2.png", "two/1.png", "two/2.png"),  # a folder a video
        ("one.01.png", "one.02.png", "two.01.png", "two.02.png"),  # a key a video
    ],
)
def test_series_of_images(tmp_path, names):
    members = [(name, image(value)) for value, name in enumerate(names)]
    listed = read_manifest(write_tar(tmp_path / "x.tar", members))
    assert listed.table["path"].to_pylist() == ["one", "two"]
    for row, expected in enumerate(([0, 1], [2, 3])):
        with open_video(listed.path(row)) as video:
            assert video.frames([0, 1])[:, 0, 0, 0].tolist() == expected


def test_images_of_two_videos_in_turns_are_refused(tmp_path):
    names = ("one/1.png", "two/1.png", "one/2.png", "two/2.png")
    write_tar(tmp_path / "x.tar", [(name, image(0)) for name in names])
    with pytest.raises(UserError, match=r"the images of 'one' do not follow one another; sort"):
        read_manifest(tmp_path / "x.tar")


def test_tars_that_cannot_be_used_are_named(video, tmp_path, caplog):
    path = write_tar(tmp_path / "x.tar", [("1.mp4", video), ("2.mp4", video)])
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(UserError, match=r"is no tar that can be read in place.*decompress it"):
        read_manifest(path)
    path.write_bytes(whole[: len(whole) - 20_000])  # within the second video
    with pytest.raises(UserError, match="cut"):
        read_manifest(path)
    one = write_tar(tmp_path / "y.tar", [("1.mp4", video)]).read_bytes()
    padded = 512 + -(-len(video) // 512) * 512
    path.write_bytes(one[:padded])  # between two members
    assert len(read_manifest(path)) == 1 and "no end mark" in caplog.text
    path.write_bytes(one[:padded] + b"x" * 2000)
    with pytest.raises(UserError, match="is damaged after its last member"):
        read_manifest(path)
    with pytest.raises(UserError, match="holds no video and no series of images"):
        read_manifest(write_tar(tmp_path / "z.tar", [("a.txt", b"a"), ("b.png", image(0))]))


def test_links_are_named_and_left_out(video, tmp_path, caplog):
    path = write_tar(tmp_path / "x.tar", [("1.mp4", video)])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("2.mp4")
        link.type, link.linkname = tarfile.LNKTYPE, "1.mp4"
        archive.addfile(link)
    assert len(read_manifest(path)) == 1
    assert "left out 1 links" in caplog.text


def test_parquet_of_bytes(video, tmp_path):
    struct = [{"bytes": video, "path": f"{row}.mp4"} for row in range(3)]
    table = pa.table({"video": struct, "label": [1, 0, None]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    listed = read_manifest(tmp_path / "a.parquet")
    assert listed.table["path"].to_pylist() == ["0.mp4", "1.mp4", "2.mp4"]
    assert listed.label_ids.tolist() == [1, 0, -1]
    assert [name.split("@")[1] for name in listed.paths] == ["0+0/0.mp4", "0+1/1.mp4", "1+0/2.mp4"]
    with open_video(listed.path(2)) as opened:
        assert len(opened) == 12


def test_parquet_without_names(video, tmp_path):
    for name in ("a", "b"):
        pq.write_table(pa.table({"mp4": [video] * 2}), tmp_path / f"{name}.parquet")
    listed = read_manifest(tmp_path)
    names = [f"{name}/0000000{row}" for name in "ab" for row in range(2)]
    assert listed.table["path"].to_pylist() == names


def test_parquet_that_cannot_be_used_is_named(video, tmp_path):
    pq.write_table(pa.table({"x": [1], "y": [2]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column of bytes; its columns are x, y"):
        read_manifest(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path / "a.parquet")
    pq.write_table(pa.table({"mp4": [video] * 2, "path": ["a", "a"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="1 names are there more than once, first a"):
        read_manifest(tmp_path / "a.parquet")


def test_a_folder_with_videos_beside_a_tar_lists_the_videos(video, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.mp4").write_bytes(video)
    write_tar(tmp_path / "x.tar", [("1.mp4", video)])
    assert read_manifest(tmp_path).table["path"].to_pylist() == ["run/a.mp4"]
