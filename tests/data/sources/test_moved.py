"""Lists of absolute paths follow their files."""

import pytest

from cvrl.data.manifest import read_manifest
from cvrl.utils.errors import UserError


@pytest.fixture
def listed(tmp_path, make_video):
    """A list of absolute paths; the folder of its files has then moved."""
    old = tmp_path / "old" / "videos"
    rows = ["path,label"]
    for label in ("jump", "run"):
        for name in ("a", "b"):
            video = make_video(old / label / f"{name}.mp4", 4)
            rows.append(f"{video},{label}")
    file = tmp_path / "list.csv"
    file.write_text("\n".join(rows) + "\n")
    (tmp_path / "new").mkdir()
    old.rename(tmp_path / "new" / "clips")
    return file


@pytest.mark.parametrize("root", ["new/clips"])
def test_a_root_maps_moved_files(listed, tmp_path, root):
    videos = read_manifest(listed, root=tmp_path / root)
    assert videos.path(0) == str(tmp_path / "new" / "clips" / "jump" / "a.mp4")
    assert [videos.class_names[i] for i in videos.label_ids] == ["jump", "jump", "run", "run"]


def test_a_root_that_does_not_hold_them_is_told(listed, tmp_path):
    with pytest.raises(UserError, match=r"4 of 4 files are missing.*--root"):
        read_manifest(listed, root=tmp_path)


def test_files_in_their_place_stay(listed, tmp_path):
    (tmp_path / "old").rmdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "new" / "clips").rename(tmp_path / "old" / "videos")
    (tmp_path / "empty").mkdir()
    videos = read_manifest(listed, root=tmp_path / "empty")
    assert videos.path(3) == str(tmp_path / "old" / "videos" / "run" / "b.mp4")
