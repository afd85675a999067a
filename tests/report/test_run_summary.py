"""What is read from a run folder, whole or with parts missing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvrl.data.perturbations import Perturbation
from cvrl.data.splits import Parts, list_sha256
from cvrl.engine.scoring.pretext_score import write_pretext
from cvrl.evaluation.card import Result, Row, example_card
from cvrl.evaluation.random_init import weights_sha256
from cvrl.models.backbones import Encoder
from cvrl.report.run_summary import (
    RunSummary,
    perturbed_results,
    read_run,
    series,
    training_seconds,
)
from cvrl.utils.errors import UserError


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A run that was only begun."""
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.yaml").write_text("name: bare\n")
    return folder


def test_everything_of_a_run_is_read(summary: RunSummary) -> None:
    assert summary.name == "small"
    assert "r3d" in summary.config
    assert summary.environment.startswith("python")
    assert [record["step"] for record in summary.metrics] == [5, 10, 10]
    assert [result.card.protocol for result in summary.results] == ["knn"]
    assert summary.quarantined == [("bad <1>.mp4", "no video stream")]
    assert summary.clips_per_step == 8


def test_a_run_that_was_only_begun_can_be_read(bare: Path) -> None:
    summary = read_run(bare)
    assert summary.metrics == summary.results == summary.quarantined == []
    assert summary.environment == ""
    assert len(summary.commands) == 2  # nothing was evaluated


def test_scores_of_the_pretext_task_are_no_result(bare: Path) -> None:
    write_pretext(bare, {"trained": {"top1": 0.5}})
    assert read_run(bare).results == []


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no config.yaml; give a run folder"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"rows": []}', '{"card": {"x": 1}}'])
def test_a_broken_result_is_named(bare: Path, content: str) -> None:
    (bare / "eval").mkdir()
    (bare / "eval" / "knn.json").write_text(content)
    with pytest.raises(
        UserError, match=r"knn.json: is not an evaluation result.*evaluate.py again"
    ):
        read_run(bare)


def test_results_come_in_the_order_they_are_asked_about(bare: Path) -> None:
    for protocol in ("instance", "finetune", "linear", "knn"):
        card = replace(example_card(), protocol=protocol)
        Result(card, [Row("chance", {"top1": 0.5})]).write(bare / "eval")
    summary = read_run(bare)
    order = [result.card.protocol for result in summary.results]
    assert order == ["knn", "linear", "instance", "finetune"]
    assert summary.commands[1].endswith("--protocol knn linear instance finetune")


def test_results_on_still_clips_come_last_and_have_a_command_of_their_own(bare: Path) -> None:
    for still in (True, False):
        for protocol in ("linear", "knn"):
            show: Perturbation = "still" if still else "plain"
            card = replace(example_card(), protocol=protocol, show=show, train_show=show)
            Result(card, [Row("chance", {"top1": 0.5})]).write(bare / "eval")
    summary = read_run(bare)
    cards = [result.card for result in summary.results]
    assert [card.protocol for card in cards] == ["knn", "linear"] * 2
    assert [card.show == "still" for card in cards] == [False, False, True, True]
    moving, still_command = summary.commands[1:3]
    assert moving.endswith("--protocol knn linear")
    assert still_command.endswith("--protocol knn linear --perturb still")


def test_each_result_comes_from_the_tool_and_the_recipe_that_made_it(bare: Path) -> None:
    def write(protocol: str, variant: str = "", **changes: object) -> None:
        card = replace(example_card(), protocol=protocol, variant=variant, **changes)
        Result(card, [Row("chance", {"top1": 0.5})]).write(bare / "eval")

    write("classifier", clips_per_video=10, crops_per_clip=3)
    write("classifier", "centre")
    write("retrieval")
    write("retrieval", "vcop")
    write("knn")
    again = f"--checkpoint {bare}-again"
    assert read_run(bare).commands[1:-1] == [
        f"python tools/test_net.py {again} --clips 10 --crops 3",
        f"python tools/evaluate.py {again} --protocol knn classifier retrieval",
        f"python tools/evaluate.py {again} --protocol retrieval --retrieval vcop",
    ]


def test_stages_sizes_and_folds_are_in_the_commands_and_come_last(bare: Path) -> None:
    (bare / "config.yaml").write_text("clip: {size: 64}\ntest: {size: 80}\n")
    own: dict[str, object] = {"leave_one_out": "who", "n_folds": 3}
    joined = {"encoder": {"name": "a + b", "joined": [{"encoder": {"name": "a"}}]}}
    views: dict[str, object] = {"protocol": "classifier", "size": 96, "short_side": 128}
    for changes in ({"stage": "res3"}, {}, own, joined, views):
        card = replace(example_card(), **changes)
        Result(card, [Row("chance", {"top1": 0.5})]).write(bare / "eval")
    summary = read_run(bare)
    assert [(one.card.protocol, one.card.stage) for one in summary.results[:2]] == [
        ("knn", "pooled"),
        ("classifier", "pooled"),
    ]
    again = f"--checkpoint {bare}-again"
    assert set(summary.commands[1:-1]) == {
        f"python tools/test_net.py {again} --clips 2 --crops 1 --size 96 --short-side 128",
        f"python tools/evaluate.py {again} --protocol knn",
        f"python tools/evaluate.py {again} --protocol knn --stage res3",
        f"python tools/evaluate.py {again} --protocol knn --leave-one-out who",
    }


def test_what_was_taught_on_plain_clips_comes_from_one_command(bare: Path) -> None:
    for show, taught in (("still", "plain"), ("plain", "plain"), ("still", "still")):
        card = replace(example_card(), show=show, train_show=taught)
        Result(card, [Row("chance", {"top1": 0.5})]).write(bare / "eval")
    summary = read_run(bare)
    taught = [(result.card.show, result.card.train_show) for result in summary.results]
    assert taught == [("plain", "plain"), ("still", "still"), ("still", "plain")]
    assert summary.commands[1].endswith("--protocol knn --perturb plain still")
    assert summary.commands[2].startswith("python tools/report.py")


def test_the_commands_make_the_run_again(run_folder: Path, summary: RunSummary) -> None:
    train, evaluate, report = summary.commands
    assert f"--config {run_folder}/config.yaml output={run_folder}-again" in train
    assert evaluate.endswith(f"--checkpoint {run_folder}-again --protocol knn")
    assert report == f"python tools/report.py --run {run_folder}-again"


def test_synthetic_data_is_made_by_a_command_of_its_own(bare: Path) -> None:
    plan = {"seed": 3, "videos_per_class": 5, "classes": ["a", "b"], "width": 64, "height": 48}
    (bare / "synthetic.json").write_text(json.dumps(plan))
    first = read_run(bare, data=str(bare / "manifest.csv")).commands[0]
    assert first == (
        f"python datasets/make_synthetic.py --output {bare} --videos-per-class 5 --seed 3 "
        "--size 64x48 --classes a b"
    )


def test_names_are_quoted_in_commands(tmp_path: Path) -> None:
    folder = tmp_path / "my run; rm"
    folder.mkdir()
    (folder / "config.yaml").write_text("name: x\n")
    for command in read_run(folder).commands:
        assert f"'{tmp_path}/my run; rm" in command


def test_a_series_leaves_out_records_without_the_quantity() -> None:
    records = [{"step": 1, "loss": 2.0}, {"step": 2, "epoch": 0.5, "loss": None}, {"step": 3}]
    assert series(records, "loss") == ([1.0], [2.0])
    assert series(records, "knn_top1") == ([], [])


def test_the_length_of_a_run_adds_up_its_stretches(summary: RunSummary) -> None:
    assert training_seconds(summary.metrics, clips_per_step=8) == pytest.approx(
        5 * 8 / 10 + 5 * 8 / 20
    )


@pytest.mark.parametrize(
    ("records", "clips"), [([], 8), ([{"step": 5, "clips_per_s": 10.0}], 0), ([{"step": 5}], 8)]
)
def test_no_length_without_what_it_takes(records: list[dict[str, float]], clips: int) -> None:
    assert training_seconds(records, clips) is None


def test_stored_results_are_reused_if_their_cards_agree(encoder: Encoder, parts: Parts) -> None:
    assert parts.train is not None
    card = replace(
        example_card(),
        weights_sha256=weights_sha256(encoder),
        test_list=list_sha256(parts.test),
        train_list=list_sha256(parts.train),
    )
    still = replace(card, show="still", train_show="still", notes=["16 videos"])
    taught_plain = replace(still, train_show="plain")
    rows = [Row("trained", {"top1": 0.5})]
    plain, same, other = (Result(c, rows) for c in (card, still, taught_plain))
    assert perturbed_results([other, plain, same], encoder, parts) == [plain, same]
    assert perturbed_results([plain, other], encoder, parts) == []
    changes: list[dict[str, Any]] = [
        {"weights_sha256": "0" * 64}, {"test_list": ""}, {"train_list": "x"}
    ]  # fmt: skip
    for change in changes:
        stale = [Result(replace(c, **change), rows) for c in (card, still)]
        assert perturbed_results(stale, encoder, parts) == []
    more_clips = Result(replace(still, clips_per_video=10), rows)
    assert perturbed_results([plain, more_clips], encoder, parts) == []
    assert perturbed_results([plain, same], encoder, Parts(parts.test)) == []
