"""The order of visits depends on the seed and the step alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.sampler import Visit, VisitSampler


def visits(**keywords):
    return list(VisitSampler(**keywords))


@given(
    videos=st.integers(8, 60),
    batch_size=st.integers(1, 8),
    seed=st.integers(0, 1000),
    last_step=st.integers(1, 12),
    data=st.data(),
)
def test_resuming_gives_the_rest(videos, batch_size, seed, last_step, data):
    first_step = data.draw(st.integers(0, last_step))
    whole = visits(videos=videos, batch_size=batch_size, seed=seed, last_step=last_step)
    rest = visits(
        videos=videos, batch_size=batch_size, seed=seed, first_step=first_step, last_step=last_step
    )
    assert rest == whole[first_step:]


@given(st.integers(8, 40), st.integers(1, 8), st.integers(1, 4), st.integers(1, 3))
def test_ranks_and_parts_share_the_batch_in_order(videos, batch_size, world_size, accumulate):
    common = {"videos": videos, "batch_size": batch_size, "seed": 3, "last_step": 5}
    whole = visits(**common)
    shares = [
        visits(**common, accumulate=accumulate, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for step, batch in enumerate(whole):
        joined = [
            visit
            for part in range(accumulate)
            for share in shares
            for visit in share[step * accumulate + part]
        ]
        assert joined == batch


@given(st.integers(4, 50), st.integers(1, 4), st.integers(0, 99))
def test_an_epoch_visits_each_video_at_most_once(videos, batch_size, seed):
    steps = videos // batch_size
    batches = visits(videos=videos, batch_size=batch_size, seed=seed, last_step=2 * steps)
    for epoch in (0, 1):
        seen = [v.video for batch in batches for v in batch if v.epoch == epoch]
        assert len(seen) == len(set(seen)) == steps * batch_size
        assert all(0 <= index < videos for index in seen)


def test_epochs_and_seeds_differ():
    first, second = (
        [
            v.video
            for batch in visits(videos=50, batch_size=50, seed=0, last_step=2)[e : e + 1]
            for v in batch
        ]
        for e in (0, 1)
    )
    assert sorted(first) == sorted(second) and first != second
    other = visits(videos=50, batch_size=50, seed=1, last_step=1)[0]
    assert [v.video for v in other] != first


def test_length_counts_parts():
    sampler = VisitSampler(videos=10, batch_size=4, seed=0, first_step=1, last_step=4, accumulate=2)
    assert len(sampler) == 6 == len(list(sampler))
    assert sampler.steps_per_epoch == 2
    assert isinstance(next(iter(sampler))[0], Visit)


def test_too_few_videos_are_refused():
    with pytest.raises(ValueError, match="3 videos do not fill a batch of 4"):
        VisitSampler(videos=3, batch_size=4, seed=0, last_step=1)
