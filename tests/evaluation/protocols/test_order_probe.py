"""The probe finds an order that features hold, and no order in features that hold none."""

import pytest
import torch

from cvrl.evaluation.features.extraction import Features
from cvrl.evaluation.protocols.order_probe import ORDERS, order_probe, order_tuples
from cvrl.utils.errors import UserError


def features(videos, clips=3, time=0.0, dim=8, seed=0, same_start=()):
    """Noise for each video and clip, plus a first dimension that grows with time, through 0."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.arange(float(clips)).repeat(videos)
    index = torch.arange(videos).repeat_interleave(clips)
    for video in same_start:
        start[index == video] = 0.0
    vectors = torch.randn(videos * clips, dim, generator=generator)
    vectors[:, 0] += time * (start - 1)
    return Features(vectors, index, start, start + 1, videos)


def test_every_order_of_every_video_is_asked_once():
    found = features(4)
    joined, order, video = order_tuples(found)
    assert joined.shape == (24, 24)
    assert order.view(4, 6).tolist() == [list(range(6))] * 4
    assert video.tolist() == [v for v in range(4) for _ in range(6)]


def test_a_tuple_joins_unit_features_in_its_order():
    found = features(2)
    joined, order, video = order_tuples(found)
    for row, number, of in zip(joined, order.tolist(), video.tolist(), strict=True):
        for slot, place in enumerate(ORDERS[number]):
            vector = found.vectors_ND[3 * of + place]
            torch.testing.assert_close(row[8 * slot : 8 * slot + 8], vector / vector.norm())


def test_of_more_clips_the_first_the_middle_and_the_last_are_taken():
    found = features(1, clips=5)
    joined, _, _ = order_tuples(found)
    picked = torch.nn.functional.normalize(found.vectors_ND[[0, 2, 4]])
    torch.testing.assert_close(joined[0], picked.flatten())


def test_clips_are_sorted_by_time_first():
    found = features(1)
    turned = Features(
        found.vectors_ND.flip(0), found.index_N, found.start_N.flip(0), found.end_N.flip(0), 1
    )
    torch.testing.assert_close(order_tuples(found)[0], order_tuples(turned)[0])


def test_features_that_grow_with_time_tell_the_order():
    train, test = features(40, time=9.0), features(20, time=9.0, seed=1)
    probe, short = order_probe(train, test, torch.arange(40))
    assert probe.scores.top1 > 0.8 and short == 0


def test_features_without_time_stay_at_chance():
    train, test = features(40), features(40, seed=1)
    probe, _ = order_probe(train, test, torch.arange(40))
    assert abs(probe.scores.top1 - 1 / 6) < 0.1


def test_videos_too_short_for_three_clips_are_counted():
    train, test = features(20, time=2.0), features(10, time=2.0, same_start=(3, 7))
    _, short = order_probe(train, test, torch.arange(20))
    assert short == 2


@pytest.mark.parametrize("bad", [features(3, clips=2), features(2, same_start=(0, 1))])
def test_too_few_clips_are_refused(bad):
    with pytest.raises(UserError, match="order probe"):
        order_tuples(bad)
