"""Instance retrieval against a plain loop, chance where chance is due, and groups."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cvrl.evaluation.features.extraction import Features
from cvrl.evaluation.protocols.instance import instance_retrieval
from cvrl.utils.errors import UserError


def clips_of(vectors_VCD: torch.Tensor, start_VC: torch.Tensor | None = None) -> Features:
    """Features of V videos with C clips each."""
    videos, clips = vectors_VCD.shape[:2]
    start = torch.arange(clips).repeat(videos, 1) if start_VC is None else start_VC
    index = torch.arange(videos).repeat_interleave(clips)
    return Features(vectors_VCD.flatten(0, 1), index, start.flatten(), start.flatten() + 1, videos)


def random_clips(videos: int, clips: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(videos, 1, 4, generator=generator)
    return own + spread * torch.randn(videos, clips, 4, generator=generator)


def recall_by_loop(vectors_VCD: torch.Tensor, group: list[int], k: int) -> float:
    """Sort every query's candidates and look for the partner."""
    ends = [(v, c) for v in range(len(vectors_VCD)) for c in (0, -1)]
    hits = 0
    for video, clip in ends:
        query = vectors_VCD[video, clip].tolist()
        near = []
        for other, end in ends:
            same_group = group[other] == group[video] and group[video] >= 0
            if (other, end) == (video, clip) or (other != video and same_group):
                continue
            value = vectors_VCD[other, end].tolist()
            dot = math.fsum(x * y for x, y in zip(query, value, strict=True))
            near.append((dot / math.hypot(*value), other))
        hits += video in [other for _, other in sorted(near, reverse=True)[:k]]
    return hits / len(ends)


@settings(max_examples=40, deadline=None)
@given(videos=st.integers(2, 9), clips=st.integers(2, 4), seed=st.integers(0, 999), data=st.data())
def test_equals_the_loop(videos: int, clips: int, seed: int, data: st.DataObject) -> None:
    group = data.draw(st.lists(st.integers(-1, 3), min_size=videos, max_size=videos))
    vectors = random_clips(videos, clips, seed)
    scores = instance_retrieval(clips_of(vectors), torch.tensor(group), chunk=5)
    assert scores.r1 == pytest.approx(recall_by_loop(vectors, group, 1))
    assert scores.r5 == pytest.approx(recall_by_loop(vectors, group, 5))
    assert scores.n_queries == 2 * videos


def test_distinct_videos_are_found() -> None:
    scores = instance_retrieval(clips_of(random_clips(20, 2, seed=0, spread=1e-3)))
    assert (scores.r1, scores.r5) == (1.0, 1.0)
    assert scores.alignment < 1e-4


@pytest.mark.parametrize("videos", [2, 10, 50])
def test_a_collapsed_encoder_gets_chance(videos: int) -> None:
    scores = instance_retrieval(clips_of(torch.ones(videos, 2, 8)))
    assert scores.r1 == pytest.approx(scores.chance_r1)
    assert scores.r5 == pytest.approx(scores.chance_r5)


def test_chance_counts_the_candidates() -> None:
    scores = instance_retrieval(clips_of(random_clips(10, 2, seed=0)))
    assert scores.chance_r1 == pytest.approx(1 / 19)
    assert scores.chance_r5 == pytest.approx(5 / 19)
    two = instance_retrieval(clips_of(random_clips(2, 2, seed=0)))
    assert (two.chance_r1, two.chance_r5) == (pytest.approx(1 / 3), 1.0)


def test_chance_leaves_out_the_own_group() -> None:
    group = torch.tensor([0, 0, 1, -1])
    scores = instance_retrieval(clips_of(random_clips(4, 2, seed=0)), group)
    assert scores.chance_r1 == pytest.approx((4 * (1 / 5) + 4 * (1 / 7)) / 8)


def test_random_features_are_near_chance() -> None:
    vectors = torch.randn(300, 2, 16, generator=torch.Generator().manual_seed(0))
    scores = instance_retrieval(clips_of(vectors))
    assert abs(scores.r5 - scores.chance_r5) < 0.02


def test_only_the_ends_of_a_video_count() -> None:
    vectors = random_clips(6, 5, seed=3)
    ends = vectors[:, [0, 4]]
    middle_changed = vectors.clone()
    middle_changed[:, 1:4] = 100.0
    expected = instance_retrieval(clips_of(ends))
    assert instance_retrieval(clips_of(middle_changed)) == expected


def test_short_videos_are_scored_and_counted() -> None:
    start = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    scores = instance_retrieval(clips_of(random_clips(3, 2, seed=0), start))
    assert (scores.n_same_clip, scores.n_queries) == (2, 6)


def test_refusals() -> None:
    with pytest.raises(UserError, match="--clips 2"):
        instance_retrieval(clips_of(random_clips(3, 1, seed=0)))
    with pytest.raises(UserError, match="two videos"):
        instance_retrieval(clips_of(random_clips(1, 2, seed=0)))
