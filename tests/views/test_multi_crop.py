"""Large clips first, small ones after, every one exact in time and free of the others."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cvrl.data.clips import ClipSpec
from cvrl.transforms import recipes
from cvrl.utils.errors import UserError
from cvrl.views.multi_crop import MultiCrop


@given(
    length=st.integers(1, 400),
    frames=st.integers(1, 20),
    stride=st.integers(1, 6),
    clips=st.integers(1, 4),
    small=st.integers(1, 6),
    short=st.sampled_from(["loop", "repeat"]),
    seed=st.integers(0, 2**20),
)
def test_every_clip_has_exact_stride_inside_the_video(
    length, frames, stride, clips, small, short, seed
):
    spec = ClipSpec(frames, stride, short)
    plan = MultiCrop(spec, clips=clips, small=small).plan(length, 25.0, np.random.default_rng(seed))
    assert plan.ticks_VT.shape == (clips + small, frames)
    assert plan.start_V.shape == plan.order_V.shape == (clips + small,)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    assert (plan.ticks_VT[:, 0] == plan.start_V).all()
    if length >= spec.span:
        assert (np.diff(plan.ticks_VT, axis=1) == stride).all()


def starts(length, draws=3000):
    views, rng = MultiCrop(ClipSpec(4, 1)), np.random.default_rng(1)
    return np.array([views.plan(length, 25.0, rng).start_V for _ in range(draws)])


def test_every_row_starts_anywhere_alike_and_by_itself():
    start = starts(length=13)  # ten places
    for row in start.T:
        assert stats.chisquare(np.bincount(row, minlength=10)).pvalue > 1e-4
    correlation = np.corrcoef(start.T) - np.eye(start.shape[1])
    assert np.abs(correlation).max() < 0.1


def test_a_short_video_is_drawn_from_all_of_its_frames():
    assert set(np.unique(starts(length=3))) == {0, 1, 2}


def test_the_paper_has_two_large_and_smaller_ones_of_small_parts():
    views = MultiCrop(ClipSpec(8, 2))
    assert views.clips == 2 and views.kinds == {"crops"} and not views.arranges
    assert (views.small.count, views.small.size, views.small.area) == (4, 96, (0.05, 0.14))


def test_the_augmentation_is_cut_smaller_for_them():
    views = MultiCrop(ClipSpec(4, 1), small=3, small_size=16, small_area=(0.1, 0.2))
    recipe = recipes.build("light", 32, area=(0.3, 1.0)).recropped(
        views.small.size, views.small.area
    )
    clips = torch.randint(0, 256, (3, 3, 4, 40, 60), dtype=torch.uint8)
    assert recipe(clips, torch.Generator().manual_seed(0)).shape == (3, 3, 4, 16, 16)


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"clips": 0}, "views.clips"),
        ({"small": 0}, "views.small"),
        ({"small_size": 0}, "views.small_size"),
        ({"small_area": (0.0, 0.1)}, "views.small_area"),
        ({"small_area": (0.3, 0.1)}, "views.small_area"),
        ({"small_area": (0.3, 1.1)}, "views.small_area"),
    ],
)
def test_bad_keywords_are_refused_by_name(keywords, name):
    with pytest.raises(UserError, match=name):
        MultiCrop(ClipSpec(8, 2), **keywords)
