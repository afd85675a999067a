"""Which videos an evaluation learns from, which it scores, and whether the two share a source."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cvrl.data.manifest import Manifest, read_manifest
from cvrl.utils.errors import UserError


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


def read_parts(
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
    seed: int = 0,
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
        train_split: its value for the training part.
        test_split: its value for the test part.
        hold_out: share of the training part, in (0, 1), that is cut off by groups and scored
            instead of the test part; for choosing settings.
        fallback_hold_out: the same where there is no test part.
        cameras: names of the cameras' files, where the sources list events, see ``read_manifest``.
        seed: decides which groups are held out.

    Raises:
        UserError: a source that cannot be used, or test classes that the training part does not
            know.

    Example:
        >>> read_parts("no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: no/such/folder: no such file or folder; ...
    """
    if hold_out is not None and test is not None:
        reason = "each names a test part"
        raise UserError("--hold-out and --test", reason, "give one of the two")
    how: dict[str, Any] = {"root": root, "split_column": split_column, "cameras": cameras or ()}
    source = read_manifest(train, **how)
    has_split = train_split in source.splits
    train_part = source.select(train_split) if has_split else source
    name = f"{train} [{split_column}={train_split}]" if has_split else str(train)
    if test is not None:
        test_part, test_name = _read_test(test, test_split, **how)
        return Parts(_with_classes_of(train_part, test_part), train_part, test_name, name)
    if hold_out is None and test_split in source.splits:
        return Parts(
            source.select(test_split), train_part, f"{train} [{split_column}={test_split}]", name
        )
    share = hold_out if hold_out is not None else fallback_hold_out
    if share > 0 or hold_out is not None:
        rest, held = train_part.hold_out(share, seed)
        return Parts(
            held, rest, f"{share:g} of the groups of {name}, seed {seed}", f"the rest of {name}"
        )
    return Parts(train_part, None, name)


def check_groups(train: Manifest, test: Manifest, *, allow_leak: bool = False) -> str:
    """Refuse parts that share a source group or a file, and say in words what was found.

    Clips of one group are cut from one scene; with one on each side a score measures recognition
    of the scene. Groups count where a list or file names (UCF101, HMDB51) tell them.

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
        'disjoint: 1 train and 1 test groups, no file in both'
        >>> check_groups(a, a, allow_leak=True)
        'LEAK: 1 file is in train and test: /v_Run_g01_c01.avi'
    """
    files = sorted(set(train.paths) & set(test.paths))
    train_groups, test_groups = _named_groups(train), _named_groups(test)
    shared, kind = files or sorted(train_groups & test_groups), "file" if files else "group"
    if not shared:
        counts = f"disjoint: {len(train_groups)} train and {len(test_groups)} test groups"
        named = counts if train_groups and test_groups else "no groups named: each file its own"
        return f"{named}, no file in both"
    found = f"{len(shared)} {kind}{'s are' if len(shared) > 1 else ' is'} in train and test: "
    found += ", ".join(shared[:5]) + (" ..." if len(shared) > 5 else "")
    if not allow_leak:
        raise UserError(
            test.source,
            found,
            "split by group, or pass --allow-group-leak to score it all the same",
        )
    return f"LEAK: {found}"


def _read_test(test: str, test_split: str, **how: Any) -> tuple[Manifest, str]:
    source = read_manifest(test, **how)
    if test_split in source.splits:
        return source.select(test_split), f"{test} [{how['split_column']}={test_split}]"
    return source, str(test)


def _with_classes_of(train: Manifest, test: Manifest) -> Manifest:
    """Number the test labels as the training part does; unlabelled lists stay as they are."""
    return test.with_classes(train.class_names) if train.class_names and test.class_names else test


def _named_groups(manifest: Manifest) -> set[str]:
    """Groups with a name of their own; a video that is its own group is named like its file."""
    pairs = zip(
        manifest.table["group"].to_pylist(), manifest.table["path"].to_pylist(), strict=True
    )
    return {group for group, path in pairs if group is not None and group != path}
