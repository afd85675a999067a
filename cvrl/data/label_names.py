"""Names of classes: blanks around a name and the form of its accents do not make a class.

Several labels in one (``3,5``, ``run|jump``) are tags, joined by ``+``.
"""

import logging
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cvrl.data.tags import SEPARATOR

logger = logging.getLogger("cvrl")

# "3,5", "3, 5", "3 5", "run|jump", "run,jump"; "pushing, pulling" is one name
_SEVERAL = r"^([0-9]+(\s*[,;|]\s*[0-9]+|\s+[0-9]+)+|[^\s,;|]+([,;|][^\s,;|]+)+)$"


def clean_labels(label: Any) -> Any:
    r"""Labels without blanks around them, in the Unicode form NFC; empty ones become null.

    Several labels in one become tags joined by ``+``, in order.

    Args:
        label: a pyarrow array of strings. A change of spelling is written to the log.

    Example:
        >>> clean_labels(pa.array(["run", " run", "cafe\u0301", ""])).to_pylist()
        ['run', 'run', 'café', None]
        >>> clean_labels(pa.array(["5,3", "run|jump", "2 players"])).to_pylist()
        ['3+5', 'jump+run', '2 players']
    """
    cleaned = pc.utf8_normalize(pc.utf8_trim_whitespace(label), form="NFC")
    cleaned = pc.if_else(pc.equal(cleaned, ""), pa.scalar(None, pa.string()), cleaned)
    changed = pc.unique(label.filter(pc.not_equal(label, cleaned).fill_null(False)))
    for name in changed.drop_null().to_pylist()[:5]:
        logger.info("label %r is read without blanks and in Unicode form NFC", name)
    return _join_tags(cleaned)


def _join_tags(label: Any) -> Any:
    """Several labels written with commas, semicolons, bars, or blanks between numbers: ``3+5``."""
    several = pc.unique(label.filter(pc.match_substring_regex(label, _SEVERAL).fill_null(False)))
    if not len(several):
        return label
    as_tags = {
        name: SEPARATOR.join(sorted(set(re.split(r"[,;|\s]+", name)), key=_in_order))
        for name in several.to_pylist()
    }
    name, tags = next(iter(as_tags.items()))
    logger.info("%d labels are read as several tags, as %r as %r", len(as_tags), name, tags)
    return pa.chunked_array([[as_tags.get(name, name) for name in label.to_pylist()]], pa.string())


def _in_order(tag: str) -> tuple[int, str]:
    return (int(tag), tag) if tag.isascii() and tag.isdigit() else (-1, tag)
