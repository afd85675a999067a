"""Shards hold the bytes of the files, and are read like them: the same batches, bit for bit."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from cvrl.cli import main
from cvrl.cli.shard import read_size
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset, TrainDataset, VideoReader
from cvrl.data.loader import eval_loader, train_loader
from cvrl.data.manifest import make_manifest, read_manifest, write_manifest
from cvrl.data.sampler import VisitSampler
from cvrl.data.splits import check_groups, read_splits
from cvrl.preparation.scan import scan
from cvrl.preparation.shards import plan_shards, write_shard, write_shards
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.video.frame_cache import FrameCache
from cvrl.video.packet_cache import PacketIndexCache
from cvrl.views.temporal_pair import TemporalPair

SPEC = ClipSpec(frames=4, stride=2)
PLAIN = VideoReader()
SMALL = 20_000  # some shards of few videos each


@pytest.fixture(scope="module")
def shards(video_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "shards"
    write_shards(read_manifest(video_folder), folder, max_bytes=SMALL)
    return folder


def batches_hash(manifest, workers=0, reader=PLAIN, seed=3):
    dataset = TrainDataset(
        manifest, TemporalPair(SPEC), recipes.light(32), seed=seed, reader=reader
    )
    sampler = VisitSampler(videos=len(manifest), batch_size=4, seed=seed, last_step=6)
    digest = hashlib.sha256()
    for batch in train_loader(dataset, sampler, workers=workers):
        assert not batch.bad
        for value in vars(batch).values():
            if isinstance(value, torch.Tensor):
                digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def facts(manifest):
    return (
        manifest.table["path"].to_pylist(),
        manifest.label_ids.tolist(),
        manifest.group_ids.tolist(),
        manifest.class_names,
        manifest.splits,
    )


def test_a_shard_folder_lists_what_the_folder_does(video_folder, shards):
    files, packed = read_manifest(video_folder), read_manifest(shards)
    assert facts(files) == facts(packed)
    assert len(list(shards.glob("*.tar"))) > 2
    assert all(shard.stat().st_size <= SMALL for shard in shards.glob("*.tar"))


def test_the_same_seed_gives_the_same_batches(video_folder, shards):
    files, packed = read_manifest(video_folder), read_manifest(shards)
    expected = batches_hash(files)
    cached = VideoReader(packet_cache=PacketIndexCache())
    assert batches_hash(packed) == batches_hash(packed, reader=cached) == expected
    assert batches_hash(packed, seed=4) != expected  # the hash sees a change


def test_the_number_of_workers_changes_nothing(video_folder, shards):
    assert batches_hash(read_manifest(shards), workers=2) == batches_hash(
        read_manifest(video_folder)
    )


@pytest.mark.parametrize("decoder", ["decord", "lossy"])
def test_decoders_give_the_same(video_folder, shards, decoder):
    reader = VideoReader(decoder=decoder)
    files, packed = read_manifest(video_folder), read_manifest(shards)
    assert batches_hash(packed, reader=reader) == batches_hash(files, reader=reader)


def test_the_frame_cache_knows_videos_by_content(video_folder, shards, tmp_path):
    reader = VideoReader(cache=FrameCache(tmp_path, short_side=32))
    expected = batches_hash(read_manifest(video_folder), reader=reader)
    entries = len(list(tmp_path.glob("*.npy")))
    assert batches_hash(read_manifest(shards), reader=reader) == expected
    assert len(list(tmp_path.glob("*.npy"))) == entries == 12


def test_evaluation_sees_the_same_clips(video_folder, shards):
    def clips(manifest):
        dataset = EvalDataset(manifest, SPEC, 2, lambda clips: clips.float())
        return torch.cat([b.clips_MCTHW for b in eval_loader(dataset, batch_videos=4, workers=0)])

    assert torch.equal(clips(read_manifest(shards)), clips(read_manifest(video_folder)))


def test_group_and_split_are_kept(video_folder, tmp_path):
    lines = ["path,label,group,split,camera"]
    for at, path in enumerate(sorted(video_folder.rglob("*.mp4"))):
        part = "train" if at % 3 else "test"
        lines.append(f"{path},{path.parent.name},scene{at % 3},{part},{at}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    files = read_manifest(tmp_path / "list.csv")
    write_shards(files, tmp_path / "shards", max_bytes=SMALL)
    packed = read_manifest(tmp_path / "shards")
    assert facts(packed) == facts(files)
    assert packed.table["camera"].to_pylist() == files.table["camera"].to_pylist()
    parts = read_splits(str(tmp_path / "shards"))
    assert len(parts.train) == 8 and len(parts.test) == 4
    assert check_groups(parts.train, parts.test).startswith("disjoint: 2 train and 1 test groups")
    with pytest.raises(UserError, match="no column 'split9'"):
        read_manifest(tmp_path / "shards", split_column="split9")


def test_a_copy_on_the_other_side_is_found(video_folder, shards):
    files, packed = read_manifest(video_folder), read_manifest(shards)
    with pytest.raises(UserError, match=r"1 file is in train and test: .*is a copy of"):
        check_groups(packed.take([0, 1]), files.take([1, 2]))
    assert "no file in both (compared by inode and content)" in check_groups(
        packed.take([0, 1]), files.take([2])
    )


def test_the_tars_are_webdatasets(video_folder, shards):
    files = read_manifest(video_folder)
    with tarfile.open(shards / "000000.tar") as archive:
        names = archive.getnames()
        note = json.load(archive.extractfile("000000000.json"))
        assert names[:3] == ["000000000.json", "000000000.cls", "000000000.mp4"]
        assert note == {"path": "down/down_0.mp4", "label": "down"}
        assert archive.extractfile("000000000.cls").read() == b"0"
        assert archive.extractfile("000000000.mp4").read() == Path(files.path(0)).read_bytes()


def test_without_the_index_the_tars_tell_the_same(video_folder, shards, tmp_path):
    for shard in shards.glob("*.tar"):
        (tmp_path / shard.name).write_bytes(shard.read_bytes())
    plain = read_manifest(tmp_path)
    assert facts(plain) == facts(read_manifest(video_folder))
    assert batches_hash(plain) == batches_hash(read_manifest(video_folder))


def test_a_manifest_of_shards_is_read_back(shards, tmp_path):
    packed = read_manifest(shards)
    scanned = scan(packed, workers=0)
    assert set(scanned.table["status"].to_pylist()) == {"ok"}
    write_manifest(scanned, tmp_path / "manifest.csv")
    again = read_manifest(tmp_path / "manifest.csv")
    assert again.paths == packed.paths
    assert batches_hash(again) == batches_hash(packed)


def test_shards_are_packed_anew(shards, tmp_path):
    write_shards(read_manifest(shards), tmp_path / "larger", max_bytes=10**9)
    (tar,) = (tmp_path / "larger").glob("*.tar")
    assert facts(read_manifest(tmp_path / "larger")) == facts(read_manifest(shards))
    assert batches_hash(read_manifest(tmp_path / "larger")) == batches_hash(read_manifest(shards))
    assert tar.stat().st_size < sum(shard.stat().st_size for shard in shards.glob("*.tar"))


def test_writing_again_writes_the_same_bytes(video_folder, shards, tmp_path):
    write_shards(read_manifest(video_folder), tmp_path, max_bytes=SMALL, workers=2)
    for shard in shards.glob("*.tar"):
        assert (tmp_path / shard.name).read_bytes() == shard.read_bytes()


def test_a_killed_run_goes_on(video_folder, tmp_path):
    manifest = read_manifest(video_folder)
    first, second, *_ = plan_shards(manifest, tmp_path, SMALL)
    assert write_shard(first) is None and Path(first.path).stat().st_size == first.size
    written = os.stat(first.path)
    Path(second.path).write_bytes(b"cut")
    write_shards(manifest, tmp_path, max_bytes=SMALL)
    assert os.stat(first.path).st_ino == written.st_ino  # kept
    assert batches_hash(read_manifest(tmp_path)) == batches_hash(manifest)


def test_a_shard_of_another_list_is_replaced(video_folder, tmp_path):
    manifest = read_manifest(video_folder)
    rows = manifest.table.to_pydict()
    swap = {"down": "righ", "right": "down"}
    other = make_manifest(
        {"path": rows["path"], "label": [swap[name] for name in rows["label"]]}, root=manifest.root
    )
    write_shards(manifest, tmp_path, max_bytes=SMALL)
    write_shards(other, tmp_path, max_bytes=SMALL)
    with tarfile.open(tmp_path / "000000.tar") as archive:
        assert json.load(archive.extractfile("000000000.json"))["label"] == "righ"
    assert read_manifest(tmp_path).class_names == ["down", "righ"]


def test_other_shards_in_the_folder_are_not_mixed_in(video_folder, tmp_path):
    (tmp_path / "other.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds other shards, such as other\.tar"):
        write_shards(read_manifest(video_folder), tmp_path, max_bytes=SMALL)


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_shard_is_named_when_the_folder_opens(video_folder, tmp_path, harm):
    write_shards(read_manifest(video_folder), tmp_path, max_bytes=SMALL)
    shard = tmp_path / "000001.tar"
    if harm == "cut":
        shard.write_bytes(shard.read_bytes()[:-700])
    else:
        shard.unlink()
    with pytest.raises(UserError, match=r"000001\.tar: (is missing|has \d+ bytes, not \d+), as"):
        read_manifest(tmp_path)


def test_a_damaged_index_is_named(video_folder, tmp_path):
    write_shards(read_manifest(video_folder), tmp_path, max_bytes=SMALL)
    index = tmp_path / "index.parquet"
    content = index.read_bytes()
    index.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"index\.parquet: cannot be read"):
        read_manifest(tmp_path)


def test_a_damaged_video_costs_that_video_alone(video_folder, tmp_path):
    write_shards(read_manifest(video_folder), tmp_path, max_bytes=SMALL)
    packed = read_manifest(tmp_path)
    place = packed.row(5)
    with open(tmp_path / place["shard"], "r+b") as tar:
        tar.seek(place["shard_offset"])
        tar.write(bytes(place["shard_bytes"]))
    dataset = TrainDataset(packed, TemporalPair(SPEC), recipes.light(32), seed=0)
    ((path, reason),) = dataset[0, 5].bad
    assert path == packed.path(5) and "Invalid data" in reason
    assert dataset[0, 4].bad == ()
    statuses = scan(packed, workers=0).table["status"].to_pylist()
    assert [row for row, status in enumerate(statuses) if status != "ok"] == [5]


def test_what_cannot_be_packed_is_named_before_anything_is_written(video_folder, tmp_path):
    frames = tmp_path / "in" / "clip"
    frames.mkdir(parents=True)
    (frames / "1.jpg").touch()
    images = make_manifest({"path": [str(frames)]}, root="/")
    with pytest.raises(UserError, match="is a folder of images, not a file"):
        write_shards(images, tmp_path / "out", max_bytes=SMALL)
    (tmp_path / "empty.mp4").touch()
    gone = make_manifest({"path": [str(tmp_path / "gone.mp4")]}, root="/")
    with pytest.raises(UserError, match="No such file"):
        write_shards(gone, tmp_path / "out", max_bytes=SMALL)
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_while_it_is_packed_is_named(video_folder, tmp_path):
    source = tmp_path / "a.mp4"
    source.write_bytes(b"x" * 1000)
    (shard,) = plan_shards(make_manifest({"path": [str(source)]}, root="/"), tmp_path, SMALL)
    for content in (b"x" * 999, b"x" * 1001):
        source.write_bytes(content)
        assert "has changed while it was read" in (write_shard(shard) or "")
        assert not Path(shard.path).exists()


def test_a_full_disk_is_named(video_folder, tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    (shard,) = plan_shards(read_manifest(video_folder).take([0]), tmp_path, SMALL)
    real = io.open

    def full(path, mode="r", *more, **named):  # the kernel's own error, on the file being written
        return real(
            "/dev/full" if "w" in mode and ".tmp" in str(path) else path, mode, *more, **named
        )

    monkeypatch.setattr("builtins.open", full)
    assert write_shard(shard) == "the disk is full"


def test_the_command_packs_and_says_what_it_wrote(video_folder, tmp_path, capsys):
    main(["shard", str(video_folder), "--output", str(tmp_path / "s"), "--size", "20KB"])
    assert "12 videos in" in capsys.readouterr().out
    assert facts(read_manifest(tmp_path / "s")) == facts(read_manifest(video_folder))
    with pytest.raises(UserError, match="--size 20: is not a size"):
        main(["shard", str(video_folder), "--output", str(tmp_path / "t"), "--size", "20"])
    with pytest.raises(UserError, match="has its own labels"):
        read_manifest(tmp_path / "s", labels="parent")
    with pytest.raises(UserError, match="shards hold no events"):
        read_manifest(tmp_path / "s", cameras=("a.mp4", "b.mp4"))
    assert read_manifest(tmp_path / "s", labels="none").class_names == []


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0KB", "1TB", "nanMB", "infGB"])
def test_a_strange_size_is_refused(text):
    with pytest.raises(UserError, match="is not a size"):
        read_size(text)


def test_offsets_are_those_of_the_tar(shards):
    packed = read_manifest(shards)
    for name in sorted(set(packed.table["shard"].to_pylist())):
        with tarfile.open(shards / name) as archive:
            found = [(m.offset_data, m.size) for m in archive if m.name.endswith(".mp4")]
        mask = np.array([row == name for row in packed.table["shard"].to_pylist()])
        listed = packed.take(np.flatnonzero(mask)).table
        columns = (listed["shard_offset"].to_pylist(), listed["shard_bytes"].to_pylist())
        assert found == list(zip(*columns, strict=True))
