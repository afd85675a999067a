"""Names of splits: the usual spellings of train, validation and test, in any case."""

import logging
import re
from collections.abc import Sequence

from cvrl.utils.errors import UserError

logger = logging.getLogger("cvrl")

SPELLINGS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
_KIND_OF = {spelling: kind for kind, spellings in SPELLINGS.items() for spelling in spellings}
_NAME = re.compile(r"([a-z]+)(?:set)?[ _-]*(?:\d[\w-]*|split|list)?")


def split_kind(name: str) -> str | None:
    """Which split a name stands for.

    Args:
        name: of a folder, or a value of a split column.

    Returns:
        ``train``, ``val`` or ``test``; None for any other name.

    Example:
        >>> [split_kind(name) for name in ("Train", "val_256", "testing", "1", "jump")]
        ['train', 'val', 'test', None, None]
    """
    match = _NAME.fullmatch(name.strip().lower())
    return _KIND_OF.get(match[1]) or _KIND_OF.get(match[1].removesuffix("set")) if match else None


def find_split(source: str, names: Sequence[str], wanted: str) -> str | None:
    """The name that a list uses for a split.

    Args:
        source: of the list, for messages.
        names: the splits that it has.
        wanted: the name asked for; ``test`` also finds the validation split of a list without a
            test split, with a notice.

    Returns:
        One of ``names``, or None where the list has no such split.

    Raises:
        UserError: several names stand for the split.

    Example:
        >>> find_split("list.csv", ["Testing", "Training"], "train")
        'Training'
        >>> find_split("list.csv", ["1", "2"], "train") is None
        True
    """
    if wanted in names:
        return wanted
    kind = split_kind(wanted)
    if kind is None:
        return None
    for other in (kind, "val") if kind == "test" else (kind,):
        found = [name for name in names if split_kind(name) == other]
        if len(found) > 1:
            reason = f"has several splits that could be '{wanted}': {', '.join(found)}"
            raise UserError(source, reason, "name one with data.train_split and data.test_split")
        if found:
            if other != kind:
                logger.warning("%s has no test split: its split '%s' is used", source, found[0])
            return found[0]
    return None
