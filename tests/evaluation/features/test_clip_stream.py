"""The stream of clips: the right ones, in order, a few at a time, whatever the workers."""

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec, clip_indices
from cvrl.data.dataset import EvalDataset
from cvrl.data.loader import stream_loader
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.evaluation.features.clip_stream import (
    CLIPS_A_PIECE,
    ClipChoice,
    ClipStream,
    Piece,
    whole_videos,
)
from cvrl.models.inference.overlapping import gather_clips
from cvrl.utils.errors import UserError
from cvrl.video.frames import Video
from tests.conftest import write_frames

SPEC = ClipSpec(frames=4, stride=1)


def identity(clips: torch.Tensor) -> torch.Tensor:
    return clips


def by_video(pieces: list[Piece]) -> dict[int, list[Piece]]:
    grouped = defaultdict(list)
    for piece in pieces:
        grouped[piece.row].append(piece)
    return dict(grouped)


class TestChoice:
    @given(
        length=st.integers(1, 400),
        every=st.floats(0.01, 5.0),
        rate=st.floats(1.0, 60.0),
        frames=st.integers(1, 20),
        stride=st.integers(1, 4),
    )
    def test_dense_starts_are_evenly_spaced_and_lie_inside(
        self, length: int, every: float, rate: float, frames: int, stride: int
    ) -> None:
        spec = ClipSpec(frames, stride)
        starts = ClipChoice(every=every).starts(np.arange(length) / rate, spec)
        step = max(1.0, every * rate)
        assert starts[0] == 0
        assert starts[-1] == 0 or starts[-1] + spec.span <= length
        assert (np.abs(starts - np.round(starts / step) * step) <= 0.5 + 1e-3).all()
        assert starts[-1] + step + spec.span > length - 1

    @pytest.mark.parametrize(
        ("clips", "every", "said"),
        [
            (None, None, "exactly one"),
            (2, 1.0, "exactly one"),
            (0, None, "must be 1 or more"),
            (None, 0.0, "must be above 0"),
            (None, float("nan"), "must be above 0"),
            (None, float("inf"), "must be above 0"),
        ],
    )
    def test_refusals(self, clips: int | None, every: float | None, said: str) -> None:
        with pytest.raises(UserError, match=said):
            ClipChoice(clips, every)

    @pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
    def test_an_overlap_is_a_share(self, overlap: float) -> None:
        with pytest.raises(UserError, match=r"--overlap .*: must be in \[0, 1\)"):
            ClipChoice(overlap=overlap)

    @given(overlap=st.floats(0, 0.999), frames=st.integers(1, 20), stride=st.integers(1, 8))
    def test_overlapping_clips_share_whole_frames(
        self, overlap: float, frames: int, stride: int
    ) -> None:
        spec = ClipSpec(frames, stride)
        starts = ClipChoice(overlap=overlap).starts(np.arange(1000) / 25, spec)
        (step,) = set(np.diff(starts))
        first, second = (set(clip_indices(int(start), spec, 1000)) for start in starts[:2])
        assert step % stride == 0
        apart = frames - len(first & second)
        assert apart == max(1, round((1 - overlap) * frames))


class TestVariableRate:
    """A phone video: 30 frames a second, 8 in the dark, and a pause."""

    TICKS = np.cumsum([0, *[1] * 90, *[4] * 24, 30, *[1] * 60])  # of 1/30 s, 9.2 s

    @pytest.fixture
    def video(self, tmp_path: Path, make_video: Callable[..., Path]) -> Manifest:
        make_video(tmp_path / "a.mp4", len(self.TICKS), fps=30, times=self.TICKS.tolist())
        return make_manifest({"path": ["a.mp4"]}, root=str(tmp_path))

    @pytest.mark.parametrize("fps", [None, 10.0])
    @pytest.mark.parametrize("every", [0.5, 1.0])
    def test_every_goes_by_time(self, video: Manifest, fps: float | None, every: float) -> None:
        spec = ClipSpec(frames=4, stride=1, fps=fps)
        pieces = list(ClipStream(video, [0], spec, ClipChoice(every=every), identity))
        start_N = torch.cat([piece.start_N for piece in pieces]).numpy()
        wanted = np.arange(len(start_N) + 4) * every
        apart = np.abs(start_N[:, None] - wanted).min(1)
        assert np.sort(apart)[:-2].max() <= 0.14  # but for clips that start in the pause
        last = 9.2 - 3 / (fps or 30)  # where the last clip may start
        assert len(start_N) == int(last / every) + 1
        dense = EvalDataset(video, spec, 1, identity, every_seconds=every)[0]
        assert dense.start_N.tolist() == start_N.tolist()


class TestStream:
    @pytest.mark.parametrize(
        "choice", [ClipChoice(clips=3), ClipChoice(every=0.04), ClipChoice(clips=40)]
    )
    def test_the_clips_are_those_of_the_evaluation_dataset(
        self, videos: Manifest, choice: ClipChoice
    ) -> None:
        pieces = by_video(list(ClipStream(videos, range(len(videos)), SPEC, choice, identity)))
        dataset = EvalDataset(videos, SPEC, choice.clips or 1, identity, every_seconds=choice.every)
        for row in range(len(videos)):
            item = dataset[row]
            got = pieces[row]
            clips = [gather_clips(p.frames_FCHW, p.place_NT) for p in got]
            assert torch.equal(torch.cat(clips), item.clips_NCTHW)
            assert torch.equal(torch.cat([p.start_N for p in got]), item.start_N)
            assert torch.equal(torch.cat([p.end_N for p in got]), item.end_N)
            assert [p.last for p in got] == [False] * (len(got) - 1) + [True]

    @pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
    def test_a_long_video_comes_in_small_pieces(self, tmp_path: Path, overlap: float) -> None:
        write_frames(tmp_path / "long", (9, 9, 9), 80, seed=0)
        manifest = make_manifest({"path": ["long"]}, root=tmp_path)
        pieces = list(ClipStream(manifest, [0], SPEC, ClipChoice(overlap=overlap), identity))
        assert len(pieces) == 3
        assert sum(len(piece.start_N) for piece in pieces) == 1 + 76 // (4 - 4 * overlap)
        for piece in pieces:
            assert len(piece.frames_FCHW) == len(piece.place_NT.unique()) <= CLIPS_A_PIECE * 4

    def test_no_frame_is_decoded_twice(
        self, videos: Manifest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[int] = []
        real = Video.frames

        def noted(self: Video, indices: Sequence[int]) -> object:
            read.extend(indices)
            return real(self, indices)

        monkeypatch.setattr(Video, "frames", noted)
        monkeypatch.setattr("cvrl.evaluation.features.clip_stream.CLIPS_A_PIECE", 1)
        pieces = list(ClipStream(videos, [5], SPEC, ClipChoice(every=0.04), identity))
        assert len(pieces) == 11
        assert read == list(range(14))

    @pytest.mark.parametrize("workers", [0, 1, 2])
    def test_workers_share_the_rows(self, videos: Manifest, workers: int) -> None:
        rows = [4, 0, 7, 2, 9]
        stream = ClipStream(videos, rows, SPEC, ClipChoice(every=0.04), identity)
        got = by_video(list(stream_loader(stream, workers)))
        expected = by_video(list(stream))
        assert sorted(got) == sorted(rows)
        for row in rows:
            starts = [piece.start_N.tolist() for piece in got[row]]
            assert starts == [piece.start_N.tolist() for piece in expected[row]]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_bad_video_is_news_and_not_an_end(
        self, with_a_bad_video: Manifest, workers: int
    ) -> None:
        stream = ClipStream(with_a_bad_video, range(5), SPEC, ClipChoice(clips=1), identity)
        pieces = by_video(list(stream_loader(stream, workers)))
        assert sorted(pieces) == [0, 1, 2, 3, 4]
        (bad,) = pieces[2]
        assert bad.bad and bad.last and len(bad.start_N) == 0
        assert all(piece.bad is None for row in (0, 1, 3, 4) for piece in pieces[row])

    def test_a_missing_file_is_a_bad_video(self) -> None:
        manifest = make_manifest({"path": ["gone.mp4"]}, root="/nowhere")
        (piece,) = ClipStream(manifest, [0], SPEC, ClipChoice(clips=1), identity)
        assert piece.bad is not None


def test_pieces_are_let_go_while_their_video_goes_on() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def pieces() -> Iterator[tuple[Piece, torch.Tensor]]:
        for n in range(5):
            frames, places = torch.zeros(4, 3, 8, 8), torch.arange(4)[None]
            alive.append(weakref.ref(frames))
            assert sum(one() is not None for one in alive) <= 2  # this one and the one before
            yield (
                Piece(0, frames, places, torch.tensor([n]), torch.tensor([n + 1]), n == 4),
                torch.ones(1, 2),
            )

    [video] = whole_videos(pieces())
    assert video.start_N.tolist() == [0, 1, 2, 3, 4]
    assert video.vectors_ND.shape == (5, 2)
