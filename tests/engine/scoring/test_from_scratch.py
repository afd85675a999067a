"""The row of a network that learned from the labels alone."""

from pathlib import Path

import pytest
import torch

from cvrl.config import Config, DataConfig, EncoderConfig, save_config
from cvrl.data.clips import ClipSpec
from cvrl.engine.scoring.score_run import score_run
from cvrl.evaluation.card import Result
from cvrl.models.backbones import build_encoder
from cvrl.models.heads import ClassHead
from cvrl.pretrained import save_model
from cvrl.utils.errors import UserError

GIVEN = {"clips_per_video": 2, "workers": 0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, video_folder: Path) -> Path:
    """Runs: pretrained without a classifier, scratch with one, tuned from other weights."""
    folder = tmp_path_factory.mktemp("runs")
    encoder = build_encoder("r3d_small", width=4)
    head = ClassHead(encoder.dim, ["down", "right"])
    with torch.no_grad():  # answers "right" for every video
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 1.0]))
    for name, weights in (("pretrained", None), ("scratch", None), ("tuned", "runs/x")):
        own = None if name == "pretrained" else head
        file = folder / name / "model.safetensors"
        save_model(file, encoder, clip=ClipSpec(8, 2), size=32, class_head=own)
        data = DataConfig(train=str(video_folder), hold_out=0.34)
        config = Config(name=name, data=data, encoder=EncoderConfig("r3d_small", weights=weights))
        save_config(config, folder / name / "config.yaml")
    return folder


def score(runs: Path, *protocols: str, **given: object) -> list[Result]:
    return list(score_run(runs / "pretrained", GIVEN | given, protocols=protocols))


def test_its_classifier_is_a_row_of_the_linear_protocol_alone(runs: Path) -> None:
    knn, linear = score(runs, "knn", "linear", scratch=str(runs / "scratch"))
    names = ["trained", "untrained", "hog_mbh"]
    assert [row.name for row in knn.rows] == [*names, "chance"]
    assert [row.name for row in linear.rows] == [*names, "from_scratch", "chance"]
    assert linear.row("from_scratch").scores["top1"] == 0.5
    assert any(note.startswith("from_scratch: ") for note in linear.card.notes)


def test_each_perturbation_has_its_own(runs: Path) -> None:
    shows = ("plain", "still")
    results = score(runs, "linear", scratch=str(runs / "scratch"), perturbations=shows)
    assert len(results) == 3
    assert all(result.row("from_scratch").scores["top1"] == 0.5 for result in results)


def test_without_one_the_card_says_how_to_get_it(runs: Path) -> None:
    (linear,) = score(runs, "linear")
    (note,) = [note for note in linear.card.notes if "labels from scratch" in note]
    assert "tools/train_net.py --config configs/finetune/small.yaml" in note


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tuned", "began with the weights of runs/x"),
        ("pretrained", "was trained without labels"),
        ("nothing", "has no config.yaml"),
    ],
)
def test_another_run_is_refused(runs: Path, name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        score(runs, "linear", scratch=str(runs / name))


@pytest.mark.parametrize("protocols", [("knn",), ("instance",)])
def test_other_protocols_say_nothing_of_it(runs: Path, protocols: tuple[str, ...]) -> None:
    (result,) = score(runs, *protocols)
    assert not any("from scratch" in note for note in result.card.notes)
    assert "from_scratch" not in [row.name for row in result.rows]


def test_the_other_rows_stay_as_they_are(runs: Path) -> None:
    (without,) = score(runs, "linear")
    (linear,) = score(runs, "linear", scratch=str(runs / "scratch"))
    assert [row for row in linear.rows if row.name != "from_scratch"] == without.rows
    assert linear.card.n_scored == without.card.n_scored
    assert linear.row("from_scratch").details["clips"] == "8 frames, stride 2, 32 pixels"
