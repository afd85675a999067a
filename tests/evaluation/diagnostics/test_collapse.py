"""The monitors on embeddings whose values are known."""

import math

import pytest
import torch

from cvrl.evaluation.diagnostics.collapse import (
    alignment,
    diagnose,
    effective_rank,
    embedding_std,
    uniformity,
)


def normal(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


class TestStd:
    @pytest.mark.parametrize("dim", [16, 128, 512])
    def test_an_even_cover_has_spread_one(self, dim: int) -> None:
        assert embedding_std(normal(4000, dim)) == pytest.approx(1.0, abs=0.02)

    def test_a_collapse_to_a_point_has_none(self) -> None:
        assert embedding_std(torch.ones(10, 8)) == pytest.approx(0.0, abs=1e-12)
        assert embedding_std(torch.linspace(1, 9, 10)[:, None] * torch.ones(8)) < 1e-7

    def test_a_narrow_cone_has_little(self) -> None:
        assert 0 < embedding_std(10 + normal(1000, 64)) < 0.2

    def test_norms_do_not_matter(self) -> None:
        z = normal(50, 8)
        assert embedding_std(z * torch.linspace(1, 9, 50)[:, None]) == pytest.approx(
            embedding_std(z)
        )


class TestRank:
    @pytest.mark.parametrize("rank", [1, 3, 8])
    def test_equal_singular_values_count_dimensions(self, rank: int) -> None:
        basis = torch.linalg.qr(normal(20, 8).double()).Q[:, :rank]
        other = torch.linalg.qr(normal(8, 8, seed=1).double()).Q[:rank]
        assert effective_rank(basis @ other) == pytest.approx(rank, abs=1e-6)

    def test_equals_the_definition(self) -> None:
        z = normal(30, 5)
        values = torch.linalg.svd(z.double()).S.tolist()
        shares = [v / math.fsum(values) for v in values]
        expected = math.exp(-math.fsum(p * math.log(p) for p in shares))
        assert effective_rank(z) == pytest.approx(expected, abs=1e-9)

    def test_scale_does_not_matter(self) -> None:
        z = normal(30, 5)
        assert effective_rank(1000 * z) == pytest.approx(effective_rank(z))

    def test_nothing_at_all(self) -> None:
        assert effective_rank(torch.zeros(4, 3)) == 0.0


class TestAlignment:
    def test_equals_the_definition(self) -> None:
        a, b = normal(7, 4).double(), normal(7, 4, seed=1).double()
        pairs = [(x / x.norm() - y / y.norm()).norm() ** 2 for x, y in zip(a, b, strict=True)]
        assert alignment(a, b) == pytest.approx(float(sum(pairs) / 7), abs=1e-12)

    def test_ends_of_the_scale(self) -> None:
        z = normal(6, 4)
        assert alignment(z, 3 * z) == pytest.approx(0.0, abs=1e-12)
        assert alignment(z, -z) == pytest.approx(4.0)

    def test_different_shapes(self) -> None:
        with pytest.raises(ValueError, match="differ in shape"):
            alignment(normal(3, 4), normal(4, 4))


class TestUniformity:
    def test_equals_the_definition(self) -> None:
        z = normal(6, 4).double()
        unit = z / z.norm(dim=1, keepdim=True)
        terms = [
            math.exp(-2 * float((unit[i] - unit[j]).norm()) ** 2)
            for i in range(6)
            for j in range(i)
        ]
        assert uniformity(z) == pytest.approx(math.log(math.fsum(terms) / 15), abs=1e-9)

    def test_even_beats_collapsed(self) -> None:
        assert uniformity(normal(200, 64)) < -3.5
        assert uniformity(torch.ones(20, 8)) == pytest.approx(0.0, abs=1e-12)


class TestDiagnose:
    def test_all_monitors(self) -> None:
        z = normal(100, 8)
        assert diagnose(z) == {
            "embedding_std": embedding_std(z),
            "effective_rank": effective_rank(z),
            "uniformity": uniformity(z),
        }

    def test_many_rows_are_thinned_evenly(self) -> None:
        z = normal(1001, 8)
        assert diagnose(z, max_rows=11) == diagnose(z[::100])

    @pytest.mark.parametrize("z", [torch.ones(1, 3), torch.ones(4), torch.ones(2, 2, 2)])
    def test_not_a_set_of_embeddings(self, z: torch.Tensor) -> None:
        for monitor in (embedding_std, effective_rank, uniformity):
            with pytest.raises(ValueError, match=r"N > 1"):
                monitor(z)
