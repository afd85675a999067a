"""Checks of one value: what passes, what does not, and what the message says."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.utils.checks import check_keywords, check_range, check_type, nearest
from cvrl.utils.errors import UserError

if TYPE_CHECKING:
    from fractions import Fraction

KEYS = [
    "seed",
    "optim.lr",
    "optim.final_lr",
    "train.epochs",
    "train.batch_size",
    "eval.batch_videos",
]


# --- nearest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("optim.lrr", "optim.lr"),
        ("optim.LR", "optim.lr"),
        ("train.lr", "optim.lr"),
        ("lr", "optim.lr"),
        ("train.batch_siz", "train.batch_size"),
        ("train.batchsize", "train.batch_size"),
        ("train.epoch", "train.epochs"),
        ("sed", "seed"),
    ],
)
def test_the_nearest_spelling_is_found_in_any_section(typed: str, meant: str) -> None:
    assert nearest(typed, KEYS) == f"did you mean {meant}?"


def test_the_own_section_wins_a_tie() -> None:
    assert nearest("b.siz", ["a.size", "b.size"]) == "did you mean b.size?"
    assert nearest("a.siz", ["a.size", "b.size"]) == "did you mean a.size?"


def test_without_a_near_spelling_the_section_is_listed() -> None:
    assert nearest("optim.zzz", KEYS) == "known here: optim.lr, optim.final_lr"
    assert nearest("zz.zzz", KEYS) == f"known here: {', '.join(KEYS)}"
    assert nearest("a", []) == "known here: nothing"


@given(st.sampled_from(KEYS))
def test_a_right_spelling_is_its_own_nearest(key: str) -> None:
    assert nearest(key, KEYS) == f"did you mean {key}?"


# --- check_range ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "words"),
    [
        ("[0, 1)", [0, 0.5, 0.999], [-1e-9, 1, 2], "at least 0 and below 1"),
        ("[0, 1]", [0, 1], [1.0001], "at least 0 and at most 1"),
        ("(0, inf)", [1e-300, 1e300], [0, -1, float("inf")], "above 0"),
        ("[1, inf)", [1, 10**12], [0, 0.99], "at least 1"),
        ("(-2, 2)", [-1.9, 0], [-2, 2], "above -2 and below 2"),
    ],
)
def test_bounds_are_in_or_out_as_written(
    interval: str, inside: list[float], outside: list[float], words: str
) -> None:
    for value in inside:
        check_range("key", value, interval)
    for value in [*outside, float("nan")]:
        with pytest.raises(UserError) as caught:
            check_range("key", value, interval)
        assert str(caught.value) == f"key = {value}: not in range; give {words}"


# --- check_type ----------------------------------------------------------------------------------

FITTING: list[tuple[Any, list[Any], list[Any]]] = [
    (int, [0, -3], [1.5, "1", True, None, [1]]),
    (float, [0, 1.5], ["1", False, None]),
    (bool, [True, False], [0, 1, "true", None]),
    (str, ["", "a"], [1, None, ["a"], True]),
    (int | None, [1, None], ["x", 1.5]),
    (Optional[float], [1, None], ["x"]),  # noqa: UP045 - the old spelling is met too
    (Union[str, float], ["x", 1, 2.5], [None, [1]]),  # noqa: UP007
    (Literal["a", "b"], ["a", "b"], ["c", None, 1]),
    (Literal["a"] | None, ["a", None], ["c"]),
    (Literal[1, 2], [1, 2], [3, "1"]),
    (list[int], [[], [1, 2]], [["x"], 1, {"a": 1}]),
    (Sequence[float], [[1, 2.5]], [["x"], "12"]),
    (list, [[1, "x"]], [1]),
    (tuple[float, float], [[1, 2]], [[1], [1, 2, 3], ["x", 1], 1]),
    (tuple[float, ...], [[], [1, 2, 3]], [["x"], 1]),
    (float | tuple[float, float], [1, [1, 2]], ["x", [1]]),
    (dict[str, int], [{"a": 1}], [1, [1]]),
    (Mapping[str, object], [{}], ["a"]),
    (None, [None], [1]),
]


@pytest.mark.parametrize(("hint", "fitting", "misfit"), FITTING)
def test_values_fit_their_annotation_or_not(
    hint: Any, fitting: list[Any], misfit: list[Any]
) -> None:
    for value in fitting:
        check_type("key", value, hint)
    for value in misfit:
        with pytest.raises(UserError) as caught:
            check_type("key", value, hint)
        assert str(caught.value).startswith("key = ")


@pytest.mark.parametrize("hint", [Any, object, Callable[[], int], UserError, "unresolved", list])
def test_other_annotations_let_every_value_of_theirs_pass(hint: Any) -> None:
    check_type("key", ["x"], hint)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("x", int, "key = 'x': is of the wrong type; give a whole number"),
        ("x", float | None, "key = 'x': is of the wrong type; give a number or null"),
        (1, bool, "key = 1: is of the wrong type; give true or false"),
        (5, Literal["a", "b"] | None, "key = 5: is of the wrong type; give a or b or null"),
        (
            "uniforn",
            Literal["uniform", "fixed"],
            "key = uniforn: is not one of its values; did you",
        ),
        (
            "q",
            Literal["uniform", "fixed"],
            "key = q: is not one of its values; known here: uniform",
        ),
        (1, tuple[int, int], "key = 1: is of the wrong type; give a list of 2 values"),
        (1, list[int], "key = 1: is of the wrong type; give a list, as in [1, 2]"),
        (1, dict[str, int], "key = 1: is of the wrong type; give key: value pairs"),
    ],
)
def test_the_message_says_what_to_give(value: object, hint: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_type("key", value, hint)
    assert str(caught.value).startswith(message)


# --- check_keywords ------------------------------------------------------------------------------


class Blur:
    """A constructor as views, methods and recipes have it."""

    def __init__(self, spec: object, *, size: int, sigma: float = 1.0, mode: str = "same") -> None:
        self.spec, self.size, self.sigma, self.mode = spec, size, sigma, mode


def refused(keywords: Mapping[str, object], provided: set[str], factory: Any = Blur) -> str:
    with pytest.raises(UserError) as caught:
        check_keywords("augment", factory, keywords, provided)
    return str(caught.value)


def test_keywords_that_the_constructor_takes_pass() -> None:
    check_keywords("augment", Blur, {"size": 3}, {"spec"})
    check_keywords("augment", Blur, {"sigma": 2, "mode": "valid"}, {"spec", "size"})
    check_keywords("augment", Blur, {"spec": 1, "size": 1}, set())


def test_an_unknown_keyword_is_named_with_its_nearest_spelling() -> None:
    message = refused({"size": 3, "sigm": 1.0}, {"spec"})
    assert message == "augment.sigm: not a keyword of Blur; did you mean augment.sigma?"
    assert "known here: augment.sigma, augment.mode" in refused({"zzz": 1}, {"spec", "size"})


def test_a_missing_keyword_is_named() -> None:
    message = refused({}, {"spec"})
    assert message == "augment.size: Blur needs it and has no default; add augment.size=value"


def test_a_keyword_of_the_wrong_type_is_named() -> None:
    assert "augment.size = 'big'" in refused({"size": "big"}, {"spec"})


def test_what_the_program_provides_is_not_the_users_to_give() -> None:
    assert "remove it" in refused({"size": 3, "spec": 1}, {"spec"})


def test_functions_and_open_ended_factories_are_checked_too() -> None:
    def recipe(size: int = 1, **rest: object) -> None: ...

    check_keywords("augment", recipe, {"anything": 1}, set())
    assert "augment.size" in refused({"size": "x"}, set(), recipe)


def test_positional_parameters_are_nobodys_keywords() -> None:
    def recipe(first: int, /, *rest: int, size: int = 1) -> None: ...

    assert "not a keyword" in refused({"first": 1}, set(), recipe)
    assert "not a keyword" in refused({"rest": 1}, set(), recipe)
    check_keywords("augment", recipe, {"size": 2}, set())


def test_annotations_for_type_checkers_alone_are_not_judged() -> None:
    def recipe(*, ratio: "Fraction", size: "int" = 1) -> None: ...

    check_keywords("augment", recipe, {"ratio": 1, "size": 2}, set())
    assert "not a keyword" in refused({"ratio": 1, "sise": 2}, set(), recipe)


def test_annotations_kept_as_text_are_judged_where_they_resolve() -> None:
    def recipe(*, size: "int" = 1) -> None: ...

    assert "augment.size = 'x'" in refused({"size": "x"}, set(), recipe)
