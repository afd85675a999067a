"""Nearest neighbours against a plain loop, and the scores against counting by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cvrl.evaluation.protocols import knn
from cvrl.evaluation.protocols.knn import (
    check_labels,
    clip_k,
    knn_accuracy,
    neighbours,
    score,
    vote,
)
from cvrl.utils.errors import UserError


def features(rows: int, seed: int, dim: int = 5) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def knn_by_loop(
    query: list[list[float]],
    gallery: list[list[float]],
    labels: list[int],
    k: int,
    temperature: float,
    n_classes: int,
) -> list[list[float]]:
    """The definition in plain Python: cosines, the k largest, a weighted count."""

    def cosine(x: list[float], y: list[float]) -> float:
        dot = math.fsum(p * q for p, q in zip(x, y, strict=True))
        return dot / math.hypot(*x) / math.hypot(*y)

    result = []
    for q in query:
        near = sorted(((cosine(q, g), n) for n, g in enumerate(gallery)), reverse=True)[:k]
        votes = [0.0] * n_classes
        for similarity, n in near:
            votes[labels[n]] += math.exp((similarity - near[0][0]) / temperature)
        result.append(votes)
    return result


@settings(max_examples=40, deadline=None)
@given(
    gallery_size=st.integers(1, 12),
    k=st.integers(1, 12),
    n_classes=st.integers(1, 7),
    temperature=st.floats(0.02, 5.0),
    seed=st.integers(0, 1000),
)
def test_votes_equal_the_loop(
    gallery_size: int, k: int, n_classes: int, temperature: float, seed: int
) -> None:
    k = min(k, gallery_size)
    query, gallery = features(4, seed), features(gallery_size, seed + 1)
    labels = torch.randint(
        n_classes, (gallery_size,), generator=torch.Generator().manual_seed(seed)
    )
    similarity, row = neighbours(query, gallery, k)
    got = vote(similarity, labels[row], n_classes, temperature)
    expected = knn_by_loop(
        query.tolist(), gallery.tolist(), labels.tolist(), k, temperature, n_classes
    )
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-4, rtol=1e-4)


class TestNeighbours:
    def test_chunks_do_not_matter(self) -> None:
        query, gallery = features(23, 1), features(40, 2)
        whole = neighbours(query, gallery, 7)
        parts = neighbours(query, gallery, 7, chunk=4)
        assert torch.equal(whole[1], parts[1])
        torch.testing.assert_close(whole[0], parts[0])

    @pytest.mark.parametrize("gallery_chunk", [1, 3, 7, 39, 40])
    @pytest.mark.parametrize("grouped", [False, True])
    def test_chunks_of_the_gallery_do_not_matter(
        self, monkeypatch: pytest.MonkeyPatch, gallery_chunk: int, grouped: bool
    ) -> None:
        query, gallery = features(23, 1), features(40, 2)
        keywords = {"mean_D": gallery.mean(dim=0)}
        if grouped:
            groups = {"query_groups_M": torch.arange(23), "gallery_groups_N": torch.arange(40) // 2}
            keywords |= groups
        whole = neighbours(query, gallery, 7, **keywords)
        monkeypatch.setattr(knn, "GALLERY_CHUNK", gallery_chunk)
        parts = neighbours(query, gallery, 7, chunk=5, **keywords)
        assert torch.equal(whole[1], parts[1])
        torch.testing.assert_close(whole[0], parts[0])

    def test_norms_do_not_matter(self) -> None:
        query, gallery = features(5, 1), features(9, 2)
        scale = torch.linspace(0.1, 10, 9)[:, None]
        assert torch.equal(
            neighbours(query, gallery, 3)[1], neighbours(7 * query, scale * gallery, 3)[1]
        )

    def test_most_similar_first(self) -> None:
        similarity, _ = neighbours(features(5, 1), features(9, 2), 9)
        assert bool((similarity.diff(dim=1) <= 0).all())

    @pytest.mark.parametrize("k", [0, 10])
    def test_k_out_of_range(self, k: int) -> None:
        with pytest.raises(ValueError, match="k must be 1 to 9"):
            neighbours(features(2, 1), features(9, 2), k)

    def test_half_precision_is_compared_in_float32(self) -> None:
        similarity, _ = neighbours(features(2, 1).bfloat16(), features(3, 2).bfloat16(), 1)
        assert similarity.dtype == torch.float32


class TestVote:
    def test_small_temperature_follows_the_nearest(self) -> None:
        votes = vote(torch.tensor([[0.9, 0.8, 0.8]]), torch.tensor([[0, 1, 1]]), 2, 1e-3)
        assert votes.argmax(dim=1).tolist() == [0]

    def test_large_temperature_counts_heads(self) -> None:
        votes = vote(torch.tensor([[0.9, 0.1, -0.5]]), torch.tensor([[0, 1, 1]]), 2, 1e6)
        torch.testing.assert_close(votes, torch.tensor([[1.0, 2.0]]), atol=1e-4, rtol=0)

    def test_a_tiny_temperature_does_not_overflow(self) -> None:
        votes = vote(torch.tensor([[1.0, 0.99]]), torch.tensor([[0, 1]]), 2, 1e-4)
        assert votes.isfinite().all() and votes[0, 0] == 1


class TestScore:
    def test_counts_by_hand(self) -> None:
        answers = torch.eye(6)[[0, 0, 0, 1, 2, 5]]
        result = score(answers, torch.tensor([0, 0, 1, 1, 2, 2]))
        assert result.top1 == pytest.approx(4 / 6)
        assert result.mean_class == pytest.approx((1 + 0.5 + 0.5) / 3)
        assert result.n_test == 6
        assert result.predicted_M.tolist() == [0, 0, 0, 1, 2, 5]

    def test_classes_without_a_test_row_do_not_enter_the_mean(self) -> None:
        assert score(torch.eye(4)[[1, 1]], torch.tensor([1, 1])).mean_class == 1.0

    def test_top5(self) -> None:
        answers = torch.tensor([[6.0, 5, 4, 3, 2, 1, 0.5]] * 3)
        result = score(answers, torch.tensor([0, 4, 5]))
        assert result.top1 == pytest.approx(1 / 3)
        assert result.top5 == pytest.approx(2 / 3)

    def test_a_class_without_a_vote_is_no_answer(self) -> None:
        """With 2 classes voted for, the other 3 places of a top five are not free hits."""
        votes = torch.zeros(1, 8)
        votes[0, [6, 7]] = 1.0
        assert score(votes, torch.tensor([0])).top5 == 0.0
        assert score(votes, torch.tensor([7])).top5 == 1.0

    @pytest.mark.parametrize(("n_classes", "defined"), [(5, False), (6, True)])
    def test_top5_is_defined_beyond_five_classes(self, n_classes: int, defined: bool) -> None:
        result = score(torch.ones(1, n_classes), torch.tensor([0]))
        assert (result.top5 is not None) == defined

    def test_nothing_to_score(self) -> None:
        with pytest.raises(UserError, match="no videos"):
            score(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))


class TestAccuracy:
    labels = torch.tensor([0, 0, 1, 1])
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])

    def test_separable_classes_are_told_apart(self) -> None:
        query = torch.tensor([[0.8, 0.3], [0.2, 0.7]])
        result = knn_accuracy(query, torch.tensor([0, 1]), self.gallery, self.labels, k=2)
        assert result.top1 == result.mean_class == 1.0

    def test_more_neighbours_than_videos(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("WARNING", logger="cvrl"):
            result = knn_accuracy(self.gallery, self.labels, self.gallery, self.labels, k=20)
        assert result.top1 == 1.0
        assert "k = 20 is more than the 4 training videos" in caplog.text

    def test_k_within_the_gallery_is_silent(self, caplog: pytest.LogCaptureFixture) -> None:
        assert clip_k(4, 4) == 4
        assert caplog.text == ""

    def test_centring_uses_the_mean_of_the_gallery_alone(self) -> None:
        """A shift common to all features hides the classes until the gallery's mean is removed."""
        shift = torch.tensor([100.0, 100.0])
        query, truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        shifted = self.gallery + shift, self.labels
        result = knn_accuracy(query + shift, truth, *shifted, k=2, centre=True)
        assert result.top1 == 1.0
        mean = self.gallery.mean(dim=0)
        by_hand = knn_accuracy(query - mean, truth, self.gallery - mean, self.labels, k=2)
        assert torch.equal(result.predicted_M, by_hand.predicted_M)
        # One query alone scores as it does among others: no mean over the queries is involved.
        alone = knn_accuracy(query[:1] + shift, truth[:1], *shifted, k=2, centre=True)
        assert alone.predicted_M[0] == result.predicted_M[0]

    def test_a_collapsed_encoder_is_at_chance(self) -> None:
        ones, labels = torch.ones(30, 4), torch.arange(30) % 3
        result = knn_accuracy(ones, labels, ones, labels, k=30)
        assert result.top1 == pytest.approx(1 / 3)

    def test_arguments_are_not_changed(self) -> None:
        query, gallery = self.gallery.clone(), self.gallery.clone()
        knn_accuracy(query, self.labels, gallery, self.labels, k=1, centre=True)
        assert torch.equal(query, self.gallery) and torch.equal(gallery, self.gallery)


class TestLabels:
    def test_missing_labels_are_counted_and_the_remedy_named(self) -> None:
        with pytest.raises(UserError, match=r"2 of 3 videos have no label.*--protocol instance"):
            check_labels("train.csv", torch.tensor([0, -1, -1]))

    def test_no_videos(self) -> None:
        with pytest.raises(UserError, match=r"train\.csv: holds no videos"):
            check_labels("train.csv", torch.zeros(0, dtype=torch.long))

    @pytest.mark.parametrize("missing", ["query", "gallery"])
    def test_accuracy_refuses_them(self, missing: str) -> None:
        labels = {"query": torch.tensor([0]), "gallery": torch.tensor([0])}
        labels[missing] = torch.tensor([-1])
        with pytest.raises(UserError, match="no label"):
            knn_accuracy(torch.ones(1, 2), labels["query"], torch.ones(1, 2), labels["gallery"])
