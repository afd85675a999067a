"""The views of a test: both ways give the same, and one decodes less."""

import pytest
import torch

from cvrl.bench import bench_views as views
from cvrl.bench.common.sample_video import write_film
from cvrl.data.clips import ClipSpec
from cvrl.evaluation.prediction.view_stream import Lens
from cvrl.transforms import recipes
from cvrl.transforms.crops import crops_of
from cvrl.utils.errors import UserError

SMALL = {"seconds": 2.0, "height": 48, "width": 64, "frames": 4, "size": 32, "clips": 3}


def test_both_ways_give_the_views_of_the_video(tmp_path):
    film = write_film(tmp_path / "a.mp4", seconds=2, size=(48, 64))
    lens = Lens(ClipSpec(frames=4, stride=2), crops_of(recipes.evaluation(32), number=3))
    once = views.all_at_once(film, lens, 3)
    apart = views.one_by_one(film, lens, 3, 50)
    assert len(once) == len(apart) == 3
    assert all(torch.equal(a, b) for a, b in zip(once, apart, strict=True))
    assert once[0].shape == (3, 3, 4, 32, 32)
    assert not torch.equal(once[0][0], once[0][2]) and not torch.equal(once[0], once[1])


def test_one_decode_serves_all_views():
    report = views.measure(runs=1, **SMALL)
    assert report.goals[0].ratio < 0.8  # also where files are small and opening them counts
    assert report.facts["MB of decoded frames held"] == pytest.approx(
        12 * 48 * 64 * 3 / 1e6, abs=0.1
    )
    assert "views" in report.to_table()


def test_unequal_views_are_no_comparison(monkeypatch):
    one_by_one = views.one_by_one
    monkeypatch.setattr(views, "one_by_one", lambda *args: [v + 1 for v in one_by_one(*args)])
    with pytest.raises(UserError, match="unequal"):
        views.measure(runs=1, **SMALL)
