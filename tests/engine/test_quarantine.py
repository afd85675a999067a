"""Bad videos are named once, counted over restarts, and too many end the run."""

import pytest

from cvrl.engine.quarantine import Quarantine
from cvrl.utils.errors import UserError


def test_each_video_is_listed_once_over_restarts(tmp_path):
    first = Quarantine(tmp_path, videos=10, max_fraction=0.3)
    first.add([("a, b.mp4", 'cut "short"'), ("a, b.mp4", "again")])
    second = Quarantine(tmp_path, videos=10, max_fraction=0.3)
    second.add([("a, b.mp4", "again"), ("c.mp4", "empty")])
    assert second.count == 2
    lines = (tmp_path / "quarantine.csv").read_text().splitlines()
    assert lines == ["path,reason", '"a, b.mp4","cut ""short"""', "c.mp4,empty"]


def test_too_many_bad_videos_end_the_run(tmp_path):
    quarantine = Quarantine(tmp_path, videos=10, max_fraction=0.1)
    quarantine.add([("a.mp4", "x")])
    with pytest.raises(UserError, match=r"2 of 10 videos.*a\.mp4.*inspect_data"):
        quarantine.add([("b.mp4", "y")])


def test_other_ranks_count_without_writing(tmp_path):
    quarantine = Quarantine(tmp_path, videos=10, max_fraction=0.5, writes=False)
    quarantine.add([("a.mp4", "x")])
    assert quarantine.count == 1 and list(tmp_path.iterdir()) == []


def test_no_bad_videos_no_file(tmp_path):
    Quarantine(tmp_path, videos=10, max_fraction=0.0).add([])
    assert list(tmp_path.iterdir()) == []
