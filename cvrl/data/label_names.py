"""Names of classes: blanks around a name and the form of its accents do not make a class."""

import logging
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

logger = logging.getLogger("cvrl")


def clean_labels(label: Any) -> Any:
    r"""Labels without blanks around them, in the Unicode form NFC; empty ones become null.

    Args:
        label: a pyarrow array of strings. A change of spelling is written to the log.

    Example:
        >>> clean_labels(pa.array(["run", " run", "cafe\u0301", ""])).to_pylist()
        ['run', 'run', 'café', None]
    """
    cleaned = pc.utf8_normalize(pc.utf8_trim_whitespace(label), form="NFC")
    cleaned = pc.if_else(pc.equal(cleaned, ""), pa.scalar(None, pa.string()), cleaned)
    changed = pc.unique(label.filter(pc.not_equal(label, cleaned).fill_null(False)))
    for name in changed.drop_null().to_pylist()[:5]:
        logger.info("label %r is read without blanks and in Unicode form NFC", name)
    return cleaned
