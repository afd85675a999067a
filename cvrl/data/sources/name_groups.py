"""Source groups that file names tell: clips of one recording, and files made from another file."""

import os
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cvrl.data.sources.file_types import VIDEO_SUFFIXES, is_video_name, stem

_CLIPS = (  # HMDB51, UCF101
    r"(?i)(?:^|/)(?P<group>[^/]+)_[hulf]_(?:nm|cm)_np[0-9]+_(?:fr|ri|le|ba)_(?:goo|med|bad)_[0-9]+"
    r"(?:[^0-9/][^/]*)?$",
    r"(?i)(?:^|/)(?:v_)?(?P<group>[^/]*_g[0-9]+)_[^/]*$",
)
_WORDS = r"copy|kopie|copie|copia|[hv]?flip(?:ped)?|mirror(?:ed)?|aug(?:mented)?|rot(?:ated?)?"
_WORDS += r"|crop(?:ped)?|resized?|scaled|re-?encoded|converted|compressed"
# "a (1)", "a_flip", "a - Copy (2)", "a_aug3", at the end of a name without suffix
_DERIVED = rf"(?i)(?:[ _-]*\([0-9]+\)|[ _-]+(?:{_WORDS})[ _-]?[0-9]*)+$"
_ENDINGS = "|".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
_COPY_OF = r"(?i)^copy of "


def infer_groups(path: Any) -> Any:
    """What each clip was cut from, as far as its name tells.

    Args:
        path: an array of paths.

    Returns:
        An array as long: class and source number from names like UCF101's and HMDB51's, whatever
        their case and whatever follows the number, else null.

    Example:
        >>> paths = ["x/v_Run_G7_c03 (1).avi", "April_09_run_u_nm_np1_ba_goo_0.avi", "x/a.mp4"]
        >>> infer_groups(pa.array(paths)).to_pylist()
        ['Run_g07', 'April_09_run', None]
    """
    group = pc.coalesce(
        *(pc.struct_field(pc.extract_regex(path, name), "group") for name in _CLIPS)
    )
    group = pc.replace_substring_regex(group, r"_G([0-9]+)$", r"_g\1")
    return pc.replace_substring_regex(group, r"_g([0-9])$", r"_g0\1")


def join_derived(path: Any, group: Any) -> Any:
    """Put files whose name says that they were made from a listed file into its group.

    ``a (1).mp4``, ``a_copy.mp4``, ``a_flip.mp4``, ``Copy of a.mp4`` and ``a.avi`` belong to
    ``a.mp4``. The source is looked for in the same folder first, then in the whole list, where it
    counts if it is the only one of that name.

    Args:
        path: a chunked array of paths.
        group: as long; a row that has a group keeps it.

    Returns:
        The groups; a source without one, and what was made from it, get the path of the source.

    Example:
        >>> path = pa.chunked_array([["a.mp4", "a (1).mp4", "b.mp4"]])
        >>> join_derived(path, pa.chunked_array([pa.nulls(3, pa.string())])).to_pylist()
        ['a.mp4', 'a.mp4', None]
    """
    if not group.null_count or not _may_be_derived(path):
        return group  # the usual case, found without a loop over the rows
    paths, groups = path.to_pylist(), group.to_pylist()
    for row, source in _sources(paths):
        name = groups[source] or groups[row] or paths[source]
        groups[source], groups[row] = groups[source] or name, groups[row] or name
    return pa.chunked_array([pa.array(groups, pa.string())])


def _may_be_derived(path: Any) -> bool:
    """Whether two names differ in their suffixes alone, or one ends like that of a copy."""
    ending = rf"(?i)(\.({_ENDINGS}))+$"
    suffix = os.path.splitext(path[0].as_py())[1] if len(path) else ""
    if pc.all(pc.ends_with(path, suffix)).as_py() and suffix.lower() in VIDEO_SUFFIXES:
        stems = pc.utf8_slice_codeunits(path, 0, -len(suffix))
        twice = pc.any(pc.match_substring_regex(stems, ending)).as_py()
    else:
        stems = pc.utf8_lower(pc.replace_substring_regex(path, ending, ""))
        twice = pc.count_distinct(stems).as_py() < len(path)
    is_derived = pc.match_substring_regex(stems, rf"{_DERIVED}|(?:^|/)copy of [^/]*$")
    return bool(twice or pc.any(is_derived).as_py())


def _sources(paths: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of a derived row and the row of its source."""
    first: dict[str, int] = {}
    by_name: dict[str, list[int]] = {}
    pairs = []
    for row, path in enumerate(paths):
        key = stem(path).lower()
        if key in first and (is_video_name(path) or is_video_name(paths[first[key]])):
            pairs.append((row, first[key]))  # a.mp4 and a.avi
            continue
        first.setdefault(key, row)
        by_name.setdefault(os.path.basename(key), []).append(row)
    for row, path in enumerate(paths):
        folder, name = os.path.split(stem(path).lower())
        source = re.sub(_COPY_OF, "", re.sub(_DERIVED, "", name))
        if source == name or not source:
            continue
        same_name = by_name.get(source, [])
        beside = first.get(os.path.join(folder, source))
        if beside is not None:
            pairs.append((row, beside))
        elif len(same_name) == 1:
            pairs.append((row, same_name[0]))
    return pairs
