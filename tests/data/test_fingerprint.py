"""A list is known again, and what differs in another one is named."""

import pytest

from cvrl.data.fingerprint import fingerprint, list_difference
from cvrl.data.manifest import make_manifest

NAMES = ["a.mp4", "b.mp4", "c.mp4"]
LABELS = ["run", "run", None]
GROUPS = ["g1", "g2", "g2"]


def manifest(folder, names=NAMES, labels=LABELS, groups=GROUPS, size=3):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(bytes(size))
    return make_manifest({"path": names, "label": labels, "group": groups}, root=folder)


def test_the_same_list_elsewhere_is_the_same(tmp_path):
    here, there = (fingerprint(manifest(tmp_path / name)) for name in ("here", "there"))
    assert list_difference(here, there) is None


def test_absolute_and_relative_paths_of_the_same_files_are_the_same(tmp_path):
    listed = manifest(tmp_path)
    columns = {"path": listed.paths, "label": LABELS, "group": GROUPS}
    absolute = make_manifest(columns, root="/")
    assert list_difference(fingerprint(listed), fingerprint(absolute)) is None


def test_runs_from_before_are_not_judged(tmp_path):
    assert list_difference(None, fingerprint(manifest(tmp_path))) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": NAMES[:2], "labels": LABELS[:2], "groups": GROUPS[:2]}, "3 videos, not 2"),
        ({"names": ["a.mp4", "b.mp4", "d.mp4"]}, "other files"),
        ({"names": ["b.mp4", "a.mp4", "c.mp4"]}, "the same files in another order"),
        ({"labels": ["run", "jump", None]}, "other labels"),
        ({"groups": ["g1", "g1", "g2"]}, "other source groups"),
        ({"size": 4}, "files of other sizes, which have been replaced since"),
    ],
)
def test_what_differs_is_named(tmp_path, change, words):
    then = fingerprint(manifest(tmp_path))
    assert list_difference(then, fingerprint(manifest(tmp_path, **change))) == words
