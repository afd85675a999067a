"""Checks of one value, with the message a user needs: what, why not, what instead."""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from cvrl.utils.errors import UserError

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text (in quotes, where it looks like a number)",
    NoneType: "null",
    dict: "key: value pairs",
    Mapping: "key: value pairs",
}


def nearest(key: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the known one that is spelled most like it, else all of them.

    For a dotted key the last part decides, wherever in ``known`` it stands; the same section
    counts a little more.

    Example:
        >>> nearest("optim.learn_rat", ["optim.lr", "optim.learn_rate", "train.epochs"])
        'did you mean optim.learn_rate?'
        >>> nearest("lr", ["optim.lr", "train.epochs"])
        'did you mean optim.lr?'
        >>> nearest("optim.zzz", ["optim.lr", "train.epochs"])
        'known here: optim.lr'
    """
    section, _, leaf = key.rpartition(".")

    def likeness(candidate: str) -> float:
        other_section, _, other = candidate.rpartition(".")
        alike = difflib.SequenceMatcher(None, leaf.lower(), other.lower()).ratio()
        return alike + 0.1 * (section == other_section)

    candidates = list(known)
    best = max(candidates, key=likeness, default="")
    if best and likeness(best) >= 0.65:
        return f"did you mean {best}?"
    here = [name for name in candidates if name.rpartition(".")[0] == section]
    return f"known here: {', '.join(here or candidates) or 'nothing'}"


def counted(number: int, noun: str) -> str:
    """A number with its noun in the plural where it must be.

    Example:
        >>> counted(1, "class"), counted(2, "class"), counted(1200, "video")
        ('1 class', '2 classes', '1,200 videos')
    """
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def check_range(key: str, value: float, interval: str) -> None:
    """Refuse a number outside an interval.

    Args:
        key: its name, for the message.
        value: the number; not-a-number lies in no interval.
        interval: as in mathematics: ``[0, 1)`` holds 0 and not 1; ``inf`` for no bound.

    Raises:
        UserError: the number lies outside.

    Example:
        >>> check_range("data.hold_out", 0.2, "[0, 1)")
        >>> check_range("data.hold_out", 1.5, "[0, 1)")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: data.hold_out = 1.5: not in range; give at least 0 and below 1
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    above = value > low if interval[0] == "(" else value >= low
    below = value < high if interval[-1] == ")" else value <= high
    if above and below:
        return
    words = f"{'above' if interval[0] == '(' else 'at least'} {low:g}"
    if math.isfinite(high):
        words += f" and {'below' if interval[-1] == ')' else 'at most'} {high:g}"
    raise UserError(f"{key} = {value}", "not in range", f"give {words}")


def check_type(key: str, value: object, hint: Any) -> None:
    """Refuse a value read from text that an annotation does not allow.

    Only what a config can hold is judged: whole numbers, numbers, true or false, text, a choice of
    words, lists, mappings and null. Any other annotation lets every value pass.

    Args:
        key: its name, for the message.
        value: what was given.
        hint: the annotation of the field or parameter it goes to.

    Raises:
        UserError: the value is of another type.

    Example:
        >>> check_type("optim.lr", 1, float)
        >>> check_type("optim.lr", "fast", float)
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: optim.lr = 'fast': is of the wrong type; give a number
    """
    if _fits(value, hint):
        return
    choices = [str(choice) for arm in _arms(hint) for choice in _choices(arm)]
    if choices and isinstance(value, str):
        raise UserError(f"{key} = {value}", "is not one of its values", nearest(value, choices))
    words = " or ".join(dict.fromkeys(_in_words(arm) for arm in _arms(hint)))
    raise UserError(f"{key} = {value!r}", "is of the wrong type", f"give {words}")


def check_keywords(
    section: str,
    factory: Callable[..., object],
    keywords: Mapping[str, object],
    provided: set[str],
) -> None:
    """Hold the free keywords of a section against the constructor they are meant for.

    Args:
        section: the section's name, for the message.
        factory: the class or function they go to.
        keywords: what the config gives.
        provided: parameters the program fills in itself.

    Raises:
        UserError: a keyword is unknown, of the wrong type or not the user's to give, or one that
            has no default is missing.

    Example:
        >>> def blur(*, size: int, sigma: float = 1.0): ...
        >>> check_keywords("augment", blur, {"sigma": 2.0}, {"size"})
        >>> check_keywords("blur", blur, {"sigm": 2.0}, {"size"})
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: blur.sigm: not a keyword of blur; did you mean blur.sigma?
    """
    name = getattr(factory, "__name__", repr(factory))
    parameters = _signature(factory).parameters.values()
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    free = {key: parameter for key, parameter in named.items() if key not in provided}
    for key, value in keywords.items():
        dotted = f"{section}.{key}"
        if key in provided:
            raise UserError(dotted, f"{name} gets it from the rest of the config", "remove it")
        if key in free:
            check_type(dotted, value, free[key].annotation)
        elif not open_ended:
            remedy = nearest(dotted, [f"{section}.{known}" for known in free])
            raise UserError(dotted, f"not a keyword of {name}", remedy)
    for key, parameter in free.items():
        if key not in keywords and parameter.default is parameter.empty:
            dotted = f"{section}.{key}"
            raise UserError(dotted, f"{name} needs it and has no default", f"add {dotted}=value")


def _signature(factory: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation imported for type checkers only stays text: not judged
        return inspect.signature(factory)


def _arms(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


def _fits(value: object, hint: Any) -> bool:
    origin = get_origin(hint) or hint
    if len(_arms(hint)) > 1:
        return any(_fits(value, arm) for arm in _arms(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin in (None, NoneType):
        return value is None
    if origin in (int, float):
        return isinstance(value, int | origin) and not isinstance(value, bool)
    if origin in (bool, str):
        return isinstance(value, origin)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and _elements_fit(value, hint)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    return True  # nothing a config could be held against: the constructor itself will judge


def _elements_fit(values: Sequence[object], hint: Any) -> bool:
    inner = get_args(hint)
    if get_origin(hint) is tuple and inner[-1] is not ...:
        return len(values) == len(inner) and all(map(_fits, values, inner))
    return all(_fits(value, inner[0]) for value in values) if inner else True


def _in_words(hint: Any) -> str:
    origin = get_origin(hint) or hint
    if origin is Literal:
        return " or ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple and get_args(hint)[-1] is not ...:
        return f"a list of {len(get_args(hint))} values"
    return _WORDS.get(origin, "a list, as in [1, 2]")
