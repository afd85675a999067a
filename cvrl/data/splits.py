"""Which videos an evaluation learns from, which it scores, and whether the two share a source."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from cvrl.data.known_splits import official_split
from cvrl.data.manifest import Manifest, read_manifest
from cvrl.data.sources.copies import same_contents, same_files
from cvrl.data.sources.folders import LabelRule
from cvrl.data.sources.name_groups import join_derived
from cvrl.data.split_names import find_split
from cvrl.data.tags import SEPARATOR
from cvrl.utils.errors import UserError
from cvrl.video.byte_source import video_exists

OTHERS = "*"  # a training split of every other value than the test split


@dataclass(frozen=True)
class Parts:
    """The two sides of an evaluation.

    Attributes:
        test: the videos to score.
        train: the videos that carry the labels; None where no protocol needs any.
        test_name: where the test part came from, for the card.
        train_name: where the training part came from.
    """

    test: Manifest
    train: Manifest | None = None
    test_name: str = "test"
    train_name: str | None = None


def read_splits(
    train: str,
    test: str | None = None,
    *,
    root: str | None = None,
    split_column: str = "split",
    train_split: str = "train",
    test_split: str = "test",
    hold_out: float | None = None,
    fallback_hold_out: float = 0.0,
    cameras: Sequence[str] | None = None,
    labels: LabelRule = "auto",
    seed: int = 0,
    allow_missing: bool = False,
) -> Parts:
    """Read the training and the test part of a data set.

    The test part is, in this order: ``hold_out`` of the training part, when given; the source
    ``test``; the rows of ``train`` whose split is ``test_split``; ``fallback_hold_out`` of the
    training part, when above 0; else all of ``train``, and there is no training part, which only
    label-free protocols accept.

    Args:
        train: anything ``read_manifest`` reads.
        test: the same for the test part.
        root: folder that relative paths in lists start from.
        split_column: column that holds the split.
        train_split: its value for the training part; ``*`` is every other than ``test_split``.
        test_split: its value for the test part.
        hold_out: share of the training part, in (0, 1), that is cut off by groups and scored
            instead of the test part; for choosing settings.
        fallback_hold_out: the same where there is no test part.
        cameras: names of the cameras' files, where the sources list events, see ``read_manifest``.
        labels: which folder is the class, see ``read_manifest``.
        seed: decides which groups are held out.
        allow_missing: do not look for the listed files; whoever reads them has to count those that
            are not there. Rows that a scan marked bad stay in, to be counted with them.

    Raises:
        UserError: a source that cannot be used, or test classes that the training part does not
            know.

    Example:
        >>> read_splits("no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: no/such/folder: no such file or folder; ...
    """
    if hold_out is not None and test is not None:
        reason = "each names a test part"
        raise UserError("--hold-out and --test", reason, "give one of the two")
    how: dict[str, Any] = {"root": root, "split_column": split_column, "cameras": cameras or ()}
    how["labels"] = labels
    how |= {"check_files": False, "keep_bad": True} if allow_missing else {}
    source = read_manifest(train, **how)
    train_part, name = _read_train(source, train, train_split, test_split)
    if test is not None:
        test_part, test_name = _read_test(test, test_split, **how)
        train_part, test_part = _same_classes(train_part, test_part)
        return Parts(test_part, train_part, test_name, name)
    tested = find_split(str(train), source.splits, test_split)
    if hold_out is None and tested is not None:
        return Parts(source.select(tested), train_part, f"{train} [{split_column}={tested}]", name)
    share = hold_out if hold_out is not None else fallback_hold_out
    if share > 0 or hold_out is not None:
        rest, held = train_part.hold_out(share, seed)
        return Parts(
            held, rest, f"{share:g} of the groups of {name}, seed {seed}", f"the rest of {name}"
        )
    return Parts(train_part, None, name)


def labelled_only(splits: Parts) -> tuple[Parts, dict[str, Any]]:
    """Leave out the videos without a label, and count them.

    Args:
        splits: lists in which some videos may have a label and others none.

    Returns:
        The labelled rows of both splits, and how many were left out, by field of a
        :class:`cvrl.evaluation.card.ProtocolCard`. A split without any label is left as it is.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> some = make_manifest({"path": ["a.mp4", "b.mp4"], "label": ["x", None]}, root="/")
        >>> labelled_only(Parts(some, test_name="list.csv"))[1]
        {'n_unlabelled': 1, 'n_train_unlabelled': 0}
    """
    test, train = splits.test.labelled(), splits.train and splits.train.labelled()
    counts = {"n_unlabelled": len(splits.test) - len(test), "n_train_unlabelled": 0}
    if splits.train is not None and train is not None:
        counts["n_train_unlabelled"] = len(splits.train) - len(train)
    return replace(splits, test=test, train=train), counts


def check_groups(train: Manifest, test: Manifest, *, allow_leak: bool = False) -> str:
    """Refuse parts that share a source group or a file, and say what was compared and found.

    Clips of one group are cut from one scene; with one on each side a score measures recognition
    of the scene. Groups count where a list or file names (UCF101, HMDB51) tell them. A whole
    official split is taken as its makers cut it: what leaks there is said, and not refused. Files
    are compared by device and inode and, where their sizes are equal, by content.

    Args:
        train: the part with labels to learn from.
        test: the part to score.
        allow_leak: report shared groups on the card's line, which is returned, and do not refuse.

    Raises:
        UserError: the parts share groups or files; it names them.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> a = make_manifest({"path": ["v_Run_g01_c01.avi"]}, root="/")
        >>> b = make_manifest({"path": ["v_Run_g02_c01.avi"]}, root="/")
        >>> check_groups(a, b)
        'disjoint: 1 train and 1 test groups, no file in both (compared by name, none is there)'
        >>> check_groups(a, a, allow_leak=True)
        'LEAK: 1 file is in train and test: /v_Run_g01_c01.avi'
    """
    files, compared = _files_in_both(train.paths, test.paths)
    train_groups, test_groups = _named_groups(train, test)
    groups = [test_groups[key] for key in sorted(train_groups.keys() & test_groups.keys())]
    shared, kind = files or groups, "file" if files else "group"
    official = official_split(train.paths, test.paths)
    split = f"{official}, whole; " if official else ""
    if not shared:
        counts = f"disjoint: {len(train_groups)} train and {len(test_groups)} test groups"
        named = counts if train_groups and test_groups else "no groups named: each file its own"
        return f"{split}{named}, no file in both ({compared})"
    found = f"{len(shared)} {kind}{'s are' if len(shared) > 1 else ' is'} in train and test: "
    found += ", ".join(shared[:5]) + (" ..." if len(shared) > 5 else "")
    if not (allow_leak or official):
        remedy = "or pass --allow-group-leak to score it all the same"
        inspect = "split by group (tools/inspect_data.py puts copies into one group)"
        raise UserError(test.source, found, f"{inspect if files else 'split by group'}, {remedy}")
    return f"{split}LEAK: {found}"


def _files_in_both(train: list[str], test: list[str]) -> tuple[list[str], str]:
    """The test files whose content is in the training part, and how files were compared."""
    paths = [*train, *test]
    found = {}
    for rows in same_contents(paths):
        learned = [paths[row] for row in rows if row < len(train)]
        for row in rows:
            if row >= len(train) and learned:
                path = paths[row]
                same = path in learned
                word = "is" if same_files([path, learned[0]]) else "is a copy of"
                found[path] = path if same else f"{path} ({word} {learned[0]})"
    missing = sum(not video_exists(path) for path in paths)
    if missing == len(paths):
        return sorted(found.values()), "compared by name, none is there"
    compared = "compared by inode and content"
    if missing:
        compared += f", {missing} of {len(paths)} that are missing by name"
    return sorted(found.values()), compared


def group_numbers(parts: Parts) -> tuple[Tensor, Tensor]:
    """Number the source groups of both parts alike, whether or not they come from one list.

    Args:
        parts: with a training part; without one its groups are empty.

    Returns:
        The groups of the test and of the training videos, integers; a file without a group is one
        by itself.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> a = make_manifest({"path": ["a.mp4", "v_Run_g01_c01.avi"]}, root="/")
        >>> b = make_manifest({"path": ["v_Run_g01_c02.avi", "a.mp4"]}, root="/")
        >>> [groups.tolist() for groups in group_numbers(Parts(a, b))]
        [[0, 1], [1, 0]]
    """
    train = [] if parts.train is None else [parts.train]
    manifests = [parts.test, *train]
    paths = [path for manifest in manifests for path in manifest.paths]
    groups = (group for part in _groups(*manifests) for group in part)
    names = [group.lower() if group else path for group, path in zip(groups, paths, strict=True)]
    numbers = torch.from_numpy(np.unique(names, return_inverse=True)[1])
    return numbers[: len(parts.test)], numbers[len(parts.test) :]


def list_sha256(manifest: Manifest) -> str:
    """Identify what a list holds: a hash over its files as listed and their labels, in any order.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> one = make_manifest({"path": ["a.mp4", "b.mp4"]}, root="/here")
        >>> two = make_manifest({"path": ["b.mp4", "a.mp4"]}, root="/there")
        >>> list_sha256(one) == list_sha256(two)
        True
    """
    columns = (manifest.table[name].to_pylist() for name in ("path", "label"))
    rows = sorted(f"{path}\t{label or ''}" for path, label in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _read_train(
    source: Manifest, train: str, train_split: str, test_split: str
) -> tuple[Manifest, str]:
    found = None if train_split == OTHERS else find_split(train, source.splits, train_split)
    if train_split == OTHERS:
        tested = source.select(test_split).table["path"]
        rest = pc.invert(pc.is_in(source.table["path"], tested.combine_chunks()))
        name = f"{train} [{source.split_column}!={test_split}]"
        return source.take(np.flatnonzero(np.asarray(rest))), name
    if found is not None:
        return source.select(found), f"{train} [{source.split_column}={found}]"
    if source.splits and find_split(train, source.splits, test_split) is None:
        reason = (
            f"column '{source.split_column}' has {', '.join(source.splits[:8])}, none of which "
        )
        reason += f"is known as {train_split} or {test_split}"
        raise UserError(train, reason, "name them with data.train_split and data.test_split")
    return source, str(train)


def _read_test(test: str, test_split: str, **how: Any) -> tuple[Manifest, str]:
    source = read_manifest(test, **how)
    found = find_split(test, source.splits, test_split)
    if found is not None:
        return source.select(found), f"{test} [{how['split_column']}={found}]"
    return source, str(test)


def _same_classes(train: Manifest, test: Manifest) -> tuple[Manifest, Manifest]:
    """Number the test labels as the training part does; unlabelled lists stay as they are.

    Tags may be joined in the test part as they never are in training: both know all labels then.
    """
    if not (train.class_names and test.class_names):
        return train, test
    unseen = set(test.class_names) - set(train.class_names)
    if unseen and all(SEPARATOR in name for name in unseen):
        names = sorted({*train.class_names, *test.class_names})
        return train.with_classes(names), test.with_classes(names)
    return train, test.with_classes(train.class_names)


def _groups(*manifests: Manifest) -> list[list[str | None]]:
    """The groups in each list; what is derived from a file of another list joins its group."""
    paths = [path for manifest in manifests for path in manifest.paths]
    named = [group for manifest in manifests for group in manifest.table["group"].to_pylist()]
    string = pa.string()
    group = join_derived(pa.chunked_array([paths], string), pa.chunked_array([named], string))
    ends = np.cumsum([len(manifest) for manifest in manifests]).tolist()
    starts = [0, *ends[:-1]]
    return [group[start:end].to_pylist() for start, end in zip(starts, ends, strict=True)]


def _named_groups(*manifests: Manifest) -> list[dict[str, str]]:
    """Groups with a name of their own in each list, by that name in lower case.

    A video that is its own group is named like its file.
    """
    found = []
    for manifest, groups in zip(manifests, _groups(*manifests), strict=True):
        pairs = zip(groups, manifest.table["path"].to_pylist(), strict=True)
        found.append({group.lower(): group for group, path in pairs if group and group != path})
    return found
