"""A few labels: as many of each class, the same every time, the fewer among the more."""

from itertools import pairwise

import numpy as np
import pytest

from cvrl.data.label_draw import draw_labelled
from cvrl.data.manifest import make_manifest
from cvrl.utils.errors import UserError

LABELS = ["run"] * 40 + ["jump"] * 10 + [None] * 7 + ["walk"] * 3


@pytest.fixture
def videos():
    return make_manifest({"path": [f"{i}.mp4" for i in range(60)], "label": LABELS}, root="/")


def counts(videos, rows):
    return {name: sum(LABELS[row] == name for row in rows) for name in ("run", "jump", "walk")}


def test_as_many_of_each_class(videos):
    rows = draw_labelled(videos, per_class=3, seed=1)
    assert counts(videos, rows) == {"run": 3, "jump": 3, "walk": 3}
    assert len(set(rows)) == 9 and (np.diff(rows) > 0).all()


def test_a_fraction_of_each_class_and_never_none(videos):
    assert counts(videos, draw_labelled(videos, fraction=0.1)) == {"run": 4, "jump": 1, "walk": 1}
    assert counts(videos, draw_labelled(videos, fraction=1.0)) == {"run": 40, "jump": 10, "walk": 3}


def test_the_seed_decides_and_nothing_else(videos):
    again = make_manifest({"path": [f"{i}.mp4" for i in range(60)], "label": LABELS}, root="/")
    first = draw_labelled(videos, per_class=3, seed=1)
    np.testing.assert_array_equal(first, draw_labelled(again, per_class=3, seed=1))
    assert set(first) != set(draw_labelled(videos, per_class=3, seed=2))


def test_fewer_labels_are_among_more(videos):
    draws = [set(draw_labelled(videos, fraction=share, seed=4)) for share in (0.05, 0.1, 0.5, 1.0)]
    for fewer, more in pairwise(draws):
        assert fewer < more
    assert draws[0] < set(draw_labelled(videos, per_class=3, seed=4)) < draws[-1]


def test_every_video_of_a_class_is_as_likely(videos):
    drawn = np.concatenate([draw_labelled(videos, per_class=1, seed=seed) for seed in range(400)])
    hits = np.bincount(drawn, minlength=60)[40:50]  # of the ten that jump, 40 draws each
    assert hits.sum() == 400 and ((hits - 40) ** 2 / 40).sum() < 27.9  # chi2(9), p = 0.001


def test_too_few_videos_of_a_class_are_named(videos):
    with pytest.raises(UserError, match=r"3 training videos of class walk, fewer than 5"):
        draw_labelled(videos, per_class=5)


def test_a_list_without_labels_is_refused():
    with pytest.raises(UserError, match="no labels to draw from"):
        draw_labelled(make_manifest({"path": ["a.mp4"]}, root="/"), per_class=1)


@pytest.mark.parametrize("wish", [{}, {"per_class": 1, "fraction": 0.1}])
def test_how_many_is_said_once(videos, wish):
    with pytest.raises(ValueError, match="not both"):
        draw_labelled(videos, **wish)
