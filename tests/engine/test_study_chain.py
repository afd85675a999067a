"""Arms that start from other arms, over splits: their order, weights, and going on after a stop."""

import json

import pytest
import torch
import yaml

from cvrl.config import load_config
from cvrl.engine.resume import check_finished
from cvrl.engine.studies.study import Run, _in_turn, load_study, run_study
from cvrl.engine.studies.study_table import tabulate
from cvrl.engine.trainer import Trainer
from cvrl.pretrained import load_encoder
from cvrl.utils.errors import UserError

BASE = {
    "clip": {"frames": 8, "stride": 2, "size": 32},
    "augment": {"name": "light"},
    "encoder": {"name": "r3d_small", "width": 2},
    "optim": {"warmup_epochs": 0, "lr": 0.01},
    "train": {"steps": 2, "batch_size": 2, "threads": 1},
    "checkpoint": {"every_steps": 1},
    "data": {"workers": 0},
    "eval": {"every_epochs": 0},
    "log": {"tensorboard": False},
}
PRETRAIN = BASE | {"name": "p", "method": {"name": "simclr", "hidden": 8, "hidden_layers": 1}}
FINETUNE = BASE | {"name": "f", "method": {"name": "finetune", "dropout": 0.0}}
FINETUNE = FINETUNE | {"views": {"name": "temporal_pair", "clips": 1}}
STUDY = {
    "name": "chain",
    "seeds": [0],
    "splits": ["split1", "split2"],
    "protocols": ["knn"],
    "clips_per_video": 1,
    "k": 2,
    "arms": {
        "tuned": {"config": "f.yaml", "from": "CVRL"},  # before its source: the study finds out
        "CVRL": {"config": "p.yaml"},
    },
}


@pytest.fixture
def study_file(tmp_path):
    for name, content in (("p", PRETRAIN), ("f", FINETUNE), ("study", STUDY)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / "study.yaml"


def change(study_file, **arms):
    content = STUDY | {"arms": STUDY["arms"] | arms}
    study_file.write_text(yaml.safe_dump(content, sort_keys=False))
    return study_file


class Pool:
    """Does what it is given at once, in this process, and remembers the order."""

    def __init__(self):
        self.order = []

    def submit(self, function, config, *settings):
        from concurrent.futures import Future

        self.order.append(config)
        future = Future()
        future.set_result(None)
        return future


def test_an_arm_waits_for_the_one_it_starts_from_and_for_no_other(study_file):
    study = load_study(change(study_file, last={"config": "f.yaml", "from": "tuned"}))
    runs = {Run(arm, None, seed): f"{arm}{seed}" for seed in (0, 1) for arm in study.arms}
    pool = Pool()
    assert {*_in_turn(pool, runs, study)} == {*runs}
    for seed in (0, 1):
        places = [pool.order.index(f"{arm}{seed}") for arm in ("CVRL", "tuned", "last")]
        assert places == sorted(places)
    assert {"CVRL0", "CVRL1"} == {*pool.order[:2]}


@pytest.mark.slow
def test_a_chain_goes_on_after_a_stop_to_the_same_weights(study_file, two_splits, tmp_path):
    study, wish = load_study(study_file), [f"data.train={two_splits}"]
    table = run_study(study, tmp_path / "whole", wish)
    assert [line.split("|")[1].strip() for line in table.splitlines() if line[:2] == "| "][1:4] == [
        "tuned",
        "CVRL",
        "random init",
    ]
    assert "split1:" in table and "split2:" in table
    records = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert {(r["arm"], r["split"]) for r in records if r["row"] == "trained"} == {
        (arm, split) for arm in study.arms for split in study.splits
    }
    # the same study, its first arm stopped in the middle
    cut = tmp_path / "cut" / "cvrl" / "split1" / "seed0"
    own = ["seed=0", f"output={cut}", "data.split_column=split1"]
    config = load_config(tmp_path / "p.yaml", wish + own)

    class Stop:
        requested = True

        def check_while_waiting(self):
            """Batches come at once here."""

    Trainer(config).fit(Stop())
    with pytest.raises(UserError, match="stopped before its last step, 2"):
        check_finished(config)
    assert run_study(study, tmp_path / "cut", wish) == table
    for run in ("cvrl/split1/seed0", "tuned/split1/seed0"):
        whole, other = (load_encoder(tmp_path / at / run) for at in ("whole", "cut"))
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ({"lost": {"config": "f.yaml", "from": "nobody"}}, "nobody, which is no arm"),
        ({"CVRL": {"config": "p.yaml", "from": "tuned"}}, "itself waiting"),
        ({"self": {"config": "p.yaml", "from": "self"}}, "itself waiting"),
        ({"odd": {"config": "p.yaml", "form": "CVRL"}}, "is no arm"),
    ],
)
def test_an_arm_that_can_never_start_is_refused(study_file, arms, words):
    with pytest.raises(UserError, match=words):
        load_study(change(study_file, **arms))


def test_another_encoder_is_refused_before_anything_is_trained(study_file, two_splits, tmp_path):
    change(study_file, tuned={"config": "f.yaml", "from": "CVRL", "set": ["encoder.width=4"]})
    with pytest.raises(UserError, match=r"arms\.tuned.*another encoder than CVRL"):
        run_study(load_study(study_file), tmp_path / "out", [f"data.train={two_splits}"])
    assert not (tmp_path / "out").exists()


def test_a_seed_counts_by_the_mean_of_its_splits():
    records = [
        {"arm": "a", "seed": seed, "split": split, "protocol": "knn", "row": "trained", "top1": x}
        for seed, split, x in [(0, "s1", 0.1), (0, "s2", 0.3), (1, "s1", 0.5), (1, "s2", 0.9)]
    ]
    lines = tabulate(records, ["a", "pre-training only"], ["knn", "classifier"]).splitlines()
    assert lines[2:] == ["| a | 45.0 (20.0 to 70.0) |  |"]
