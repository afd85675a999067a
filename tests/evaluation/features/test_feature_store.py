"""Extraction to a file: complete, resumable, the same however it was interrupted."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cvrl.data.dataset import EvalDataset
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.evaluation.features import feature_store
from cvrl.evaluation.features.clip_stream import ClipChoice, ClipStream, Piece
from cvrl.evaluation.features.extraction import Stage, extract_features
from cvrl.evaluation.features.feature_files import read_features
from cvrl.evaluation.features.feature_store import Extraction, StoreReport, extract_to_file
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.utils.errors import CorruptVideoError, UserError

DatasetOf = Callable[..., EvalDataset]


@pytest.fixture
def extraction(encoder: Encoder) -> Extraction:
    return Extraction(encoder, ClipChoice(clips=2))


class Killed(Exception):
    """Stands for a power cut."""


def die_after(monkeypatch: pytest.MonkeyPatch, videos: int) -> Callable[[], None]:
    """Let the stream of clips break off after some videos; returns what undoes it."""
    real = ClipStream.__iter__

    def short(self: ClipStream) -> Iterator[Piece]:
        done = 0
        for piece in real(self):
            if done == videos:
                raise Killed
            yield piece
            done += piece.last

    monkeypatch.setattr(ClipStream, "__iter__", short)
    return lambda: monkeypatch.setattr(ClipStream, "__iter__", real)


def partial(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


class TestWhole:
    @pytest.mark.parametrize("suffix", [".parquet", ".npy"])
    @pytest.mark.parametrize("workers", [0, 2])
    def test_rows_are_those_of_plain_extraction(
        self,
        extraction: Extraction,
        videos: Manifest,
        dataset_of: DatasetOf,
        tmp_path: Path,
        suffix: str,
        workers: int,
    ) -> None:
        output = tmp_path / f"features{suffix}"
        report = extract_to_file(extraction, videos, output, shard_videos=4, workers=workers)
        assert report == StoreReport(output, len(videos), 2 * len(videos), [])
        stored = read_features(output)
        expected = extract_features(extraction.encoder, dataset_of(videos))
        assert stored.videos == [path for path in videos.paths for _ in range(2)]
        np.testing.assert_allclose(stored.vectors_ND, expected.vectors_ND, atol=1e-5)
        np.testing.assert_array_equal(stored.start_N, expected.start_N)
        np.testing.assert_array_equal(stored.end_N, expected.end_N)

    def test_only_output_and_report_are_left(
        self, extraction: Extraction, videos: Manifest, tmp_path: Path
    ) -> None:
        extract_to_file(extraction, videos, tmp_path / "f.parquet")
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["f.parquet", "f.parquet.report.json"]

    def test_dense_clips(self, encoder: Encoder, videos: Manifest, tmp_path: Path) -> None:
        """Frame folders run at 25 a second: a clip every second frame."""
        dense = Extraction(encoder, ClipChoice(every=0.08))
        extract_to_file(dense, videos.take([5]), tmp_path / "f.parquet", batch_clips=3)
        stored = read_features(tmp_path / "f.parquet")  # 14 frames: starts 0, 2, 4 and 6
        np.testing.assert_allclose(stored.start_N, [0, 0.08, 0.16, 0.24], atol=1e-9)
        np.testing.assert_allclose(stored.end_N - stored.start_N, 8 / 25, atol=1e-9)

    @pytest.mark.parametrize("stage", ["res2", "res5", "pooled", "projected"])
    @pytest.mark.parametrize("stem_kernel", [(1, 7, 7), (3, 7, 7)])
    def test_frames_shared_by_clips_change_no_feature(
        self,
        encoder: Encoder,
        videos: Manifest,
        tmp_path: Path,
        stage: Stage,
        stem_kernel: tuple[int, int, int],
    ) -> None:
        other = build_encoder("r3d_small", width=4, stem_kernel=stem_kernel).eval()
        other.projector, other.clip, other.size = encoder.projector, encoder.clip, encoder.size
        other.preprocess = encoder.preprocess
        stored = []
        for share in (True, False):
            file = tmp_path / f"{share}.npy"
            chosen = Extraction(other, ClipChoice(overlap=0.8), stage, share_frames=share)
            extract_to_file(chosen, videos.take([3, 4, 5]), file, batch_clips=2)
            stored.append(read_features(file))
        np.testing.assert_allclose(stored[0].vectors_ND, stored[1].vectors_ND, atol=1e-5)
        np.testing.assert_array_equal(stored[0].start_N, stored[1].start_N)
        assert len(stored[0].start_N) > 6

    @pytest.mark.parametrize("stage", ["res2", "res5", "projected"])
    def test_stages(self, encoder: Encoder, videos: Manifest, tmp_path: Path, stage: str) -> None:
        dim = {**encoder.stage_dims, "projected": 6}[stage]
        chosen = Extraction(encoder, ClipChoice(clips=1), stage)  # type: ignore[arg-type]
        extract_to_file(chosen, videos.take([0, 1]), tmp_path / "f.npy")
        assert read_features(tmp_path / "f.npy").vectors_ND.shape == (2, dim)

    def test_the_network_and_the_generators_stay(
        self, extraction: Extraction, videos: Manifest, tmp_path: Path
    ) -> None:
        extraction.encoder.train()
        before = torch.get_rng_state()
        extract_to_file(extraction, videos.take([0]), tmp_path / "f.parquet")
        assert all(part.training for part in extraction.encoder.modules())
        assert torch.equal(torch.get_rng_state(), before)


class TestResume:
    @pytest.mark.parametrize("after", [0, 1, 4, 9, 17])
    def test_a_broken_off_run_goes_on_to_the_same_file(
        self,
        extraction: Extraction,
        videos: Manifest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        after: int,
    ) -> None:
        whole, output = tmp_path / "whole.parquet", tmp_path / "f.parquet"
        extract_to_file(extraction, videos, whole, shard_videos=4, batch_clips=1)
        mend = die_after(monkeypatch, after)
        with pytest.raises(Killed):
            extract_to_file(extraction, videos, output, shard_videos=4, batch_clips=1)
        assert not output.exists()
        assert len(list(partial(output).glob("shard_*"))) == after // 4
        mend()
        report = extract_to_file(extraction, videos, output, shard_videos=4, batch_clips=1)
        assert report.n_clips == 36
        assert output.read_bytes() == whole.read_bytes()
        assert not partial(output).exists()

    def test_finished_videos_are_not_decoded_again(
        self,
        extraction: Extraction,
        videos: Manifest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        mend = die_after(monkeypatch, 9)
        with pytest.raises(Killed):
            extract_to_file(extraction, videos, tmp_path / "f.npy", shard_videos=4, batch_clips=1)
        mend()
        rows: list[int] = []
        real = ClipStream._pieces
        monkeypatch.setattr(
            ClipStream, "_pieces", lambda self, row: rows.append(row) or real(self, row)
        )
        extract_to_file(extraction, videos, tmp_path / "f.npy", shard_videos=4)
        assert rows == list(range(8, 18))

    @pytest.mark.parametrize("change", ["stage", "clips", "weights", "list", "size"])
    def test_other_settings_are_refused_by_name(
        self,
        extraction: Extraction,
        videos: Manifest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        change: str,
    ) -> None:
        output = tmp_path / "f.parquet"
        mend = die_after(monkeypatch, 4)
        with pytest.raises(Killed):
            extract_to_file(extraction, videos, output, shard_videos=2, batch_clips=1)
        mend()
        encoder = extraction.encoder
        if change == "stage":
            extraction = Extraction(encoder, ClipChoice(clips=2), "res4")
        elif change == "clips":
            extraction = Extraction(encoder, ClipChoice(clips=3))
        elif change == "weights":
            with torch.no_grad():
                next(encoder.parameters()).add_(1)
        elif change == "list":
            videos = videos.take([*range(1, 18), 0])
        else:
            encoder.size = 64
        with pytest.raises(UserError, match=f"unfinished extraction with {change} "):
            extract_to_file(extraction, videos, output, shard_videos=2)

    def test_settings_may_change_while_nothing_is_there(
        self,
        extraction: Extraction,
        videos: Manifest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        mend = die_after(monkeypatch, 1)
        with pytest.raises(Killed):
            extract_to_file(extraction, videos, tmp_path / "f.npy")
        mend()
        other = Extraction(extraction.encoder, ClipChoice(clips=1))
        assert extract_to_file(other, videos, tmp_path / "f.npy").n_clips == 18

    def test_a_complete_file_is_not_made_again(
        self,
        extraction: Extraction,
        videos: Manifest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        output = tmp_path / "f.parquet"
        first = extract_to_file(extraction, videos, output)
        die_after(monkeypatch, 0)
        assert extract_to_file(extraction, videos, output) == first

    def test_a_complete_file_of_other_settings_is_replaced(
        self, encoder: Encoder, videos: Manifest, tmp_path: Path
    ) -> None:
        output = tmp_path / "f.parquet"
        for clips in (1, 3):
            extract_to_file(Extraction(encoder, ClipChoice(clips=clips)), videos, output)
        assert len(read_features(output).videos) == 3 * len(videos)

    def test_killed_between_the_file_and_its_report(
        self,
        extraction: Extraction,
        videos: Manifest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        output = tmp_path / "f.parquet"
        with monkeypatch.context() as patch:
            patch.setattr(feature_store.shutil, "rmtree", lambda _: (_ for _ in ()).throw(Killed()))
            with pytest.raises(Killed):
                extract_to_file(extraction, videos, output)
        (tmp_path / "f.parquet.report.json").unlink()
        assert extract_to_file(extraction, videos, output).n_clips == 36
        assert not partial(output).exists()


class TestBadVideos:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_they_are_left_out_by_name(
        self, extraction: Extraction, with_a_bad_video: Manifest, tmp_path: Path, workers: int
    ) -> None:
        output = tmp_path / "f.parquet"
        report = extract_to_file(
            extraction, with_a_bad_video, output, workers=workers, shard_videos=2
        )
        paths = with_a_bad_video.paths
        assert (report.n_listed, report.n_clips) == (5, 8)
        assert [path for path, _ in report.bad] == [paths[2]]
        assert read_features(output).videos == [p for p in paths if p != paths[2] for _ in "ab"]
        on_disk = json.loads((tmp_path / "f.parquet.report.json").read_text())
        assert on_disk["bad"] == [list(entry) for entry in report.bad]

    def test_strict_fails_by_name(
        self, extraction: Extraction, with_a_bad_video: Manifest, tmp_path: Path
    ) -> None:
        with pytest.raises(CorruptVideoError, match=r"broken\.mp4"):
            extract_to_file(extraction, with_a_bad_video, tmp_path / "f.npy", strict=True)
        assert not (tmp_path / "f.npy").exists()

    def test_strict_fails_on_what_an_earlier_run_left_out(
        self, extraction: Extraction, with_a_bad_video: Manifest, tmp_path: Path
    ) -> None:
        extract_to_file(extraction, with_a_bad_video, tmp_path / "f.npy")
        with pytest.raises(CorruptVideoError, match=r"broken\.mp4"):
            extract_to_file(extraction, with_a_bad_video, tmp_path / "f.npy", strict=True)

    def test_nothing_decodes(self, extraction: Extraction, tmp_path: Path) -> None:
        for name in ("x.mp4", "y.mp4"):
            (tmp_path / name).write_text("no video")
        manifest = make_manifest({"path": ["x.mp4", "y.mp4"]}, root=tmp_path)
        with pytest.raises(UserError, match="none of the 2 videos can be decoded"):
            extract_to_file(extraction, manifest, tmp_path / "f.parquet")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["x.mp4", "y.mp4"]

    def test_a_fault_after_some_pieces_voids_the_video(
        self,
        encoder: Encoder,
        videos: Manifest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real = ClipStream._pieces

        def faulty(self: ClipStream, row: int) -> Iterator[Piece]:
            for number, piece in enumerate(real(self, row)):
                if row == 5 and number == 1:
                    raise CorruptVideoError(self.manifest.path(row), "breaks off")
                yield piece

        monkeypatch.setattr("cvrl.evaluation.features.clip_stream.CLIPS_A_PIECE", 1)
        monkeypatch.setattr(ClipStream, "_pieces", faulty)
        dense = Extraction(encoder, ClipChoice(every=0.04))
        report = extract_to_file(dense, videos, tmp_path / "f.npy", batch_clips=1)
        assert report.bad == [(videos.path(5), "breaks off")]
        assert videos.path(5) not in read_features(tmp_path / "f.npy").videos


class TestRefusals:
    def test_a_format_that_is_not_known(
        self, extraction: Extraction, videos: Manifest, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match="no such format"):
            extract_to_file(extraction, videos, tmp_path / "f.h5")
        assert list(tmp_path.iterdir()) == []

    def test_projected_without_a_head(
        self, encoder: Encoder, videos: Manifest, tmp_path: Path
    ) -> None:
        encoder.projector = None
        with pytest.raises(UserError, match="no projection head"):
            extract_to_file(
                Extraction(encoder, ClipChoice(clips=1), "projected"), videos, tmp_path / "f.npy"
            )


def test_progress_is_logged_where_nobody_watches(
    extraction: Extraction,
    videos: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(feature_store, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO", logger="cvrl"):
        extract_to_file(extraction, videos, tmp_path / "f.parquet")
    assert "18 of 18 videos" in caplog.text
    assert "clips/s" in caplog.text and "s left" in caplog.text


@pytest.mark.real
def test_a_folder_of_odd_files(encoder: Encoder, real_data: Path, tmp_path: Path) -> None:
    """Rotated, truncated, mislabelled, empty: each file has a row, or a reason why not."""
    with open(real_data / "formats" / "manifest.csv", newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"].startswith("derived/")]
    manifest = make_manifest({"path": [row["file"] for row in rows]}, root=real_data / "formats")
    extraction = Extraction(encoder, ClipChoice(clips=1))
    report = extract_to_file(extraction, manifest, tmp_path / "f.parquet")
    bad = {path for path, _ in report.bad}
    stored = set(read_features(tmp_path / "f.parquet").videos)
    assert stored | bad == set(manifest.paths) and not stored & bad
    assert all(reason for _, reason in report.bad)
    for row, path in zip(rows, manifest.paths, strict=True):
        if row["decoded"] == "0":
            assert path in bad
        elif row["status"] == "ok":
            assert path in stored
