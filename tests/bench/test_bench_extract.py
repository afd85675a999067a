"""The benchmark of feature extraction runs, and measures what bytes cost in kNN."""

import pytest
import torch

from cvrl.bench import bench_extract as extract
from cvrl.data.clips import ClipSpec
from cvrl.models.backbones import build_encoder
from cvrl.pretrained import save_model
from cvrl.utils.errors import UserError


def test_a_small_setting():
    report = extract.measure(
        runs=1, against=["torchvision"], encoders=["r3d_small"], frames=8, size=64
    )
    folded, int8, cosine = report.goals
    assert 0 < folded.ratio < 10
    assert 0 < int8.ratio < 10
    assert cosine.met
    assert "matrix product's speed" in report.notes[0]


def test_unknown_encoders_are_refused():
    with pytest.raises(UserError, match="r3d99"):
        extract.measure(runs=1, against=[], encoders=["r3d99"])


def test_bytes_are_judged_by_the_scores_of_a_trained_encoder(video_folder, tmp_path):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=4)
    save_model(tmp_path / "model.safetensors", encoder, clip=ClipSpec(8, 2), size=32)
    goal = extract.knn_in_bytes(str(tmp_path), str(video_folder))
    assert "int8" in goal.what
    assert -100 <= goal.ratio <= 100
