"""Cross-validation that leaves out one value of a column at a time: one person, camera or group.

A small list has no test split worth the name: Weizmann's nine persons are scored by learning from
eight of them and testing on the ninth, for each person in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cvrl.data.manifest import Manifest
from cvrl.data.splits import check_groups
from cvrl.utils.errors import UserError

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fold:
    """The rows to learn from and the rows to score.

    Attributes:
        held_out: the value of the column that the scored rows have.
        train_N: rows to learn from, ascending.
        test_M: rows to score, ascending.
    """

    held_out: str
    train_N: Ints
    test_M: Ints


def leave_one_out(manifest: Manifest, column: str) -> list[Fold]:
    """A fold for each value of a column, in the order of the values.

    Args:
        manifest: the list. Its own source groups are column ``group``.
        column: by name.

    Returns:
        Folds whose test rows cover the list, each row once.

    Raises:
        UserError: no such column, a row without a value, or a single value.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> columns = {"path": ["a.mp4", "b.mp4", "c.mp4"], "person": ["eli", "ido", "eli"]}
        >>> folds = leave_one_out(make_manifest(columns, root="/"), "person")
        >>> [(fold.held_out, fold.train_N.tolist(), fold.test_M.tolist()) for fold in folds]
        [('eli', [1], [0, 2]), ('ido', [0, 2], [1])]
    """
    value_N = column_values(manifest, column)
    values, fold_N = np.unique(value_N, return_inverse=True)
    if len(values) < 2:
        reason = f"every row has {column} '{values[0]}', so nothing is left to learn from"
        raise UserError(manifest.source, reason, "name a column with two values or more")
    return [
        Fold(str(value), np.flatnonzero(fold_N != number), np.flatnonzero(fold_N == number))
        for number, value in enumerate(values)
    ]


def column_values(manifest: Manifest, column: str) -> NDArray[np.str_]:
    """The value of each row in a column, as text.

    Args:
        manifest: the list.
        column: by name.

    Raises:
        UserError: no such column, or a row without a value.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> column_values(make_manifest({"path": ["a.mp4"]}, root="/"), "person")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: manifest: no column 'person'; its columns are path, label, \
group
    """
    if column not in manifest.table.column_names:
        remedy = f"its columns are {', '.join(manifest.table.column_names)}"
        raise UserError(manifest.source, f"no column '{column}'", remedy)
    text = manifest.table[column].cast(pa.string()).fill_null("")
    value_N = np.array(pc.utf8_trim_whitespace(text).to_pylist(), dtype=np.str_)
    if len(empty := np.flatnonzero(value_N == "")):
        reason = f"{len(empty)} rows have no {column}, first {manifest.path(int(empty[0]))}"
        raise UserError(manifest.source, reason, f"fill in column {column}, or name another one")
    return value_N


def check_leave_one_out(manifest: Manifest, column: str, *, allow_leak: bool = False) -> str:
    """Refuse a list that cannot be scored this way, and describe the folds.

    Args:
        manifest: the list; rows without a label are left out of the folds.
        column: by name.
        allow_leak: report source groups and files that two folds share, and do not refuse them.

    Returns:
        How the folds relate to the source groups, for the card.

    Raises:
        UserError: as :func:`leave_one_out`, a value without labels, a single class to learn from,
            or folds that share a source group or a file.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> columns = {"path": list("abcd"), "label": list("xyxy"), "person": list("kkll")}
        >>> check_leave_one_out(make_manifest(columns, root="/"), "person")
        'leave one person out: no group or file in two of the 2 folds'
    """
    leave_one_out(manifest, column)
    labelled = manifest.take(np.flatnonzero(manifest.label_ids >= 0))
    known = set(column_values(labelled, column).tolist())
    for value in column_values(manifest, column).tolist():
        if value not in known:
            reason = f"no video of {column} '{value}' has a label to score by"
            raise UserError(manifest.source, reason, "label some of them, or leave them out")
    leaks = []
    for fold in leave_one_out(labelled, column):
        rest, held = labelled.take(fold.train_N), labelled.take(fold.test_M)
        if len(np.unique(rest.label_ids)) < 2:
            reason = f"without {column} '{fold.held_out}' a single class is left to learn"
            raise UserError(manifest.source, reason, "give a list with more classes in each fold")
        found = check_groups(rest, held, allow_leak=allow_leak)
        leaks += [f"{column} '{fold.held_out}': {found}"] if "LEAK" in found else []
    many = len(known)
    sound = f"no group or file in two of the {many} folds"
    leaked = f"{len(leaks)} of {many} folds leak; {leaks[0]}" if leaks else sound
    return f"leave one {column} out: {leaked}"


def never_learned(manifest: Manifest, folds: Sequence[Fold]) -> list[str]:
    """The classes that some fold has to score without a video to learn them from, sorted.

    Args:
        manifest: the list.
        folds: of :func:`leave_one_out`.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> columns = {"path": list("abc"), "label": list("xxy"), "person": list("klk")}
        >>> videos = make_manifest(columns, root="/")
        >>> never_learned(videos, leave_one_out(videos, "person"))
        ['y']
    """
    label_N = manifest.label_ids
    missing = [set(label_N[fold.test_M]) - set(label_N[fold.train_N]) for fold in folds]
    return sorted(manifest.class_names[label] for label in set().union(*missing))
