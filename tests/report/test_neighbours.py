"""Searches: that the nearest are found, judged rightly, and shown without choosing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cvrl.data.dataset import VideoReader
from cvrl.data.manifest import Manifest, make_manifest
from cvrl.evaluation.features.extraction import Features
from cvrl.report.comparison import Comparison
from cvrl.report.neighbours import _file_caption, find_neighbours


def videos(labels: list[str | None], groups: list[str] | None = None, tag: str = "t") -> Manifest:
    paths = [f"{tag}{i}.mp4" for i in range(len(labels))]
    columns: dict[str, object] = {"path": paths}
    if any(labels):
        columns["label"] = labels
    if groups:
        columns["group"] = groups
    return make_manifest(columns, root="/v")


def features(vectors: Tensor, clips: int = 1) -> Features:
    """`clips` clips a video, the rows of `vectors` in order."""
    n_videos = len(vectors) // clips
    index = torch.arange(n_videos).repeat_interleave(clips)
    start = torch.arange(clips).repeat(n_videos).double()
    return Features(vectors, index, start, start + 1, n_videos)


def labelled(test: Tensor, train: Tensor, untrained: tuple[Tensor, Tensor]) -> Comparison:
    """Queries and gallery of classes a, b in turn; still is of no interest here."""
    names = [["a", "b"][i % 2] for i in range(max(len(test), len(train)))]
    return Comparison(
        test=videos(names[: len(test)]),
        train=videos(names[: len(train)], tag="g"),
        test_features={"trained": features(test), "untrained": features(untrained[0])},
        train_features={"trained": features(train), "untrained": features(untrained[1])},
        reader=VideoReader(),
    )


@pytest.fixture
def by_axis() -> Comparison:
    """Trained: class a along x and b along y. Untrained: the other way round in the gallery."""
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    test = torch.stack([x, y])
    train = torch.stack([x + 0.1 * y, y + 0.1 * x, x + 0.2 * y, y + 0.2 * x])
    return labelled(test, train, (test, train.flip(1)))


def test_the_nearest_are_found_in_order_and_judged_by_label(by_axis: Comparison) -> None:
    hood = find_neighbours(by_axis, k=2, shown=2)
    assert hood.by_label and hood.k == 2 and hood.queries == 2
    first = hood.searches[0]
    assert first.query.caption == "a" and first.query.path == "/v/t0.mp4"
    assert [hit.entry.path for hit in first.found["trained"]] == ["/v/g0.mp4", "/v/g2.mp4"]
    assert [hit.right for hit in first.found["trained"]] == [True, True]
    assert [hit.right for hit in first.found["untrained"]] == [False, False]
    similarity = [hit.similarity for hit in first.found["trained"]]
    assert similarity == pytest.approx([1 / 1.01**0.5, 1 / 1.04**0.5])


def test_the_share_is_over_all_queries_not_the_shown_ones(by_axis: Comparison) -> None:
    hood = find_neighbours(by_axis, k=2, shown=1)
    assert len(hood.searches) == 1
    assert hood.share_right == {"trained": 1.0, "untrained": 0.0}
    assert find_neighbours(by_axis, k=4).share_right == {"trained": 0.5, "untrained": 0.5}


def test_length_of_a_feature_does_not_matter(by_axis: Comparison) -> None:
    scaled = by_axis.train_features | {
        "trained": features(by_axis.train_means("trained") * torch.tensor([[9.0], [1], [5], [1]]))
    }
    longer = replace(by_axis, train_features=scaled)
    for one, other in zip(
        find_neighbours(longer, k=2).searches, find_neighbours(by_axis, k=2).searches, strict=True
    ):
        for name in ("trained", "untrained"):
            assert [h.entry for h in one.found[name]] == [h.entry for h in other.found[name]]


def test_a_small_gallery_gives_what_it_has(by_axis: Comparison) -> None:
    hood = find_neighbours(by_axis, k=50)
    assert hood.k == 4
    assert all(len(found) == 4 for s in hood.searches for found in s.found.values())


def test_shown_queries_are_spread_over_the_classes_and_drawn_by_seed() -> None:
    rng = torch.Generator().manual_seed(0)
    test, train = torch.rand(40, 3, generator=rng), torch.rand(6, 3, generator=rng)
    many = labelled(test, train, (test, train))
    shown = find_neighbours(many, shown=6, seed=0).searches
    assert [search.query.caption for search in shown] == ["a", "a", "a", "b", "b", "b"]
    assert len({search.query.path for search in shown}) == 6
    assert find_neighbours(many, shown=6, seed=0).searches == shown
    assert find_neighbours(many, shown=6, seed=1).searches != shown
    assert len(find_neighbours(many, shown=100).searches) == 40


# --- without labels ------------------------------------------------------------------------------


def instances(groups: list[str] | None = None) -> Comparison:
    """Three videos of two clips. Trained: the clips of a video agree. Untrained: with the next."""
    own = torch.eye(3).repeat_interleave(2, dim=0)
    shifted = torch.stack([own[0], own[2], own[2], own[4], own[4], own[0]])
    return Comparison(
        test=videos([None] * 3, groups),
        train=None,
        test_features={"trained": features(own, 2), "untrained": features(shifted, 2)},
        train_features={},
        reader=VideoReader(),
    )


def test_without_labels_a_clip_searches_for_its_own_video() -> None:
    hood = find_neighbours(instances(), k=1, shown=3)
    assert not hood.by_label
    assert hood.share_right == {"trained": 1.0, "untrained": 0.0}
    search = hood.searches[0]
    assert search.query.start == 0.0 and search.query.caption == "t0.mp4"
    (hit,) = search.found["trained"]
    assert hit.right and hit.entry.path == search.query.path and hit.entry.start == 1.0


def test_captions_of_equal_file_names_name_the_event() -> None:
    assert _file_caption("/v/pour1/cam0.mp4", {"cam0.mp4"}) == "pour1/cam0.mp4"
    assert _file_caption("/v/pour1/cam0.mp4", set()) == "cam0.mp4"


def test_other_videos_of_the_group_are_no_candidates() -> None:
    # Untrained, video 0 finds video 2: of its own group, so the next best counts.
    hood = find_neighbours(instances(groups=["g", "h", "g"]), k=3, shown=3)
    found = hood.searches[0].found["untrained"]
    assert "/v/t2.mp4" not in [hit.entry.path for hit in found]
    assert len(found) == 2


def test_real_features_without_labels(unlabelled: Comparison) -> None:
    hood = find_neighbours(unlabelled, k=5, shown=4)
    assert hood.queries == 12 and len(hood.searches) == 4
    for search in hood.searches:
        assert search.query.caption.endswith(".mp4")
        for found in search.found.values():
            similarity = [hit.similarity for hit in found]
            assert similarity == sorted(similarity, reverse=True)


def test_real_features_with_labels(comparison: Comparison) -> None:
    hood = find_neighbours(comparison, k=3)
    counted = [
        np.mean([hit.right for search in hood.searches for hit in search.found[name]])
        for name in ("trained", "untrained")
    ]
    assert counted == pytest.approx(list(hood.share_right.values()))
