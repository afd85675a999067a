"""YAML without its surprises."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cvrl.utils.errors import UserError
from cvrl.utils.strict_yaml import dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E3", 1000.0),
        ("1.e3", 1000.0),
        (".5", 0.5),
        ("-.5e-3", -0.0005),
        ("1_000", 1000),
        ("-7", -7),
        ("0", 0),
        ("-.inf", float("-inf")),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("[1, a]", [1, "a"]),
        ("'1'", "1"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    parsed = parse_yaml(text, "here")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text",
    ["on", "off", "yes", "No", "1:30", "2020-01-01", "010", "0x10", "0o7", "1e", "e3", ".", "-"],
)
def test_what_yaml_1_1_makes_of_text_stays_text(text: str) -> None:
    assert parse_yaml(text if text != "-" else "'-'", "here") == text


def test_not_a_number_is_read() -> None:
    value = parse_yaml(".nan", "here")
    assert value != value


def test_merge_keys_are_not_taken_for_a_key_given_twice() -> None:
    text = "low: &low {a: 1, b: 2}\nhigh: {<<: *low, b: 3}\n"
    assert parse_yaml(text, "here")["high"] == {"a": 1, "b": 3}


def test_the_same_key_may_stand_in_two_mappings() -> None:
    assert parse_yaml("[{a: 1}, {a: 2}]", "here") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "here, line 3: key a is given twice, see line 1; keep one"),
        ("a: {b: 1,\n b: 1}", "here, line 2: key b is given twice, see line 1; keep one"),
        ("'a': 1\na: 2", "here, line 2: key a is given twice"),
    ],
)
def test_a_key_given_twice_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: [", 2), ("a: 1\n\tb: 2", 2), ("!!python/object:os.system x", 1), ("? [a]\n: b", 1)],
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(UserError, match=rf"here, line {line}: is not YAML"):
        parse_yaml(text, "here")


def test_a_control_character_is_refused() -> None:
    with pytest.raises(UserError, match="here: is not YAML"):
        parse_yaml("a: \x00", "here")


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]))  # no control characters


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats(allow_nan=False) | st.booleans()))
def test_what_is_dumped_is_read_back_equal(content: dict[str, object]) -> None:
    text = dump_yaml(content)
    assert parse_yaml(text, "here") == content


@given(st.dictionaries(TEXTS, TEXTS))
def test_other_readers_take_dumped_text_for_text(content: dict[str, str]) -> None:
    assert yaml.safe_load(dump_yaml(content)) == content


def test_a_list_met_twice_is_written_twice() -> None:
    twice = [1]
    assert "&" not in dump_yaml({"a": twice, "b": twice})


def test_read_yaml_reads_utf8_and_empty_files(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# only a comment\n")
    assert read_yaml(file) == {}
    file.write_text("name: düne\n1: x\n", encoding="utf-8")
    assert read_yaml(file) == {"name": "düne", "1": "x"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), (b"\xff\xfe", "not a text file"), (b"- a", "holds no `key: value`")],
)
def test_read_yaml_refuses_the_rest(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "a.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_yaml(file)
    assert caught.value.thing == str(file)
    assert "configs/" in caught.value.remedy
