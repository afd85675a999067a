"""N-pairs, semi-hard triplets and masks of time against plain loops, limits and derivatives."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cvrl.losses.metric import n_pairs, places_of, semi_hard_triplet, time_masks

N, D = 8, 5


def embeddings(seed: int = 0, rows: int = N) -> torch.Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(seed)).double()


def masks(seed: int = 0, density: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    """Any two masks that do not overlap, nobody their own positive or negative."""
    chance = torch.rand(N, N, generator=torch.Generator().manual_seed(seed))
    own = torch.eye(N, dtype=torch.bool)
    return (chance < density) & ~own, (chance > 1 - density) & ~own


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def unit(vector: list[float]) -> list[float]:
    return [x / math.sqrt(dot(vector, vector)) for x in vector]


def n_pairs_by_loop(
    z: torch.Tensor,
    positive: torch.Tensor,
    negative: torch.Tensor,
    temperature: float,
    norm_weight: float,
    normalize: bool,
) -> float:
    """The definition, one exponential at a time."""
    rows = [unit(row) if normalize else row for row in z.tolist()]
    losses = []
    for i, anchor in enumerate(rows):
        ps = [k for k in range(len(rows)) if positive[i, k]]
        ns = [k for k in range(len(rows)) if negative[i, k]]
        if not ps or not ns:
            continue
        total = math.fsum(math.exp(dot(anchor, rows[k]) / temperature) for k in [*ps, *ns])
        shares = [math.exp(dot(anchor, rows[p]) / temperature) / total for p in ps]
        losses.append(-math.fsum(math.log(share) for share in shares) / len(ps))
    norms = math.fsum(dot(row, row) for row in rows) / len(rows)
    return (math.fsum(losses) / len(losses) if losses else 0.0) + norm_weight * norms


def triplet_by_loop(
    z: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float
) -> float:
    """The definition, one pair at a time."""
    rows = [unit(row) for row in z.tolist()]

    def distance(i: int, k: int) -> float:
        return math.fsum((x - y) ** 2 for x, y in zip(rows[i], rows[k], strict=True))

    losses = []
    for a in range(len(rows)):
        far = [distance(a, n) for n in range(len(rows)) if negative[a, n]]
        if not far:
            continue
        for p in range(len(rows)):
            if positive[a, p]:
                near = distance(a, p)
                beyond = [d for d in far if d > near]
                losses.append(max(0.0, margin + near - (min(beyond) if beyond else max(far))))
    return math.fsum(losses) / len(losses) if losses else 0.0


class TestNPairs:
    @settings(max_examples=40, deadline=None)
    @given(
        seed=st.integers(0, 1000),
        density=st.floats(0.05, 0.5),
        temperature=st.sampled_from([0.1, 1.0, 3.0]),
        norm_weight=st.sampled_from([0.0, 0.002]),
        normalize=st.booleans(),
    )
    def test_it_is_the_loop(
        self, seed: int, density: float, temperature: float, norm_weight: float, normalize: bool
    ) -> None:
        z, (positive, negative) = embeddings(seed), masks(seed, density)
        how = {"temperature": temperature, "norm_weight": norm_weight, "normalize": normalize}
        loss = n_pairs(z, positive, negative, **how)
        expected = n_pairs_by_loop(z, positive, negative, **how)
        assert loss.item() == pytest.approx(expected, abs=1e-6, rel=1e-9)

    def test_pairs_with_one_direction_each_are_the_papers_loss(self) -> None:
        """With masks that look across only, it is the mean of both directions' cross entropies."""
        a, p = embeddings(1), embeddings(2)
        z, M = torch.cat([a, p]), len(a)
        across = torch.zeros(2 * M, 2 * M, dtype=torch.bool)
        across[:M, M:] = across[M:, :M] = True
        own = torch.eye(M, dtype=torch.bool).repeat(2, 2) & across
        target = torch.arange(M)
        forth = torch.nn.functional.cross_entropy(a @ p.T, target)
        back = torch.nn.functional.cross_entropy(p @ a.T, target)
        assert n_pairs(z, own, across & ~own).item() == pytest.approx(((forth + back) / 2).item())

    def test_who_is_in_neither_mask_does_not_count(self) -> None:
        z, (positive, negative) = embeddings(), masks()
        positive[:, 3] = negative[:, 3] = positive[3] = negative[3] = False
        moved = z.clone()
        moved[3] += 100.0
        assert torch.equal(n_pairs(z, positive, negative), n_pairs(moved, positive, negative))

    def test_large_scores_do_not_overflow(self) -> None:
        z, (positive, negative) = (1e3 * embeddings()).float(), masks()
        assert torch.isfinite(n_pairs(z, positive, negative, temperature=0.01))

    def test_the_derivative_is_right(self) -> None:
        z, (positive, negative) = embeddings().requires_grad_(), masks()
        assert torch.autograd.gradcheck(
            lambda x: n_pairs(x, positive, negative, temperature=0.5, norm_weight=0.01), (z,)
        )

    def test_the_norm_is_all_that_is_left_without_pairs(self) -> None:
        z, none = embeddings().requires_grad_(), torch.zeros(N, N, dtype=torch.bool)
        loss = n_pairs(z, none, none, norm_weight=0.5)
        assert loss.item() == pytest.approx(0.5 * z.square().sum(dim=1).mean().item())
        loss.backward()
        assert torch.isfinite(z.grad).all()


class TestTriplet:
    @settings(max_examples=40, deadline=None)
    @given(
        seed=st.integers(0, 1000),
        density=st.floats(0.05, 0.5),
        margin=st.sampled_from([0.0, 0.2, 1.0, 5.0]),
    )
    def test_it_is_the_loop(self, seed: int, density: float, margin: float) -> None:
        z, (positive, negative) = embeddings(seed), masks(seed, density)
        loss = semi_hard_triplet(z, positive, negative, margin=margin)
        expected = triplet_by_loop(z, positive, negative, margin)
        assert loss.item() == pytest.approx(expected, abs=1e-6)

    def test_the_negative_is_the_nearest_beyond_the_positive(self) -> None:
        """An anchor at angle 0, its positive at 40 degrees, negatives at 20, 50 and 90."""
        angle = torch.deg2rad(torch.tensor([0.0, 40.0, 20.0, 50.0, 90.0]).double())
        z = torch.stack([angle.cos(), angle.sin()], dim=1)
        positive = torch.zeros(5, 5, dtype=torch.bool)
        negative = positive.clone()
        positive[0, 1], negative[0, 2:] = True, True
        expected = 0.2 + 2 * math.cos(math.radians(50)) - 2 * math.cos(math.radians(40))
        expected = max(0.0, expected)
        found = semi_hard_triplet(z, positive, negative, margin=0.2)
        assert found.item() == pytest.approx(expected) and expected == 0.0
        found = semi_hard_triplet(z, positive, negative, margin=0.5)
        assert found.item() == pytest.approx(0.5 + 2 * (math.cos(angle[3]) - math.cos(angle[1])))

    def test_where_none_is_beyond_it_is_the_farthest(self) -> None:
        angle = torch.deg2rad(torch.tensor([0.0, 90.0, 20.0, 50.0]).double())
        z = torch.stack([angle.cos(), angle.sin()], dim=1)
        positive = torch.zeros(4, 4, dtype=torch.bool)
        negative = positive.clone()
        positive[0, 1], negative[0, 2:] = True, True
        found = semi_hard_triplet(z, positive, negative, margin=0.2)
        assert found.item() == pytest.approx(0.2 + 2.0 - (2 - 2 * math.cos(angle[3])))

    def test_an_anchor_without_a_negative_teaches_nothing(self) -> None:
        z, (positive, negative) = embeddings().requires_grad_(), masks()
        negative[2] = False
        others = torch.arange(N) != 2
        loss = semi_hard_triplet(z, positive, negative)
        assert loss.item() == pytest.approx(triplet_by_loop(z, positive, negative, 0.2), abs=1e-9)
        alone = positive & ~others[:, None]
        assert semi_hard_triplet(z, alone, negative).item() == 0.0

    def test_nothing_to_compare_is_0_with_a_gradient_of_0(self) -> None:
        none, z = torch.zeros(N, N, dtype=torch.bool), embeddings().requires_grad_()
        for positive, negative in ((none, none), (masks()[0], none), (none, masks()[1])):
            loss = semi_hard_triplet(z, positive, negative)
            (gradient,) = torch.autograd.grad(loss, z)
            assert loss.item() == 0.0 and (gradient == 0).all()

    def test_only_directions_count(self) -> None:
        z, (positive, negative) = embeddings(), masks()
        scale = torch.arange(1, N + 1).double()[:, None]
        one, other = (semi_hard_triplet(x, positive, negative) for x in (z, scale * z))
        assert one.item() == pytest.approx(other.item())

    def test_the_derivative_is_right(self) -> None:
        z, (positive, negative) = embeddings().requires_grad_(), masks()
        assert torch.autograd.gradcheck(
            lambda x: semi_hard_triplet(x, positive, negative, margin=5.0), (z,)
        )


@pytest.mark.parametrize("loss", [n_pairs, semi_hard_triplet])
class TestBoth:
    def test_half_precision_is_left(self, loss) -> None:  # type: ignore[no-untyped-def]
        z, (positive, negative) = embeddings().float(), masks()
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss(z, positive, negative)
        assert inside.dtype == torch.float32 and torch.equal(inside, loss(z, positive, negative))

    def test_what_is_not_finite_is_an_error(self, loss) -> None:  # type: ignore[no-untyped-def]
        z = embeddings()
        z[0, 0] = math.inf
        with pytest.raises(FloatingPointError, match="diverged"):
            loss(z, *masks())

    def test_masks_of_another_shape(self, loss) -> None:  # type: ignore[no-untyped-def]
        positive, negative = masks()
        with pytest.raises(ValueError, match="boolean of shape"):
            loss(embeddings(), positive[:, 1:], negative)
        with pytest.raises(ValueError, match="boolean of shape"):
            loss(embeddings(), positive.float(), negative)


class TestTimeMasks:
    @settings(max_examples=40, deadline=None)
    @given(
        clips=st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(-1, 1)),
            min_size=1,
            max_size=10,
        ),
        near=st.integers(0, 6),
        other_videos=st.booleans(),
    )
    def test_it_is_the_loop(
        self, clips: list[tuple[int, int, int]], near: int, other_videos: bool
    ) -> None:
        video, frame, group = (torch.tensor(column) for column in zip(*clips, strict=True))
        found = time_masks(
            video,
            frame / 30.0,
            group,
            near=near / 30,
            far=2 * near / 30,
            other_videos=other_videos,
        )
        for i, (video_i, frame_i, group_i) in enumerate(clips):
            for k, (video_k, frame_k, group_k) in enumerate(clips):
                apart = abs(frame_i - frame_k)
                is_near = video_i == video_k and i != k and apart <= near
                is_far = video_i == video_k and apart > 2 * near
                if other_videos and video_i != video_k:
                    is_far = group_i != group_k or group_i < 0
                assert (bool(found[0][i, k]), bool(found[1][i, k])) == (is_near, is_far)

    def test_a_distance_of_just_the_radius_is_near(self) -> None:
        """0.2 s are 6 frames of 30 a second, whatever 0.7 - 0.5 is in binary."""
        time = torch.arange(60).double() / 30
        near, far = time_masks(
            torch.zeros(60, dtype=torch.long), time, torch.full((60,), -1), near=0.2, far=0.4
        )
        assert near[30].sum() == 12 and far[30].sum() == 60 - 25
        assert not (near & far).any() and (near == near.T).all() and (far == far.T).all()

    def test_equal_times_of_two_videos_are_nothing_alike(self) -> None:
        """The bug of labels that begin anew in every sequence."""
        near, _ = time_masks(
            torch.tensor([0, 1]), torch.zeros(2), torch.tensor([0, 1]), near=1.0, far=2.0
        )
        assert not near.any()


def test_places_without_processes() -> None:
    assert places_of(torch.zeros(4, 2)).tolist() == [0, 1, 2, 3]
