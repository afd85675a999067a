"""The page on a million clips: every cost follows from the units by the formula beside it."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "million_clips.md").read_text()
UNITS = {
    name: float(value) for name, value in re.findall(r"^\| `(\w+)` \| ([\d.]+)[^|]*\|", PAGE, re.M)
}
COSTS = re.findall(r"^\| ([^|]+) \| `([^`|]+)` \| ([\d.]+) [^|]+\|", PAGE, re.M)


def test_the_page_has_units_and_costs():
    assert len(UNITS) == 12 and len(COSTS) == 17
    used = {word for _, formula, _ in COSTS for word in re.findall(r"\b[a-z]\w+", formula)}
    assert used | {"list"} == UNITS.keys()


@pytest.mark.parametrize(("what", "formula", "stated"), COSTS)
def test_a_cost_follows_from_the_units(what, formula, stated):
    assert re.fullmatch(r"[\w\s.*/]+", formula)
    cost = eval(formula, {"__builtins__": {}}, UNITS)
    digits = len(stated.partition(".")[2])
    assert round(cost, digits) == float(stated), what


def test_a_wrong_cost_is_seen():
    what, formula, _ = COSTS[0]
    with pytest.raises(AssertionError):
        test_a_cost_follows_from_the_units(what, formula, "57")


def test_the_units_are_those_of_the_page_on_speed():
    speed = (DOCS / "speed.md").read_text()
    assert "| r3d50 | 224 | channels_last | 291 |" in speed and UNITS["rate_224"] == 291
    assert "| r3d50 | 112 | channels_last | 973 |" in speed and UNITS["rate_112"] == 973
    assert "raw files (2.6 MB a minute)" in speed and round(2.6 / 6, 2) == UNITS["store"]
    assert "raw files (98 MB a minute)" in speed and round(98 / 6, 1) == UNITS["cache"]
    assert "1.0 s, 296 MB" in speed and UNITS["list"] == 296


def test_numbers_of_the_last_table_are_those_of_the_costs():
    stated = {what: value for what, _, value in COSTS}
    table = PAGE.partition("## What breaks first")[2]
    for what, text in (
        ("cores that keep a GPU busy at 112x112, from the files", "{} cores a GPU"),
        ("the same from the store", "({} cores)"),
        ("files opened a second for that GPU", "{} a second and GPU"),
        ("frame cache", "a frame cache of {} TB"),
        ("features on disk, and a FAISS index in memory", "{} GB for exact vectors"),
    ):
        assert text.format(stated[what]) in table
    assert f"({round(UNITS['cache'] / UNITS['store'])} times smaller)" in table
