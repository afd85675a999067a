"""The masks: every pair is positive, negative or ignored, and for the right reason."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cvrl.losses.masks import same_group, view_masks

Rows = list[tuple[int, int, int]]
rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=6
)


def columns(table: Rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    video, view, group = torch.tensor(table).T
    return video, view, group


@settings(max_examples=50, deadline=None)
@given(rows, rows)
def test_each_pair_is_what_the_definition_says(anchors: Rows, keys: Rows) -> None:
    (video_A, view_A, group_A), (video_K, view_K, group_K) = columns(anchors), columns(keys)
    positive, negative = view_masks(video_A, view_A, video_K, view_K, group_A, group_K)
    for i, (video, view, group) in enumerate(anchors):
        for j, (key_video, key_view, key_group) in enumerate(keys):
            duplicate = group >= 0 and group == key_group
            assert positive[i, j] == (video == key_video and view != key_view)
            assert negative[i, j] == (video != key_video and not duplicate)


def test_without_groups_every_other_video_is_negative() -> None:
    video, view = torch.arange(3), torch.zeros(3, dtype=torch.long)
    positive, negative = view_masks(video, view, video, view + 1)
    assert torch.equal(positive, torch.eye(3, dtype=torch.bool))
    assert torch.equal(negative, ~torch.eye(3, dtype=torch.bool))


def test_many_views_of_a_video_are_all_positive() -> None:
    video, view = torch.zeros(4, dtype=torch.long), torch.arange(4)
    positive, negative = view_masks(video, view, video, view)
    assert torch.equal(positive, ~torch.eye(4, dtype=torch.bool))
    assert not negative.any()


def test_a_group_never_swallows_the_positive() -> None:
    video, view = torch.tensor([0, 0]), torch.tensor([0, 1])
    group = torch.tensor([5, 5])
    positive, _ = view_masks(video, view, video, view, group, group)
    assert positive[0, 1] and positive[1, 0]


def test_unknown_groups_match_nothing() -> None:
    assert not same_group(torch.tensor([-1, -1]), torch.tensor([-1, 0])).any()


def test_groups_for_one_side_only_are_refused() -> None:
    ids = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="anchors and the keys"):
        view_masks(ids, ids, ids, ids, group_A=ids)
