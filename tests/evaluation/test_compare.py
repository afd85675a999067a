"""One table where the cards agree; else the field that differs, with both values."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cvrl.evaluation.card import ProtocolCard, Result, Row, example_card, read_result
from cvrl.evaluation.compare import ACROSS, COMPARED, DERIVED, compare, compare_files, tables
from cvrl.utils.errors import UserError

FREE = COMPARED | DERIVED
COUNTS = {"n_scored", "n_listed", "n_missing"}  # one of them cannot change alone


def result(top1: float = 0.5, **changes: Any) -> Result:
    card = dataclasses.replace(example_card(), **changes)
    rows = [
        Row("trained", {"top1": top1, "top5": None}),
        Row("untrained", {"top1": 0.3, "top5": None}),
        Row("chance", {"top1": 0.25, "top5": None}),
    ]
    return Result(card, rows)


def text(*shown: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=160)
    for one in shown:
        console.print(one)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, dict):
        return {**value, "x": 1}
    return [*value, "x"] if isinstance(value, list) else f"{value}x"


class TestAgreeing:
    def test_weights_and_seed_stand_side_by_side(self) -> None:
        named = {
            "runs/a/eval/knn.json": result(0.625),
            "runs/b/eval/knn.json": result(0.75, weights_sha256="1" * 64, seed=1),
        }
        shown = text(compare(named))
        lines = [line for line in shown.splitlines() if "│" in line]
        assert [line.split("│")[1].strip() for line in lines] == ["a", "b", "random init", "chance"]
        assert "62.5" in lines[0] and "75.0" in lines[1] and "25.0" in lines[3]
        assert "knn on 8 videos" in shown and "compared: weights, seed" in shown

    def test_untrained_rows_that_differ_are_all_shown(self) -> None:
        one, two = result(), result(seed=1)
        two.rows[1] = Row("untrained", {"top1": 0.4, "top5": None})
        shown = text(compare({"a": one, "b": two}))
        assert "random init, a" in shown and "random init, b" in shown

    def test_notes_of_all_are_kept_once(self) -> None:
        shown = text(compare({"a": result(notes=["x", "y"]), "b": result(notes=["y", "z"])}))
        assert [shown.count(f"note: {n}") for n in "xyz"] == [1, 1, 1]

    def test_missing_videos_are_in_the_title(self) -> None:
        fewer = {"n_scored": 6, "n_missing": 2, "missing": ["a.avi: cut off", "b.avi: gone"]}
        assert "knn on 6 of 8 videos, 2 missing" in text(
            compare({"a": result(**fewer), "b": result(**fewer)})
        )

    def test_the_same_list_under_another_path(self) -> None:
        one = result(test="x/list.csv", test_list="12")
        compare({"a": one, "b": result(test="/y/list.csv", test_list="12")})
        with pytest.raises(UserError, match=r"test is /y/list\.csv, and x/list\.csv in a"):
            compare({"a": one, "b": result(test="/y/list.csv", test_list="34")})

    @pytest.mark.parametrize("first", [True, False])
    def test_a_baseline_that_one_result_lacks_is_shown_of_the_other(self, first: bool) -> None:
        old, new = result(), result(0.75)
        new.rows.insert(2, Row("hog_mbh", {"top1": 0.625, "top5": None}))
        named = {"a": new, "b": old} if first else {"b": old, "a": new}
        shown = text(compare(named))
        lines = [line for line in shown.splitlines() if "│" in line]
        names = [line.split("│")[1].strip() for line in lines]
        assert names[2:] == ["random init", "hog_mbh", "chance"]
        assert "62.5" in lines[3]

    def test_of_equal_length_with_other_baselines(self) -> None:
        one, two = result(), result()
        one.rows.insert(2, Row("hog_mbh", {"top1": 0.625, "top5": None}))
        two.rows.insert(2, Row("from_scratch", {"top1": 0.375, "top5": None}))
        lines = [line for line in text(compare({"a": one, "b": two})).splitlines() if "│" in line]
        names = [line.split("│")[1].strip() for line in lines]
        assert names[2:] == ["random init", "hog_mbh", "from_scratch", "chance"]


class TestDiffering:
    @pytest.mark.parametrize(
        "field", [f.name for f in dataclasses.fields(ProtocolCard) if f.name not in FREE | COUNTS]
    )
    def test_every_other_field_must_agree(self, field: str) -> None:
        changed = result(**{field: other(getattr(example_card(), field))})
        with pytest.raises(UserError, match=rf"b\.json: {field} is .*, and .* in a\.json"):
            compare({"a.json": result(), "b.json": changed})

    def test_counts(self) -> None:
        with pytest.raises(UserError, match="n_listed is 9, and 8 in a; so do n_scored"):
            compare({"a": result(), "b": result(n_listed=9, n_scored=9)})
        with pytest.raises(UserError, match="n_scored is 6, and 8 in a; so do n_missing"):
            compare({"a": result(), "b": result(n_scored=6, n_missing=2)})

    def test_the_encoder_only_if_said(self) -> None:
        named = {"a": result(), "b": result(encoder={"name": "r3d50"})}
        with pytest.raises(UserError, match="or compare across it with --across encoder"):
            compare(named)
        shown = text(compare(named, ["encoder"]))
        assert "name r3d_small" in shown and "name r3d50" in shown

    def test_what_decides_the_question_cannot_be_crossed(self) -> None:
        for field in ("settings", "variant", "protocol", "n_missing", "group_check"):
            assert field not in ACROSS
            with pytest.raises(UserError, match="decides what was asked"):
                compare({"a": result(), "b": result()}, [field])

    def test_recipes_of_retrieval_are_never_mixed(self) -> None:
        named = {"a": result(variant="vcop"), "b": result(variant="coclr", clips_per_video=None)}
        with pytest.raises(UserError) as caught:
            compare(named)
        said = "b: variant is coclr, and vcop in a; so do clips_per_video; evaluate both alike"
        assert str(caught.value) == said

    def test_another_chance_under_equal_cards(self) -> None:
        two = result()
        two.rows[2] = Row("chance", {"top1": 0.2, "top5": None})
        with pytest.raises(UserError, match="its chance are not those of a"):
            compare({"a": result(), "b": two})

    def test_rows_of_another_kind(self) -> None:
        two = result()
        two.rows.insert(1, Row("projected", {"top1": 0.2, "top5": None}))
        with pytest.raises(UserError, match="its rows or its chance are not those of a"):
            compare({"a": result(), "b": two})

    def test_one_is_not_compared(self) -> None:
        with pytest.raises(UserError, match="two results or more"):
            compare({"a": result()})


class TestFiles:
    def test_a_folder_gives_a_table_a_protocol(self, tmp_path: Path) -> None:
        for run, top1 in (("a", 0.5), ("b", 0.75)):
            folder = tmp_path / run / "eval"
            result(top1).write(folder)
            result(top1, show="still", train_show="still").write(folder)
            result(top1, show="still").write(folder)
            result(top1, protocol="linear", settings={}).write(folder)
            (folder / "pretext.json").write_text('{"rows": {}}')
            (folder / "broken.json").write_text("{")
        lines = text(*compare_files([tmp_path])).split()  # a narrow table breaks its title
        shown = " ".join(lines)
        still = "knn, one frame repeated"
        taught = f"{still}, taught on plain clips on 8"
        titles = ("knn on 8", f"{still} on 8", taught, "linear on 8")
        assert [shown.count(one) for one in titles] == [1] * 4

    def test_shows_side_by_side_only_if_said(self, tmp_path: Path) -> None:
        result().write(tmp_path)
        result(0.25, show="still").write(tmp_path)
        result(0.125, show="still", train_show="still").write(tmp_path)
        files = [tmp_path / name for name in ("knn.json", "knn_still_taught_plain.json")]
        with pytest.raises(UserError, match=r"show is still, and plain in .* with --across show"):
            compare_files(files)
        assert "12.5" not in text(*compare_files(files, ["show"]))
        (everything,) = compare_files([tmp_path], ["show", "train_show"])
        assert all(percent in text(everything) for percent in ("50.0", "25.0", "12.5"))

    def test_files_go_into_one_table_or_none(self, tmp_path: Path) -> None:
        one = result().write(tmp_path)
        two = result(protocol="linear").write(tmp_path)
        with pytest.raises(UserError, match="protocol is linear, and knn in"):
            compare_files([one, two])

    def test_a_single_result_of_each(self, tmp_path: Path) -> None:
        result().write(tmp_path)
        with pytest.raises(UserError, match="no protocol has two results"):
            compare_files([tmp_path])
        with pytest.raises(UserError, match="no protocol has two"):
            tables({"a": result(), "b": result(protocol="linear")})

    @pytest.mark.parametrize("content", ["{", "[]", '{"card": {}, "rows": []}'])
    def test_no_result(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(UserError, match=r"x\.json: is no result"):
            compare_files([tmp_path / "x.json", tmp_path / "x.json"])

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="holds no results"):
            compare_files([tmp_path])


class TestOldCards:
    def test_a_card_from_before_the_new_fields_still_reads(self, tmp_path: Path) -> None:
        path = result().write(tmp_path)
        data = json.loads(path.read_text())
        for field in ("variant", "n_missing", "missing", "n_train_missing", "train_missing",
                      "test_list", "train_list"):  # fmt: skip
            del data["card"][field]
        path.write_text(json.dumps(data))
        assert read_result(path) == result()

    def test_no_card_can_lose_a_video(self) -> None:
        with pytest.raises(ValueError, match="6 videos scored, 1 missing, 8 listed"):
            result(n_scored=6, n_missing=1)
