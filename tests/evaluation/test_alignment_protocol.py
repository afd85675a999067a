"""The alignment protocol on films of events: rows, anchors, card, refusals, and the tools' way."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from cvrl.data.splits import Parts, read_splits
from cvrl.evaluation.card import read_result
from cvrl.evaluation.evaluate import Options, evaluate, suitable_protocols
from cvrl.evaluation.features.extraction import project
from cvrl.evaluation.protocols.alignment import constant_match_error, random_match_error
from cvrl.evaluation.random_init import random_init_encoder, weights_sha256
from cvrl.evaluation.result_table import render
from cvrl.models.backbones import Encoder
from cvrl.utils.errors import CorruptVideoError, UserError

CAMERAS = ("a", "b")
CLIP = 8  # frames


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 events of 14 to 17 frames: it grows dark, before a texture that tells the cameras apart."""
    root = tmp_path_factory.mktemp("events")
    for event in range(4):
        for camera, name in enumerate(CAMERAS):
            folder = root / f"event{event}" / name
            folder.mkdir(parents=True)
            texture = np.random.default_rng([event, camera]).integers(0, 12, size=(36, 48, 3))
            for frame in range(14 + event):
                picture = np.uint8(240 - 14 * frame + texture)
                Image.fromarray(picture).save(folder / f"{frame:02d}.png")
    return root


@pytest.fixture
def parts(events: Path) -> Parts:
    return read_splits(str(events), cameras=CAMERAS, hold_out=0.5, seed=0)


@pytest.fixture
def seeing(encoder: Encoder) -> Encoder:
    """Eyes for brightness alone: the mean of a clip, which is the phase in either camera."""

    class Brightness(torch.nn.Module):
        def forward(self, clips_MCTHW: torch.Tensor) -> torch.Tensor:
            return clips_MCTHW.mean(dim=(1, 2, 3, 4))[:, None]

    encoder.forward = Brightness().forward  # type: ignore[method-assign]
    encoder.projector = None
    return encoder


class TestParts:
    def test_films_stand_beside_their_events(self, parts: Parts) -> None:
        assert parts.train is not None
        assert len(parts.test) == len(parts.train) == 4
        for part in (parts.test, parts.train):
            names = part.table["event"].to_pylist()
            assert names[0::2] == names[1::2] and len(set(names)) == 2

    def test_alignment_is_what_suits_them(self, parts: Parts, library: Path) -> None:
        assert suitable_protocols(parts) == ["alignment"]
        assert "alignment" in suitable_protocols(parts, ["all"])
        plain = read_splits(str(library), hold_out=0.33)
        assert suitable_protocols(plain) == ["knn"]
        assert suitable_protocols(plain, ["all"]) == [*("knn", "linear", "retrieval", "instance")]
        assert suitable_protocols(plain, ["linear"]) == ["linear"]

    def test_a_test_source_of_its_own(self, events: Path) -> None:
        parts = read_splits(str(events), str(events / "event3"), cameras=CAMERAS)
        assert len(parts.test) == 2 and parts.train is not None and len(parts.train) == 8


class TestRows:
    def test_whoever_sees_the_phase_is_right(self, seeing: Encoder, parts: Parts) -> None:
        result = evaluate(seeing, parts, ["alignment"])[0]
        found = result.row("trained").scores
        assert found["alignment_error"] == found["forward"] == found["backward"] == 0.0
        assert found["kendall_tau"] is not None and found["kendall_tau"] > 0.9
        assert [row.name for row in result.rows] == [
            "trained", "untrained", "chance", "constant", "middle"
        ]  # fmt: skip

    def test_the_fixed_answers(self, encoder: Encoder, parts: Parts) -> None:
        result = evaluate(encoder, parts, ["alignment"])[0]
        films = sorted({*parts.test.table["event"].to_pylist()})
        lengths = [14 + int(name[-1]) - CLIP + 1 for name in films]
        expected = {
            "chance": np.mean([random_match_error(n) for n in lengths]),
            "constant": np.mean([constant_match_error(n, 0) for n in lengths]),
            "middle": np.mean([constant_match_error(n, n // 2) for n in lengths]),
        }
        for name, error in expected.items():
            scores = result.row(name).scores
            assert scores == {
                "alignment_error": pytest.approx(error),
                "forward": pytest.approx(error),
                "backward": pytest.approx(error),
                "kendall_tau": 0.0,
            }

    def test_a_network_that_never_changes_gets_the_constant(
        self, encoder: Encoder, parts: Parts
    ) -> None:
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.zero_()
        result = evaluate(encoder, parts, ["alignment"])[0]
        assert result.row("trained").scores == result.row("constant").scores

    def test_the_head_is_a_row_of_its_own(self, encoder: Encoder, parts: Parts) -> None:
        result = evaluate(encoder, parts, ["alignment"])[0]
        assert [row.name for row in result.rows][:3] == ["trained", "projected", "untrained"]
        assert result.row("projected").details["embedding_std"] > 0

    def test_the_better_twin_is_the_untrained_row(
        self, encoder: Encoder, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Lower is better here."""
        blind = random_init_encoder(encoder.spec, 0)
        with torch.no_grad():
            for parameter in blind.parameters():
                parameter.zero_()
        twins = {"blind": blind, "random": random_init_encoder(encoder.spec, 0)}
        for order in (twins, dict(reversed(twins.items()))):
            monkeypatch.setattr(
                "cvrl.evaluation.evaluate.random_init_encoders",
                lambda *_, o=order, **__: (o, "words"),
            )
            row = evaluate(encoder, parts, ["alignment"])[0].row("untrained")
            assert row.details["batch_norm"] == "random"

    def test_the_encoder_is_left_as_it_was(self, encoder: Encoder, parts: Parts) -> None:
        before = weights_sha256(encoder)
        evaluate(encoder.train(), parts, ["alignment"])
        assert weights_sha256(encoder) == before
        assert all(part.training for part in encoder.modules())


class TestCard:
    def test_it_says_what_was_scored(self, encoder: Encoder, parts: Parts, tmp_path: Path) -> None:
        result = evaluate(encoder, parts, ["alignment"])[0]
        card = result.card
        assert card.n_listed == card.n_scored == 4, "films"
        assert (card.settings["n_events"], card.settings["n_pairs"]) == (2, 2)
        assert card.settings["clips"] == "every frame" and card.clips_per_video is None
        found = "disjoint: 2 train and 2 test groups, no file in both"
        assert card.group_check == f"{found} (compared by inode and content)"
        assert "lower is better" in card.notes[0]
        assert read_result(result.write(tmp_path)) == result

    def test_it_can_be_shown(self, encoder: Encoder, parts: Parts) -> None:
        console = Console(width=200, file=io.StringIO())
        console.print(render(evaluate(encoder, parts, ["alignment"])[0]))
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        for word in ("alignment error %", "Kendall's tau x100", "middle", "dense clips"):
            assert word in shown

    def test_every_so_many_seconds(self, seeing: Encoder, parts: Parts) -> None:
        """Frame folders run at 25 frames a second."""
        result = evaluate(seeing, parts, ["alignment"], Options(every_seconds=0.08))[0]
        assert result.card.settings["clips"] == "every 0.08 s"
        assert result.row("trained").scores["alignment_error"] == 0.0
        films = sorted({*parts.test.table["event"].to_pylist()})
        lengths = [(14 + int(name[-1]) - CLIP) // 2 + 1 for name in films]
        expected = np.mean([random_match_error(n) for n in lengths])
        assert result.row("chance").scores["alignment_error"] == pytest.approx(expected)

    def test_beside_another_protocol_each_has_clips_of_its_own(
        self, encoder: Encoder, parts: Parts
    ) -> None:
        instance, alignment = evaluate(encoder, parts, ["instance", "alignment"])
        assert instance.card.clips_per_video == 2 and alignment.card.clips_per_video is None
        assert instance.card.settings["n_queries"] == 8


class TestRefusals:
    def test_plain_videos(self, encoder: Encoder, library: Path) -> None:
        parts = read_splits(str(library), hold_out=0.33)
        with pytest.raises(UserError, match=r"events seen by several cameras; .*--cameras"):
            evaluate(encoder, parts, ["alignment"])

    def test_a_negative_step(self, encoder: Encoder, parts: Parts) -> None:
        with pytest.raises(UserError, match="every_seconds"):
            evaluate(encoder, parts, ["alignment"], Options(every_seconds=-1.0))

    def test_a_film_that_is_missing_is_named(
        self, encoder: Encoder, events: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "event9").mkdir()
        (tmp_path / "event9" / "a").symlink_to(events / "event0" / "a")
        parts = read_splits(str(tmp_path), cameras=CAMERAS)
        with pytest.raises(CorruptVideoError, match="event9/b"):
            evaluate(encoder, parts, ["alignment"])


def test_projecting_needs_a_head(encoder: Encoder) -> None:
    encoder.projector = None
    with pytest.raises(UserError, match="no projection head"):
        project(encoder, None)  # type: ignore[arg-type]
