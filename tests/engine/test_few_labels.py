"""A run with few labels: who trains, who is kept without a label, and what a resumed run takes."""

import pytest

from cvrl.config import Config, DataConfig, load_config
from cvrl.data.manifest import read_manifest
from cvrl.engine import build, few_labels
from cvrl.engine.checkpoint import list_checkpoints
from cvrl.engine.trainer import train
from cvrl.utils.errors import UserError

TINY = """
name: tiny
clip: {frames: 8, stride: 2, size: 32}
views: {name: temporal_pair, clips: 1}
augment: {name: light}
encoder: {name: r3d_small, width: 2}
method: {name: finetune}
optim: {warmup_epochs: 0}
train: {steps: 2, batch_size: 2, threads: 1}
data: {labels_per_class: 2, workers: 0}
eval: {every_epochs: 0}
log: {tensorboard: false}
"""


def chosen(videos, folder, **wish):
    data = DataConfig(train="videos", **wish)
    return few_labels.choose(videos, data, seed=3, folder=folder)


def test_without_a_wish_all_labels_count(video_folder, tmp_path):
    videos = read_manifest(video_folder)
    assert chosen(videos, tmp_path) == (videos, None)


def test_the_rest_is_dropped_or_kept_without_labels(video_folder, tmp_path):
    videos = read_manifest(video_folder)
    train, labelled = chosen(videos, tmp_path, labels_per_class=2)
    assert train.paths == labelled.paths and len(train) == 4
    train, labelled = chosen(videos, tmp_path, labels_per_class=2, unlabelled="keep")
    assert train.paths == videos.paths
    for path, label, name in zip(
        train.paths, train.label_ids, train.table["label"].to_pylist(), strict=True
    ):
        kept = path in labelled.paths
        assert label == (videos.label_ids[videos.paths.index(path)] if kept else -1)
        assert (name is not None) == kept


def test_the_runs_seed_draws_where_no_other_is_given(video_folder, tmp_path):
    videos = read_manifest(video_folder)
    first = chosen(videos, tmp_path, labels_per_class=2)[1].paths
    assert first == chosen(videos, tmp_path, labels_per_class=2, label_seed=3)[1].paths
    others = [
        chosen(videos, tmp_path, labels_per_class=2, label_seed=seed)[1].paths for seed in range(5)
    ]
    assert any(first != other for other in others)


def test_a_run_keeps_its_draw_and_goes_on_with_it(video_folder, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    folder = tmp_path / "run"
    wish = [f"data.train={video_folder}", f"output={folder}"]
    config = load_config(tmp_path / "tiny.yaml", wish)
    train(config)
    drawn = read_manifest(folder / "labelled.csv").paths
    assert len(drawn) == 4 and list_checkpoints(folder / "checkpoints")
    # what the folder says counts, not a new draw: three of the videos, one of them another
    other = next(path for path in read_manifest(video_folder).paths if path not in drawn)
    (folder / "labelled.csv").write_text("path\n" + "\n".join([*drawn[:2], other]) + "\n")
    data = build.build_data(config)
    assert sorted(data.train.paths) == sorted([*drawn[:2], other]) == sorted(data.labelled.paths)
    (folder / "labelled.csv").write_text("path\n/gone.mp4\n")
    with pytest.raises(UserError, match=r"labelled\.csv.*/gone\.mp4"):
        build.build_data(config)


def test_an_evaluation_learns_from_the_labelled_alone(video_folder, tmp_path):
    config = Config(
        output=str(tmp_path),
        data=DataConfig(str(video_folder), hold_out=0.5, labels_per_class=1, unlabelled="keep"),
    )
    config.train.batch_size = 2
    data = build.build_data(config)
    assert (len(data.train), len(data.parts.train), len(data.watch)) == (6, 2, 6)
