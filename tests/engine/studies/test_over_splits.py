"""A config over the splits of a list: a run and a score each, their mean, and what is refused."""

import statistics

import pytest
import yaml

from cvrl.engine.studies.over_splits import leave_one_out, official_splits, train_splits
from cvrl.evaluation.card import read_result
from cvrl.utils.errors import UserError

TINY = {
    "name": "tiny",
    "clip": {"frames": 8, "stride": 2, "size": 32},
    "views": {"name": "temporal_pair", "clips": 2},
    "augment": {"name": "light"},
    "encoder": {"name": "r3d_small", "width": 2},
    "method": {"name": "simclr", "hidden": 8, "hidden_layers": 1},
    "optim": {"warmup_epochs": 0, "lr": 0.01},
    "train": {"steps": 1, "batch_size": 2, "threads": 1},
    "data": {"workers": 0},
    "eval": {"every_epochs": 0},
    "log": {"tensorboard": False},
}
TUNE = TINY | {"method": {"name": "finetune"}}


@pytest.fixture
def write(tmp_path):
    def write(content):
        file = tmp_path / "tiny.yaml"
        file.write_text(yaml.safe_dump(content))
        return file

    return write


def means(table):
    rows = [line for line in table.splitlines() if line.startswith("| tiny |")]
    return [float(row.split("|")[2].split()[0]) for row in rows]


@pytest.mark.parametrize(("content", "protocol"), [(TINY, "knn"), (TUNE, "classifier")])
def test_each_split_is_a_run_and_the_mean_is_of_them(
    write, two_splits, tmp_path, content, protocol
):
    file, output = write(content), tmp_path / "out"
    wish = [f"data.train={two_splits}", f"output={output}"]
    table = train_splits(file, wish, official_splits("1,2"), clips=2, crops=1)
    scores = []
    for split in ("split1", "split2"):
        result = read_result(output / split / "eval" / f"{protocol}.json")
        assert f"split_column={split}" in result.card.test or f"[{split}=" in result.card.test
        scores.append(100 * result.row("trained").scores["top1"])
    expected = [*scores, statistics.mean(scores)]
    assert means(table) == pytest.approx(expected, abs=0.06)
    kept = {file: file.stat().st_mtime_ns for file in output.rglob("eval/*.json")}
    assert train_splits(file, wish, official_splits("1,2"), clips=2, crops=1) == table
    assert kept == {file: file.stat().st_mtime_ns for file in output.rglob("eval/*.json")}


def test_one_person_left_out_at_a_time(write, two_splits, tmp_path):
    """Each video is tested once, by a run that did not train on its person."""
    lines = two_splits.read_text().splitlines()
    persons = ["person", *(("ann", "bob", "cid")[row // 2 % 3] for row in range(12))]
    people = tmp_path / "people.csv"
    people.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, persons, strict=True)) + "\n")
    file, output = write(TUNE), tmp_path / "out"
    wish = [f"data.train={people}", f"output={output}"]
    splits = leave_one_out(file, wish, "person")
    assert list(splits) == ["ann", "bob", "cid"]
    table = train_splits(file, wish, splits, clips=1, crops=1)
    cards = [read_result(output / name / "eval" / "classifier.json").card for name in splits]
    assert [(card.n_train, card.n_scored) for card in cards] == [(8, 4)] * 3
    assert cards[0].train.endswith("[person!=ann]") and cards[0].test.endswith("[person=ann]")
    assert "mean of 3 splits" in table


@pytest.mark.parametrize(("column", "reason"), [("nobody", "no column"), ("label", "has only")])
def test_a_column_with_no_one_to_leave_out_is_refused(write, tmp_path, column, reason):
    people = tmp_path / "people.csv"
    people.write_text("path,label\na.mp4,only\nb.mp4,only\n")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=reason):
        leave_one_out(write(TUNE), [f"data.train={people}"], column)


def test_a_split_that_the_list_lacks_is_refused(write, two_splits, tmp_path):
    wish = [f"data.train={two_splits}", f"output={tmp_path / 'out'}"]
    with pytest.raises(UserError, match="no column 'split7'"):
        train_splits(write(TINY), wish, official_splits("7"))


@pytest.mark.parametrize("text", ["", "1,,2", "1,1", "1,split1"])
def test_a_choice_of_splits_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="write --splits 1,2,3"):
        official_splits(text)
