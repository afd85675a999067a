"""Numbers of groups, and groups that become one."""

import pyarrow as pa
import pytest

from cvrl.data.groups import group_ids, join_groups


def test_groups_are_numbered_whatever_their_case():
    ids = group_ids(pa.chunked_array([["Run_g01", None, "RUN_G01", "x", None]])).tolist()
    assert ids[0] == ids[2] and len(set(ids)) == 4


@pytest.mark.parametrize(
    ("group", "alike", "joined"),
    [
        ([None] * 4, [[0, 2]], ["a", None, "a", None]),
        (["x", "x", "y", "y"], [[0, 2]], ["x"] * 4),
        ([None, "x", "x", None], [[0, 1]], ["x", "x", "x", None]),
        (["x", "y", "z", None], [[0, 1], [1, 2], [2, 3]], ["x"] * 4),
        (["x", "y", "z", "w"], [[0, 1], [2, 3], [1, 3]], ["x"] * 4),
        (["x", None, "y", None], [], ["x", None, "y", None]),
    ],
)
def test_whole_groups_are_joined(group, alike, joined):
    assert len(set(join_groups(list("abcd"), group, alike))) == len(set(joined))
    found = join_groups(list("abcd"), group, alike)
    assert [found.index(name) for name in found] == [joined.index(name) for name in joined]
