"""A subject's own settings, read from the command line and held against what it takes."""

from collections.abc import Callable, Sequence
from typing import Any

import yaml

from cvrl.utils.checks import check_keywords
from cvrl.utils.errors import UserError

GIVEN = {"runs", "against"}  # these have flags of their own


def read_settings(pairs: Sequence[str], measure: Callable[..., object]) -> dict[str, Any]:
    """Keywords of a subject's ``measure`` out of ``key=value`` texts.

    Args:
        pairs: values are read as YAML: ``3`` is a number, ``true`` a truth value.
        measure: what they go to.

    Raises:
        UserError: not a pair, or ``measure`` has no such keyword or wants another type.

    Example:
        >>> def measure(*, runs: int, against: list[str], seconds: float = 10.0): ...
        >>> read_settings(["seconds=2.5"], measure)
        {'seconds': 2.5}
        >>> read_settings(["second=2"], measure)
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: settings.second: not a keyword of measure; did you mean ...
    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (equals and key.isidentifier()):
            raise UserError(pair, "is not a setting", "write it as key=value")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(pair, "its value is no YAML", "put it in quotes") from error
    check_keywords("settings", measure, settings, GIVEN)
    return settings
