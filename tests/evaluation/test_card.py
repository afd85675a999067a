"""Cards and results: complete, readable, and the same after a trip to disk."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import cvrl
from cvrl.evaluation.card import Result, Row, card_lines, example_card, read_result
from cvrl.evaluation.metrics import METRICS
from cvrl.evaluation.result_table import render

ROWS = [
    Row("trained", {"top1": 0.625, "top5": None}, {"embedding_std": 0.9, "effective_rank": 20.5}),
    Row("untrained", {"top1": 0.25, "top5": None}, {"embedding_std": 0.1, "effective_rank": 2.0}),
    Row("chance", {"top1": 0.125, "top5": None}),
]


def text(result: Result, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render(result))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestDisk:
    def test_round_trip(self, tmp_path: Path) -> None:
        result = Result(example_card(), ROWS)
        path = result.write(tmp_path / "eval")
        assert path == tmp_path / "eval" / "knn.json"
        assert read_result(path) == result

    def test_it_is_plain_json_with_every_field(self, tmp_path: Path) -> None:
        data = json.loads(Result(example_card(), ROWS).write(tmp_path).read_text())
        assert set(data["card"]) == {field.name for field in dataclasses.fields(example_card())}
        assert [row["name"] for row in data["rows"]] == ["trained", "untrained", "chance"]

    def test_a_later_result_replaces_an_earlier_one(self, tmp_path: Path) -> None:
        Result(example_card(), ROWS).write(tmp_path)
        path = Result(example_card(), ROWS[2:]).write(tmp_path)
        assert len(read_result(path).rows) == 1
        assert [file.name for file in tmp_path.iterdir()] == ["knn.json"]


class TestRows:
    def test_by_name(self) -> None:
        result = Result(example_card(), ROWS)
        assert result.row("untrained") is ROWS[1]
        with pytest.raises(KeyError, match="supervised"):
            result.row("supervised")


class TestText:
    def test_scores_in_percent_beside_each_other(self) -> None:
        shown = text(Result(example_card(), ROWS))
        lines = {line.split()[1]: line for line in shown.splitlines() if "│" in line}
        assert "62.5" in lines["trained"] and "25.0" in lines["random"]
        assert "12.5" in lines["chance"]
        assert "effective rank: trained 20.50, random init 2.00" in shown

    def test_headers_are_whole_on_80_columns(self) -> None:
        names = [name for name in METRICS if name not in ("top1", "top5")]
        for some in (names[:4], names[-4:], ["top1", "top5", "mean_class"]):
            rows = [
                Row(row, dict.fromkeys(some, 0.5)) for row in ("trained", "untrained", "chance")
            ]
            assert "…" not in text(Result(example_card(), rows), width=80)

    def test_what_the_protocol_does_not_define_is_a_dash(self) -> None:
        line = next(x for x in text(Result(example_card(), ROWS)).splitlines() if "chance" in x)
        assert " - " in line

    def test_the_card_is_shown_whole_on_a_narrow_terminal(self) -> None:
        shown = "".join(text(Result(example_card(), ROWS), width=60).split())
        for line in card_lines(example_card()):
            assert "".join(line.split()) in shown

    def test_everything_that_changes_a_number_is_there(self) -> None:
        lines = "\n".join(card_lines(example_card()))
        for fact in (
            "videos/test: 8 listed, 8 scored, 2 classes",
            "videos/train: 12 videos",
            "disjoint",
            "2 clips x 1 centre crop",
            "8 frames, stride 4, 64 x 64 pixels",
            "short videos loop",
            "k 20, temperature 0.07, seed 0",
            "weights 0000000000000000",
            "r3d_small",
            f"cvrl {cvrl.__version__}",
            "random weights of seed 0",
        ):
            assert fact in lines

    def test_notes_and_missing_parts(self) -> None:
        plain = dataclasses.replace(
            example_card(), train=None, n_classes=None, settings={}, notes=["two are short"]
        )
        lines = card_lines(plain)
        assert lines[-1] == "note: two are short"
        assert lines[0] == "test    videos/test: 8 listed, 8 scored"
        assert not any(line.startswith("train") for line in lines)


class TestWarnings:
    def test_a_warning_stands_between_the_scores_and_the_card(self) -> None:
        card = dataclasses.replace(example_card(), notes=["WARNING: too low", "a note"])
        shown = text(Result(card, ROWS))
        assert shown.count("too low") == 1
        assert shown.index("chance") < shown.index("WARNING: too low") < shown.index("test    ")


class TestUnlabelled:
    def test_videos_without_a_label_are_counted(self) -> None:
        card = dataclasses.replace(example_card(), n_unlabelled=4, n_train_unlabelled=3)
        test, train = card_lines(card)[:2]
        assert test.endswith(
            "8 listed, 8 scored, 2 classes; 4 of 12 have no label and are left out"
        )
        assert train.endswith("12 videos; 3 of 15 have no label and are left out")


def test_a_score_on_another_list_is_kept_beside_the_first(tmp_path):
    def scored(test_list, share):
        card = dataclasses.replace(example_card(), test_list=test_list)
        return Result(card, [Row("trained", {"top1": share})])

    first = scored("a" * 64, 0.1).write(tmp_path)
    assert scored("a" * 64, 0.2).write(tmp_path) == first
    other = scored("b" * 64, 0.3).write(tmp_path)
    assert other.name.startswith("knn_list_") and scored("b" * 64, 0.3).write(tmp_path) == other
    assert read_result(first).row("trained").scores["top1"] == 0.2
