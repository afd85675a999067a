"""A method's score on its own task: on videos it was not trained on, every one, beside chance."""

import json

import pytest
import yaml

from cvrl.config import load_config
from cvrl.engine.scoring.pretext_score import has_own_task, score_pretext, write_pretext
from cvrl.engine.trainer import train
from cvrl.utils.errors import CorruptVideoError, UserError

CONFIG = {
    "clip": {"frames": 8, "stride": 1, "size": 32},
    "augment": {"name": "light"},
    "encoder": {"name": "r3d_small", "width": 4},
    "views": {"name": "rotated", "copies": 4},
    "method": {"name": "classify", "target": "arrangement"},
    "optim": {"name": "adamw", "lr": 3e-3, "warmup_epochs": 0},
    "train": {"steps": 2, "batch_size": 4, "threads": 1},
    "data": {"workers": 0, "hold_out": 0.5},
    "eval": {"every_epochs": 0},
    "log": {"tensorboard": False},
}


@pytest.fixture
def trained(tmp_path, video_folder):
    """Trains a config changed by overrides, and gives its folder."""

    def run(*overrides, videos=video_folder):
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(CONFIG))
        given = [f"data.train={videos}", f"output={tmp_path / 'run'}", *overrides]
        return train(load_config(file, given))

    return run


@pytest.mark.slow
def test_a_task_that_is_learned_is_above_chance(trained, video_folder):
    # which way up a texture is can only be known of one that was seen: the same videos again
    again = (f"data.test={video_folder}", "data.hold_out=0", "method.dropout=0")
    rows = score_pretext(trained("train.steps=300", *again), visits=3)
    assert list(rows) == ["trained", "untrained", "chance"]
    assert rows["chance"] == {"top1": 0.25}
    assert rows["trained"]["top1"] > rows["untrained"]["top1"] + 0.1


def test_the_same_run_has_the_same_score(trained):
    run = trained()
    assert score_pretext(run, visits=2) == score_pretext(run, visits=2)


def test_parts_of_a_joint_method_have_their_own_scores(trained):
    parts = "{turn: {name: rotated}, pair: {name: temporal_pair}}"
    methods = "{turn: {name: classify, target: arrangement}, pair: {name: simclr, hidden: 16}}"
    run = trained(
        "views.name=joint", f"views.parts={parts}", "method.name=joint", f"method.parts={methods}"
    )
    rows = score_pretext(run, visits=1)
    assert set(rows["trained"]) == {"turn/top1"} and rows["chance"] == {"turn/top1": 0.25}


def test_candidates_of_the_batch_give_chance_its_number(trained):
    run = trained(
        "views.name=future_blocks",
        "views.blocks=3",
        "views.predict=1",
        "method.name=cpc",
    )
    rows = score_pretext(run, visits=1)
    assert set(rows["trained"]) == {"top1", "copy", "chance"}
    assert rows["chance"]["top1"] == pytest.approx(rows["trained"]["chance"])


def test_a_method_without_a_question_is_refused(trained):
    run = trained("views.name=temporal_pair", "method.name=simclr", "method.hidden=16")
    with pytest.raises(UserError, match="no right answers"):
        score_pretext(run, visits=1)


def test_a_run_without_other_videos_is_refused(trained):
    with pytest.raises(UserError, match="no videos that it was not trained on"):
        score_pretext(trained("data.hold_out=0"), visits=1)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run with a checkpoint"):
        score_pretext(tmp_path)


def test_a_broken_video_fails_the_score(trained, tmp_path, video_folder):
    copy = tmp_path / "videos"
    for file in video_folder.rglob("*.mp4"):
        (copy / file.parent.name).mkdir(parents=True, exist_ok=True)
        (copy / file.parent.name / file.name).write_bytes(file.read_bytes())
    run = trained(videos=copy)
    for file in copy.rglob("*.mp4"):
        file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(CorruptVideoError):
        score_pretext(run, visits=1)


def test_the_scores_are_written_beside_the_others(tmp_path):
    file = write_pretext(tmp_path, {"trained": {"top1": 0.5}})
    assert file == tmp_path / "eval" / "pretext.json"
    assert json.loads(file.read_text()) == {"rows": {"trained": {"top1": 0.5}}}


def test_a_run_tells_whether_it_asked_something(trained):
    assert has_own_task(trained())


def test_views_with_a_label_ask_nothing_where_the_method_does_not_look(trained):
    # a jigsaw as a positive: its permutation is known, and nobody has to name it
    run = trained("views.name=jigsaw_pair", "method.name=simclr", "method.hidden=16")
    assert not has_own_task(run)
    with pytest.raises(UserError, match="no right answers"):
        score_pretext(run, visits=1)
