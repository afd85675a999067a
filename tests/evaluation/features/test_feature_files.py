"""Feature files: what is written is what is read, as Parquet and as NumPy."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cvrl.evaluation.features.feature_files import (
    VideoFeatures,
    check_format,
    join_shards,
    read_bad,
    read_features,
    write_shard,
)
from cvrl.utils.errors import UserError


def video(name: str, clips: int, seed: int, dim: int = 3) -> VideoFeatures:
    rng = np.random.default_rng(seed)
    start = np.arange(clips) * 0.5
    vectors = rng.standard_normal((clips, dim)).astype(np.float32)
    return VideoFeatures(name, start, start + 1 / 3, vectors)


def broken(name: str) -> VideoFeatures:
    return VideoFeatures(name, np.zeros(0), np.zeros(0), np.zeros((0, 1), "f4"), bad="truncated")


VIDEOS = [
    video("/a.mp4", 2, seed=1),
    video('/odd, "name" ü.mp4', 1, seed=2),
    broken("/bad.mp4"),
    video("/b.mp4", 3, seed=3),
]


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three shards: two videos, only a bad one, one video."""
    cuts = [VIDEOS[:2], VIDEOS[2:3], VIDEOS[3:]]
    paths = [tmp_path / f"shard{n}.parquet" for n in range(3)]
    for path, videos in zip(paths, cuts, strict=True):
        write_shard(videos, path)
    return paths


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_round_trip(shards: list[Path], tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"features{suffix}"
    assert join_shards(shards, output) == 6
    stored = read_features(output)
    good = [v for v in VIDEOS if v.bad is None]
    assert stored.videos == [v.path for v in good for _ in v.start_N]
    np.testing.assert_array_equal(stored.start_N, np.concatenate([v.start_N for v in good]))
    np.testing.assert_array_equal(stored.end_N, np.concatenate([v.end_N for v in good]))
    np.testing.assert_array_equal(stored.vectors_ND, np.concatenate([v.vectors_ND for v in good]))
    assert stored.vectors_ND.dtype == np.float32


def test_parquet_is_plain_to_other_readers(shards: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "features.parquet"
    join_shards(shards, output)
    table = pq.read_table(output)
    assert table.column_names == ["video", "start", "end", "vector"]
    assert [str(field.type) for field in table.schema] == [
        "string",
        "double",
        "double",
        "fixed_size_list<element: float>[3]",
    ]


def test_numpy_has_its_index_beside_it(shards: list[Path], tmp_path: Path) -> None:
    join_shards(shards, tmp_path / "features.npy")
    assert np.load(tmp_path / "features.npy").shape == (6, 3)
    with open(tmp_path / "features.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert rows[2]["video"] == '/odd, "name" ü.mp4'
    assert float(rows[1]["end"]) == 0.5 + 1 / 3


def test_bad_videos_are_kept_by_name(shards: list[Path]) -> None:
    assert [read_bad(path) for path in shards] == [[], [("/bad.mp4", "truncated")], []]


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_nothing_but_bad_videos_writes_nothing(
    shards: list[Path], tmp_path: Path, suffix: str
) -> None:
    assert join_shards(shards[1:2], tmp_path / f"features{suffix}") == 0
    assert not (tmp_path / f"features{suffix}").exists()


def test_a_failed_join_leaves_no_half_file(shards: list[Path], tmp_path: Path) -> None:
    write_shard([video("/c.mp4", 1, seed=5, dim=9)], shards[2])  # of another width
    for suffix in (".parquet", ".npy"):
        with pytest.raises(ValueError, match=r".+"):
            join_shards(shards, tmp_path / f"features{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in shards]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end it in \.parquet, \.npy or \.faiss"):
        check_format("features.csv")
    with pytest.raises(UserError, match="no such file"):
        read_features(tmp_path / "features.npy")


def test_a_full_disk_is_said_and_leaves_no_half_file(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    shard = tmp_path / "shard.parquet"
    write_shard([video("a.mp4", 3000, seed=1, dim=64)], shard)
    place = small_disk("300k")
    with pytest.raises(UserError, match="the disk is full"):
        join_shards([shard], place / "x.npy")
    assert list(place.iterdir()) == []
