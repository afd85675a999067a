"""Encoders of transformers under our protocols: scored as they are, probed, fine-tuned."""

from pathlib import Path

import pytest
import torch

from cvrl import load_classifier, load_encoder
from cvrl.config import load_config
from cvrl.data.manifest import read_manifest
from cvrl.engine.dry_run import describe_run
from cvrl.engine.profiling.macs import count_macs
from cvrl.engine.scoring.score_run import score_run
from cvrl.engine.trainer import train
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.features.feature_store import Extraction, extract_to_file
from cvrl.explain.grad_cam import default_stage, grad_cam
from cvrl.methods.finetune import Finetune
from cvrl.utils.errors import UserError

NAMES = ("VideoMAE", "VJEPA2", "Timesformer", "Vivit")
HF = Path(__file__).parents[2] / "configs" / "finetune" / "hf.yaml"
SMALL = {
    **{"clip.frames": 4, "clip.size": 32, "clip.stride": 2, "clip.upscale": "true"},
    **{"train.steps": 2, "train.batch_size": 4, "train.accumulate": 1, "train.precision": "fp32"},
    **{"optim.warmup_epochs": 0, "data.workers": 0, "log.tensorboard": "false"},
}


@pytest.fixture(params=NAMES)
def folder(request, stored_transformer):
    return stored_transformer(request.param)


@pytest.fixture
def config_of(video_folder, tmp_path):
    def make(folder, overrides=()):
        given = {"data.train": video_folder, "output": tmp_path / "run", "encoder.model": folder}
        given |= {**SMALL, **dict(overrides)}
        return load_config(HF, [f"{key}={value}" for key, value in given.items()])

    return make


def test_a_stored_model_is_scored_without_a_run(folder, video_folder, tmp_path):
    protocols = ["knn", "linear", "retrieval"]
    given = {"train": str(video_folder), "hold_out": 0.5, "workers": 0, "clips_per_video": 2}
    results = list(score_run(folder, given, protocols=protocols))
    assert [result.card.protocol for result in results] == protocols
    for result in results:
        assert (result.card.clip_frames, result.card.size) == (4, 32)
        rows = {row.name for row in result.rows}
        assert {"trained", "untrained"} <= rows
        assert result.card.untrained.startswith("same architecture, random weights")


def test_its_features_are_extracted(folder, video_folder, tmp_path):
    encoder, manifest = load_encoder(folder), read_manifest(video_folder)
    extraction = Extraction(encoder, ClipChoice(clips=2))
    report = extract_to_file(extraction, manifest, tmp_path / "features.parquet")
    assert report.n_clips == 24 and not report.bad
    with pytest.raises(UserError, match="int8: is not made for encoder hf"):
        choice = ClipChoice(clips=1)
        int8 = Extraction(encoder, choice, precision="int8")
        extract_to_file(int8, manifest, tmp_path / "int8.parquet")


def test_it_is_fine_tuned_stored_and_loaded(folder, config_of):
    run = train(config_of(folder))
    stored, tuned = load_encoder(folder), load_encoder(run)
    assert tuned.spec == stored.spec and (tuned.clip.stride, tuned.size) == (2, 32)
    before, after = stored.state_dict(), tuned.state_dict()
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert len(moved) > len(before) / 2
    classifier = load_classifier(run)
    assert classifier.class_names == ["down", "right"]
    clips = torch.rand(1, 3, 4, 32, 32)
    assert torch.isfinite(classifier(clips)).all()


def test_it_is_probed_frozen(folder, config_of):
    run = train(config_of(folder, {"method": "{name: linear_probe, protocol: cvrl}"}))
    stored, probed = load_encoder(folder).state_dict(), load_encoder(run).state_dict()
    assert all(torch.equal(stored[key], probed[key]) for key in stored)


def test_a_run_goes_on_with_the_weights_of_another(folder, config_of, tmp_path):
    run = train(config_of(folder))
    again = train(config_of(folder, {"encoder.weights": run, "output": tmp_path / "b"}))
    assert load_encoder(again).spec == load_encoder(run).spec


def test_a_dry_run_counts_its_cost(stored_transformer, config_of):
    """Every product of the weights, and those of attention, which run in a fused kernel."""
    folder = stored_transformer("VideoMAE")
    N, D, hidden, blocks = 2 * 4 * 4, 24, 32, 2
    embedding = N * D * (3 * 2 * 8 * 8)
    block = N * (4 * D * D + 2 * D * hidden) + 2 * N * N * D
    macs = count_macs(load_encoder(folder), torch.rand(1, 3, 4, 32, 32))
    assert macs == embedding + blocks * block
    assert "GFLOP" in describe_run(config_of(folder))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("clip.frames", 8, "clip.frames = 8: does not suit encoder hf, which takes 4"),
        ("clip.size", 48, "clip.size = 48: does not suit encoder hf, which takes 32"),
        ("augment.normalise", "true", "augment.normalise = true: would be done twice"),
    ],
)
def test_what_does_not_suit_it_is_refused(config_of, stored_transformer, key, value, message):
    with pytest.raises(UserError, match=message):
        describe_run(config_of(stored_transformer("VideoMAE"), {key: value}))


def test_its_heat_has_a_cell_a_token(folder):
    encoder = load_encoder(folder)
    assert default_stage(encoder) == "res5"
    clips = torch.rand(1, 3, 4, 32, 32)
    heat = grad_cam(encoder, clips, lambda h_BD: h_BD[:, 0])
    assert heat.shape[2:] == (4, 4) and float(heat.max()) > 0


def test_clips_at_a_time_and_recomputed_train_alike(stored_transformer, config_of, tmp_path):
    """What saves memory does not change what is learned."""
    folder = stored_transformer("VJEPA2")
    plain = load_encoder(train(config_of(folder))).state_dict()
    saving = {"train.recompute": "true", "train.clips_at_once": 2, "output": tmp_path / "saving"}
    saved = load_encoder(train(config_of(folder, saving))).state_dict()
    for key, value in plain.items():
        torch.testing.assert_close(saved[key], value, atol=1e-5, rtol=1e-4)


def test_layers_learn_at_rates_of_their_own(stored_transformer):
    """Block by block, the embedding slowest."""
    encoder = load_encoder(stored_transformer("Timesformer"))
    task = Finetune(encoder, class_names=["a", "b"], layer_decay=0.5)
    groups = task.param_groups(0.1)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    model = encoder.stem.model
    assert scale[id(model.embeddings.time_embeddings)] == 0.125
    assert scale[id(model.encoder.layer[0].temporal_dense.weight)] == 0.25
    assert scale[id(model.encoder.layer[1].temporal_dense.weight)] == 0.5
    assert scale[id(model.layernorm.weight)] == 0.5
    assert scale[id(task.classifier.weight)] == 1.0


def test_its_average_is_what_is_kept(stored_transformer, config_of):
    method = "{name: finetune, average: 0.5, layer_decay: 0.75}"
    run = train(config_of(stored_transformer("Vivit"), {"method": method}))
    assert load_encoder(run).spec["config"]["model_type"] == "vivit"


def test_pre_training_goes_on_from_it(stored_transformer, config_of):
    """A method without labels takes it as its encoder too."""
    given = {"method": "{name: simclr, hidden: 16, dim: 8}", "views.clips": 2}
    run = train(config_of(stored_transformer("VideoMAE"), given))
    assert load_encoder(run).projector is not None
