"""A small archive cannot fill the disk or the day."""

import io
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from cvrl.preparation import archive_limits
from cvrl.preparation.archive_limits import Budget, size_below
from cvrl.preparation.archives import unpack
from cvrl.utils.errors import UserError


def test_a_zip_bomb_writes_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.avi", bytes(80 * 2**20))
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    with pytest.raises(
        UserError, match=r"bomb\.zip: would unpack to 84 MB or more, over 100 times"
    ):
        unpack([tmp_path / "bomb.zip"], tmp_path / "videos", workers=0)
    assert size_below(tmp_path / "videos") == 0


def test_a_tar_that_asks_for_a_terabyte_writes_nothing(tmp_path):
    info = tarfile.TarInfo("zeros.avi")
    info.size = 10**12
    (tmp_path / "bomb.tar").write_bytes(info.tobuf() + bytes(10_000))
    with pytest.raises(UserError, match="would unpack to 1,000,000 MB or more"):
        unpack([tmp_path / "bomb.tar"], tmp_path / "videos", workers=0)
    assert size_below(tmp_path / "videos") == 0


def nested(depth):
    """A zip in a zip in a zip, with a video in the innermost."""
    content, name = b"frames", "a.avi"
    for level in range(depth + 1):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        content, name = stream.getvalue(), f"level{level}.zip"
    return content


def test_a_zip_nested_deep_is_refused_fast(tmp_path):
    (tmp_path / "deep.zip").write_bytes(nested(200))
    began = time.monotonic()
    with pytest.raises(UserError, match=r"is an archive inside 5 others, more than 4; get"):
        unpack([tmp_path / "deep.zip"], tmp_path / "videos", workers=0)
    assert time.monotonic() - began < 5


def test_the_usual_nesting_is_unpacked(tmp_path):
    (tmp_path / "a.zip").write_bytes(nested(3))
    unpack([tmp_path / "a.zip"], tmp_path / "videos", workers=0)
    assert (tmp_path / "videos" / "a.avi").read_bytes() == b"frames"


def test_more_than_the_list_can_need_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_limits, "FLOOR_BYTES", 1000)
    monkeypatch.setattr(archive_limits, "VIDEO_BYTES", 500)
    Budget(tmp_path / "a.zip", 2000, tmp_path, listed=10).take(4000)
    with pytest.raises(UserError, match="far more than the listed videos can need"):
        Budget(tmp_path / "a.zip", 2000, tmp_path, listed=10).take(6000)


def test_what_the_disk_cannot_hold_is_refused_before_it_is_full(tmp_path, small_disk):
    place = small_disk("100m")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.avi", bytes(40 * 2**20))
    with pytest.raises(UserError, match=r"MB are free; make room and run the same command again"):
        unpack([tmp_path / "a.zip"], place / "videos", workers=0)
    assert size_below(place) == 0


def test_a_program_that_unpacks_is_stopped(tmp_path, monkeypatch):
    from cvrl.preparation import archives

    monkeypatch.setattr(archives, "_LOOK_EVERY_S", 0.1)
    budget = Budget(tmp_path / "a.rar", 10, tmp_path, listed=None)
    fill = f"dd if=/dev/zero of={tmp_path}/zeros bs=1M count=100 status=none; sleep 60"
    began = time.monotonic()
    with (
        pytest.raises(UserError, match="over 100 times its size"),
        (tmp_path / "log").open("w") as log,
    ):
        archives._run_bounded(["sh", "-c", fill], Path(tmp_path), budget, log)
    assert time.monotonic() - began < 30
