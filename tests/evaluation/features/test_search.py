"""The FAISS index: exact against NumPy, its names, and that a video finds itself."""

import itertools
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cvrl.cli import main
from cvrl.data.clips import ClipSpec
from cvrl.data.manifest import read_manifest
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.features.feature_files import StoredFeatures, read_features
from cvrl.evaluation.features.feature_store import Extraction, extract_to_file
from cvrl.evaluation.features.search import _best, search_index
from cvrl.models.backbones import build_encoder
from cvrl.pretrained import load_encoder, save_model
from cvrl.utils.errors import UserError
from cvrl.utils.log import logger

faiss = pytest.importorskip("faiss", reason="faiss is not installed")
from cvrl.evaluation.features.faiss_index import (  # noqa: E402
    FeatureIndex,
    names_file,
    unit_rows,
    write_index,
)


@pytest.fixture(autouse=True)
def logging_as_before():
    state = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = state[:2]
    logger.setLevel(state[2])


@pytest.fixture
def run(tmp_path):
    """An encoder whose features of videos differ."""
    encoder = build_encoder("r3d_small", width=8)
    with torch.no_grad():
        encoder.train()(torch.rand(8, 3, 8, 32, 32))
    folder = tmp_path / "run"
    save_model(folder / "model.safetensors", encoder, clip=ClipSpec(8, 2), size=32)
    return folder


def names_of(videos):
    starts = [float(n) for n in range(len(videos))]
    return pa.table({"video": videos, "start": starts, "end": [s + 1 for s in starts]})


def make_index(folder, vectors, videos, parts=1):
    table, bounds = names_of(videos), np.linspace(0, len(videos), parts + 1).astype(int)
    pieces = itertools.pairwise(bounds)
    path = folder / "x.faiss"
    write_index([(vectors[a:b], table.slice(a, b - a)) for a, b in pieces], path)
    return FeatureIndex(path)


def test_the_search_is_exact(tmp_path):
    rng = np.random.default_rng(0)
    vectors, queries = (rng.normal(size=(n, 16)).astype(np.float32) for n in (200, 7))
    index = make_index(tmp_path, vectors, [f"{n}.mp4" for n in range(200)], parts=3)
    cosine, rows = index.search(queries * 5, 9)
    expected = unit_rows(queries).astype(float) @ unit_rows(vectors).astype(float).T
    assert (rows == np.argsort(-expected, axis=1)[:, :9]).all()
    np.testing.assert_allclose(cosine, -np.sort(-expected, axis=1)[:, :9], atol=1e-5)
    assert index.search(queries, 1000)[0].shape == (7, 200)


@pytest.mark.parametrize("top", [1, 3, 10])
@pytest.mark.parametrize("clips", [1, 30])
def test_the_best_videos_are_those_of_a_plain_loop(tmp_path, top, clips):
    """Also where one video has so many near clips that the first answers are all of it."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(120, 8)).astype(np.float32)
    vectors[:100] = vectors[0] + 0.01 * rng.normal(size=(100, 8))
    videos = ["near.mp4"] * 100 + [f"{n // 2}.mp4" for n in range(20)]
    index = make_index(tmp_path, vectors, videos)
    queries = rng.normal(size=(clips, 8)).astype(np.float32)
    queries[0] = vectors[0]
    times = np.arange(clips, dtype=float)
    found = _best(index, StoredFeatures(["q"] * clips, times, times, queries), [*range(clips)], top)
    best = {}
    for q, query in enumerate(unit_rows(queries)):
        for video, row in zip(videos, unit_rows(vectors) @ query, strict=True):
            if row > best.get(video, (-2, 0))[0]:
                best[video] = (row, q)
    ranked = sorted(best, key=lambda video: -best[video][0])[:top]
    assert [match.video for match in found] == ranked
    assert [match.query_start for match in found] == [best[video][1] for video in ranked]


def test_the_index_holds_what_the_parquet_file_holds(run, video_folder, tmp_path):
    extraction = Extraction(load_encoder(run), ClipChoice(clips=3))
    videos = read_manifest(video_folder)
    outputs = [tmp_path / "f.parquet", tmp_path / "f.faiss"]
    reports = [extract_to_file(extraction, videos, path, shard_videos=5) for path in outputs]
    assert reports[0].n_clips == reports[1].n_clips == 36
    stored, index = read_features(outputs[0]), FeatureIndex(outputs[1])
    assert index.names["video"].to_pylist() == stored.videos
    assert (index.names["end"].to_numpy() == stored.end_N).all()
    raw = faiss.read_index(str(outputs[1])).reconstruct_n(0, 36)
    assert (raw == unit_rows(stored.vectors_ND)).all()
    with pytest.raises(UserError, match=r"f.faiss: no such format; end it in .parquet or .npy"):
        read_features(outputs[1])


def test_the_command_finds_the_video_itself(run, video_folder, tmp_path, capsys):
    index = str(tmp_path / "f.faiss")
    every = ["--every", "0.2", "--workers", "0"]
    main(["extract", "--checkpoint", str(run), "--input", str(video_folder),
          "--output", index, *every])  # fmt: skip
    capsys.readouterr()
    videos = sorted(map(str, video_folder.rglob("*.mp4")))[:3]
    main(["search", index, *videos, "--top", "2", "--workers", "0"])
    blocks = capsys.readouterr().out.splitlines()
    assert [line for line in blocks if not line.startswith(" ")] == videos
    firsts = [blocks[n + 1].split() for n, line in enumerate(blocks) if line in videos]
    assert [(first[0], first[1]) for first in firsts] == [("1.0000", video) for video in videos]
    assert len(blocks) == 9


def test_an_index_of_another_encoder_or_of_one_that_moved_is_refused(
    run, video_folder, tmp_path, capsys
):
    index, video = tmp_path / "f.faiss", str(next(video_folder.rglob("*.mp4")))
    main(["extract", "--checkpoint", str(run), "--input", video, "--output", str(index)])
    moved = tmp_path / "moved"
    shutil.move(run, moved)
    search = ["search", str(index), video, "--workers", "0"]
    with pytest.raises(UserError, match=r"f.faiss: its encoder .*run is not there; name it with"):
        main(search)
    main([*search, "--checkpoint", str(moved)])
    assert "1.0000" in capsys.readouterr().out
    other = tmp_path / "other" / "model.safetensors"
    save_model(other, build_encoder("r3d_small", width=8), clip=ClipSpec(8, 2), size=32)
    with pytest.raises(UserError, match=r"was made by an encoder of other weights; give that"):
        main([*search, "--checkpoint", str(other)])
    report = json.loads((tmp_path / "f.faiss.report.json").read_text())
    assert report["checkpoint"] == str(run)


def test_files_that_are_no_index(run, tmp_path):
    with pytest.raises(UserError, match=r"none.faiss: no such file; write it with cvrl extract"):
        FeatureIndex(tmp_path / "none.faiss")
    index = make_index(tmp_path, np.eye(4, dtype=np.float32), list("abcd"))
    assert index.dim == 4
    pq.write_table(names_of(["a"]), names_file(tmp_path / "x.faiss"))
    with pytest.raises(UserError, match=r"names 1 clips, but the index holds 4; extract"):
        FeatureIndex(tmp_path / "x.faiss")
    (tmp_path / "x.faiss").write_bytes(b"abc")
    with pytest.raises(UserError, match=r"x.faiss: is no whole FAISS index; extract it again"):
        FeatureIndex(tmp_path / "x.faiss")
    with pytest.raises(UserError, match=r"x.faiss.report.json: no such file"):
        main(["search", str(tmp_path / "x.faiss"), "clip.mp4"])


@pytest.mark.real
def test_real_videos_find_themselves(run, real_data, tmp_path):
    videos = read_manifest(real_data / "weizmann4").take(np.arange(0, 36, 3))
    encoder = load_encoder(run)
    extract_to_file(Extraction(encoder, ClipChoice(clips=4)), videos, tmp_path / "f.faiss")
    for video, matches in search_index(tmp_path / "f.faiss", encoder, videos, top=3).items():
        assert matches[0].video == video and matches[0].cosine > 0.9999
        assert matches[0].start == matches[0].query_start
        assert len({match.video for match in matches}) == 3
