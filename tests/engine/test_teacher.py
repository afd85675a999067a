"""Teachers of a distillation: their features are computed once, stored, and found by the video."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cvrl import load_encoder
from cvrl.config import load_config
from cvrl.data.clips import ClipSpec
from cvrl.data.dataset import EvalDataset, VideoReader
from cvrl.data.manifest import read_manifest
from cvrl.engine.checkpoint import list_checkpoints
from cvrl.engine.dry_run import describe_run
from cvrl.engine.teacher import Teach
from cvrl.engine.trainer import Trainer, train
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.features.extraction import extract_features
from cvrl.evaluation.features.feature_store import Extraction, extract_to_file
from cvrl.models.backbones import build_encoder
from cvrl.models.hog_mbh import HogMbh
from cvrl.pretrained import save_model
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError

CLIP = ClipSpec(8, 1)  # of the student
WORKER = str(Path(__file__).with_name("teacher_worker.py"))
DISTIL = Path(__file__).parents[2] / "configs" / "pretrain" / "distil_small.yaml"


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(1)
    encoder = build_encoder("r3d_small", width=4)
    file = tmp_path / "teacher" / "model.safetensors"
    save_model(file, encoder, clip=ClipSpec(8, 2), size=32)
    return file.parent


@pytest.fixture
def config_of(video_folder, teacher, tmp_path):
    def make(**overrides):
        given = {"data.train": video_folder, "output": tmp_path / "run", "method.teacher": teacher}
        given |= {"clip.size": 32, "train.steps": 3, "train.batch_size": 4, "data.workers": 0}
        given |= {"optim.warmup_epochs": 0, "log.tensorboard": "false", "data.cache_dir": "null"}
        given |= {"eval.every_epochs": 0, "encoder.width": 2, "method.teacher_clips": 2}
        given |= {key.replace("__", "."): value for key, value in overrides.items()}
        return load_config(DISTIL, [f"{key}={value}" for key, value in given.items()])

    return make


def teach_of(manifest, folder, clip=CLIP):
    return Teach(manifest, VideoReader(), folder, clip)


def test_a_row_is_the_mean_over_the_clips_of_its_video(teacher, video_folder, tmp_path):
    manifest, encoder = read_manifest(video_folder), load_encoder(teacher)
    feature_WE = teach_of(manifest, tmp_path)(str(teacher), 3)
    assert feature_WE.shape == (12, encoder.dim)
    for row in (0, 7):
        one = EvalDataset(manifest.take([row]), encoder.clip, 3, encoder.preprocess)
        expected_E = extract_features(encoder, one).vectors_ND.mean(dim=0)
        torch.testing.assert_close(feature_WE[row], expected_E)


def test_it_is_stored_once_and_does_not_move_the_draws(teacher, video_folder, tmp_path):
    teach = teach_of(read_manifest(video_folder), tmp_path / "run")
    torch.manual_seed(0)
    first, draw = teach(str(teacher), 1), torch.rand(3)
    (teacher / "model.safetensors").unlink()
    torch.manual_seed(0)
    assert torch.equal(teach(str(teacher), 1), first) and torch.equal(torch.rand(3), draw)
    with pytest.raises(UserError, match=r"holds no model.safetensors"):
        teach(str(teacher), 2)  # of other clips nothing is stored


def test_a_video_that_cannot_be_read_has_no_row(teacher, video_folder, tmp_path, caplog):
    bad = tmp_path / "videos"
    bad.mkdir()
    for file in sorted(video_folder.rglob("*.mp4"))[:3]:
        (bad / file.name).write_bytes(file.read_bytes())
    (bad / "down_1.mp4").write_bytes(b"no video")
    feature_WE = teach_of(read_manifest(bad), tmp_path)(str(teacher), 1)
    assert torch.isfinite(feature_WE).all(dim=1).tolist() == [True, False, True]
    assert "the teacher cannot read" in caplog.text and "down_1.mp4" in caplog.text


def test_a_stopped_run_goes_on_without_its_teacher(config_of, teacher):
    config = config_of(checkpoint__every_steps=1, checkpoint__keep=3)
    run = train(config)
    straight = load_encoder(run).state_dict()
    [stored] = run.glob("teacher_*.safetensors")
    content = stored.read_bytes()
    last = list_checkpoints(run / "checkpoints")[-1]
    last.unlink()  # as if it had been stopped before its last step
    (run / "model.safetensors").unlink()
    (teacher / "model.safetensors").unlink()
    train(config)
    assert last.exists() and stored.read_bytes() == content
    for key, value in load_encoder(run).state_dict().items():
        assert torch.equal(value, straight[key]), key


def test_features_that_are_there_change_nothing(config_of):
    """A run whose teacher file is there starts from the same weights as one that makes it."""
    config = config_of()
    first, second = Trainer(config).task, Trainer(config).task
    assert len(list(config.run_folder.glob("teacher_*.safetensors"))) == 1
    for (key, value), other in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), key


def test_the_first_of_two_ranks_asks_and_the_other_reads(teacher, video_folder, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    inputs = [tmp_path / "store", video_folder, teacher, folder]
    started = [
        subprocess.Popen([sys.executable, WORKER, str(rank), "2", *inputs], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    first, second = (torch.load(folder / f"rank_{rank}.pt") for rank in range(2))
    assert torch.equal(first, second) and torch.isfinite(first).all()
    assert len(list(folder.glob("teacher_*.safetensors"))) == 1


def test_a_file_of_features_teaches(teacher, video_folder, tmp_path, caplog):
    manifest, file = read_manifest(video_folder), tmp_path / "features.parquet"
    some = manifest.take([7, 2, 5])
    extraction = Extraction(load_encoder(teacher), ClipChoice(clips=3), precision="plain")
    extract_to_file(extraction, some, file)
    feature_WE = teach_of(manifest, tmp_path)(str(file), 1)
    expected_WE = teach_of(some, tmp_path)(str(teacher), 3)
    torch.testing.assert_close(feature_WE[[7, 2, 5]], expected_WE, atol=1e-5, rtol=1e-4)
    assert torch.isnan(feature_WE).all(dim=1).sum() == 9
    assert "has no feature of 9 of 12 videos" in caplog.text
    others = teach_of(manifest.take([0, 1]), tmp_path)
    with pytest.raises(UserError, match="has none of the 2 training videos"):
        others(str(file), 1)


def test_hand_made_features_teach(video_folder, tmp_path):
    """Of longer clips than the student's, and the same for a video and its mirror image."""
    manifest = read_manifest(video_folder).take([3, 8])
    feature_WE = teach_of(manifest, tmp_path)("hog_mbh", 2)
    assert feature_WE.shape == (2, HogMbh.dim)
    dataset = EvalDataset(manifest, ClipSpec(16, 2), 2, recipes.evaluation(64))
    clips_NCTHW = torch.cat([dataset[row].clips_NCTHW for row in range(2)])
    both_NE = HogMbh()(clips_NCTHW) + HogMbh()(clips_NCTHW.flip(-1))
    torch.testing.assert_close(feature_WE, both_NE.view(2, 2, -1).mean(dim=1))


def test_a_dry_run_tries_the_teacher_and_stores_nothing(config_of, teacher):
    config = config_of()
    assert "GFLOP" in describe_run(config)
    assert not config.run_folder.exists()
    with pytest.raises(UserError, match="runs/none"):
        describe_run(config_of(method__teacher="runs/none"))


def test_a_run_learns_hand_made_features(config_of):
    """From the config on, with every loss there is."""
    given = {"method__teacher": "hog_mbh", "method__components": 4, "method__contrast": 0.5}
    run = train(config_of(**given))
    assert load_encoder(run).projector is not None
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for name in ("cosine_loss", "relation_loss", "contrast_loss"):
        assert lines[-1][name] > 0.0, name


@pytest.mark.parametrize("family", ["VideoMAE", "Vivit"])
def test_a_model_of_transformers_teaches(config_of, stored_transformer, family):
    run = train(config_of(method__teacher=stored_transformer(family)))
    assert load_encoder(run).spec["name"] == "r3d_small"
