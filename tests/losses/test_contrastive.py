"""InfoNCE and pairwise NCE against plain loops, derivatives, limits, and two real processes."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cvrl.losses import info_nce, nce_pair
from cvrl.losses.contrastive import nce_pair_of_views, soft_info_nce

ROOT = Path(__file__).parents[2]


def embeddings(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(vector: list[float]) -> list[float]:
    norm = math.sqrt(math.fsum(x * x for x in vector))
    return [x / norm for x in vector]


def info_nce_by_loop(
    a: torch.Tensor, b: torch.Tensor, temperature: float, group: list[int] | None = None
) -> float:
    """The definition in plain Python: one clip, one other clip, one exponential at a time."""
    batch = len(a)
    clips = [unit(row) for row in a.tolist()] + [unit(row) for row in b.tolist()]
    losses = []
    for i, anchor in enumerate(clips):
        positive = (i + batch) % (2 * batch)
        terms = []
        for k, other in enumerate(clips):
            if k == i:
                continue
            near_duplicate = (
                group is not None and group[i % batch] == group[k % batch] and group[i % batch] >= 0
            )
            if k != positive and near_duplicate:
                continue
            terms.append(
                (k, math.fsum(x * y for x, y in zip(anchor, other, strict=True)) / temperature)
            )
        numerator = dict(terms)[positive]
        losses.append(-math.log(math.exp(numerator) / math.fsum(math.exp(s) for _, s in terms)))
    return math.fsum(losses) / len(losses)


def info_nce_with_negatives_by_loop(
    a: torch.Tensor, b: torch.Tensor, n: torch.Tensor, temperature: float, group: list[int]
) -> float:
    """As above, with one more clip of each video that is only ever a negative."""
    batch = len(a)
    views = [[unit(row) for row in view.tolist()] for view in (a, b, n)]
    losses = []
    for video in range(batch):
        for view in (0, 1):
            scores = {}
            for other in range(batch):
                for kind in (0, 1, 2):
                    same_group = group[video] == group[other] and group[video] >= 0
                    if (other, kind) == (video, view) or (other != video and same_group):
                        continue
                    products = zip(views[view][video], views[kind][other], strict=True)
                    scores[other, kind] = math.fsum(x * y for x, y in products) / temperature
            total = math.fsum(math.exp(score) for score in scores.values())
            losses.append(math.log(total) - scores[video, 1 - view])
    return math.fsum(losses) / len(losses)


class TestNegativesOfOnesOwn:
    @pytest.mark.parametrize("group", [[0, 1, 2, 3], [0, 0, 1, -1], [5, 5, 5, 5]])
    def test_equals_the_loop(self, group: list[int]) -> None:
        a, b, n = (embeddings(4, 5, seed=seed) for seed in (1, 2, 3))
        got = info_nce(a, b, 0.2, torch.tensor(group), n).item()
        assert got == pytest.approx(info_nce_with_negatives_by_loop(a, b, n, 0.2, group), abs=1e-9)

    def test_a_copy_that_equals_its_clip_costs_most(self) -> None:
        a, b = embeddings(4, 5, seed=1), embeddings(4, 5, seed=2)
        group = torch.full((4,), -1)
        without = info_nce(a, b, 0.2, group)
        far, near = (info_nce(a, b, 0.2, group, n) for n in (-a, a))
        assert without < far < near

    def test_another_shape_is_refused(self) -> None:
        with pytest.raises(ValueError, match="z_negative_BD"):
            info_nce(embeddings(4, 5), embeddings(4, 5), z_negative_BD=embeddings(3, 5))


class TestInfoNCE:
    @pytest.mark.parametrize("batch", [1, 2, 3, 7])
    @pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
    def test_equals_the_double_loop(self, batch: int, temperature: float) -> None:
        a, b = embeddings(batch, 5, seed=1), embeddings(batch, 5, seed=2)
        expected = info_nce_by_loop(a, b, temperature)
        assert info_nce(a, b, temperature).item() == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize(
        "group", [[0, 0, 1, 1, 2], [0, 1, 2, 3, 4], [7, 7, 7, 7, 7], [-1, -1, 3, 3, -1]]
    )
    def test_equals_the_double_loop_with_groups(self, group: list[int]) -> None:
        a, b = embeddings(5, 4, seed=3), embeddings(5, 4, seed=4)
        got = info_nce(a, b, 0.2, group_id=torch.tensor(group)).item()
        assert got == pytest.approx(info_nce_by_loop(a, b, 0.2, group), abs=1e-9)

    @settings(max_examples=30, deadline=None)
    @given(
        batch=st.integers(1, 6),
        dim=st.integers(1, 4),
        seed=st.integers(0, 10_000),
        temperature=st.floats(0.05, 2.0),
        data=st.data(),
    )
    def test_equals_the_double_loop_for_any_batch(
        self, batch: int, dim: int, seed: int, temperature: float, data: st.DataObject
    ) -> None:
        group = data.draw(st.lists(st.integers(-1, 3), min_size=batch, max_size=batch))
        a, b = embeddings(batch, dim, seed=seed), embeddings(batch, dim, seed=seed + 1)
        got = info_nce(a, b, temperature, group_id=torch.tensor(group)).item()
        assert got == pytest.approx(info_nce_by_loop(a, b, temperature, group), abs=1e-9)

    def test_every_clip_its_own_group_changes_nothing(self) -> None:
        a, b = embeddings(4, 3, seed=1), embeddings(4, 3, seed=2)
        assert torch.equal(info_nce(a, b), info_nce(a, b, group_id=torch.arange(4)))

    def test_negative_group_ids_mean_no_group(self) -> None:
        a, b = embeddings(4, 3, seed=1), embeddings(4, 3, seed=2)
        assert torch.equal(info_nce(a, b), info_nce(a, b, group_id=torch.full((4,), -1)))

    def test_derivative(self) -> None:
        a = embeddings(3, 4, seed=1).requires_grad_()
        b = embeddings(3, 4, seed=2).requires_grad_()
        group = torch.tensor([0, 0, 1])
        assert torch.autograd.gradcheck(lambda x, y: info_nce(x, y, 0.3), (a, b))
        assert torch.autograd.gradcheck(lambda x, y: info_nce(x, y, 0.3, group), (a, b))

    def test_symmetric_in_the_views(self) -> None:
        a, b = embeddings(6, 8, seed=1), embeddings(6, 8, seed=2)
        assert info_nce(a, b).item() == pytest.approx(info_nce(b, a).item(), abs=1e-12)

    def test_order_of_the_batch_does_not_matter(self) -> None:
        a, b = embeddings(6, 8, seed=1), embeddings(6, 8, seed=2)
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        assert info_nce(a, b).item() == pytest.approx(
            info_nce(a[order], b[order]).item(), abs=1e-12
        )

    def test_norm_of_the_embeddings_does_not_matter(self) -> None:
        a, b = embeddings(6, 8, seed=1), embeddings(6, 8, seed=2)
        assert info_nce(a, b).item() == pytest.approx(info_nce(5 * a, b / 7).item(), abs=1e-12)

    def test_high_temperature_tends_to_the_log_of_the_candidates(self) -> None:
        a, b = embeddings(6, 8, seed=1), embeddings(6, 8, seed=2)
        assert info_nce(a, b, temperature=1e9).item() == pytest.approx(math.log(11), abs=1e-6)

    def test_low_temperature_tends_to_zero_when_the_positive_is_nearest(self) -> None:
        z = torch.eye(5, dtype=torch.float64)
        assert info_nce(z, z, temperature=1e-4).item() == 0.0

    def test_low_temperature_does_not_overflow_when_the_positive_is_far(self) -> None:
        z = torch.eye(4)
        loss = info_nce(z, -z, temperature=1e-3)
        assert loss.item() == pytest.approx(1000 + math.log(6), rel=1e-5)

    def test_all_clips_alike_is_the_log_of_the_candidates(self) -> None:
        z = torch.ones(8, 16)
        assert info_nce(z, z).item() == pytest.approx(math.log(15), rel=1e-6)

    def test_a_single_video_has_loss_and_gradient_zero(self) -> None:
        a = embeddings(1, 4, seed=1).requires_grad_()
        loss = info_nce(a, embeddings(1, 4, seed=2))
        loss.backward()
        assert loss.item() == 0.0
        assert a.grad is not None and not a.grad.any()

    def test_a_batch_of_one_group_has_loss_and_gradient_zero(self) -> None:
        a = embeddings(4, 4, seed=1).requires_grad_()
        loss = info_nce(a, embeddings(4, 4, seed=2), group_id=torch.zeros(4, dtype=torch.long))
        loss.backward()
        assert loss.item() == 0.0
        assert a.grad is not None and not a.grad.any()

    def test_gradient_reaches_anchors_and_keys(self) -> None:
        a = embeddings(3, 4, seed=1).requires_grad_()
        b = embeddings(3, 4, seed=2).requires_grad_()
        info_nce(a, b).backward()
        for z in (a, b):
            assert z.grad is not None and bool((z.grad.norm(dim=1) > 0).all())

    def test_a_step_down_the_gradient_lowers_the_loss(self) -> None:
        a = embeddings(8, 16, seed=1).requires_grad_()
        b = embeddings(8, 16, seed=2)
        loss = info_nce(a, b)
        loss.backward()
        assert a.grad is not None
        assert info_nce(a.detach() - 0.1 * a.grad, b) < loss


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_input_is_computed_in_float32(self, dtype: torch.dtype) -> None:
        a, b = embeddings(6, 8, seed=1).to(dtype), embeddings(6, 8, seed=2).to(dtype)
        loss = info_nce(a, b)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(info_nce(a.double(), b.double()).item(), rel=1e-5)

    def test_half_input_gets_a_half_gradient(self) -> None:
        a = embeddings(6, 8, seed=1).to(torch.bfloat16).requires_grad_()
        info_nce(a, embeddings(6, 8, seed=2).to(torch.bfloat16)).backward()
        assert a.grad is not None and a.grad.dtype == torch.bfloat16

    def test_autocast_changes_nothing(self) -> None:
        a, b = (embeddings(16, 32, seed=s, dtype=torch.float32) for s in (1, 2))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = info_nce(a, b), nce_pair(a, b, a.flip(0))
        assert inside[0].dtype == torch.float32
        assert torch.equal(inside[0], info_nce(a, b))
        assert torch.equal(inside[1], nce_pair(a, b, a.flip(0)))

    def test_float64_stays_float64(self) -> None:
        assert info_nce(embeddings(3, 4), embeddings(3, 4)).dtype == torch.float64
        assert nce_pair(*[embeddings(3, 4)] * 3).dtype == torch.float64


class TestNcePair:
    @pytest.mark.parametrize("normalize", [False, True])
    def test_equals_the_equation(self, normalize: bool) -> None:
        triple = [embeddings(5, 4, seed=s) for s in range(3)]
        rows = [[unit(r) if normalize else r for r in z.tolist()] for z in triple]
        total = 0.0
        for x, plus, minus in zip(*rows, strict=True):
            up = math.exp(math.fsum(p * q for p, q in zip(x, plus, strict=True)) / 0.7)
            down = math.exp(math.fsum(p * q for p, q in zip(x, minus, strict=True)) / 0.7)
            total += -math.log(up / (up + down))
        got = nce_pair(*triple, temperature=0.7, normalize=normalize)
        assert got.item() == pytest.approx(total / 5, abs=1e-9)

    def test_derivative(self) -> None:
        triple = tuple(embeddings(3, 4, seed=s).requires_grad_() for s in range(3))
        assert torch.autograd.gradcheck(nce_pair, triple)
        assert torch.autograd.gradcheck(lambda *z: nce_pair(*z, normalize=True), triple)

    def test_neither_overflows_nor_vanishes(self) -> None:
        big = 1e4 * torch.ones(1, 4)
        assert nce_pair(big, -big, big).item() == pytest.approx(8e8)
        near = nce_pair(torch.full((1, 4), 5.0), torch.ones(1, 4), -torch.ones(1, 4)).item()
        assert near == pytest.approx(math.log1p(math.exp(-40)), rel=1e-5)

    def test_equal_scores_cost_log_two(self) -> None:
        x, y = embeddings(3, 4, seed=1), embeddings(3, 4, seed=2)
        assert nce_pair(x, y, y).item() == pytest.approx(math.log(2), abs=1e-12)


class TestRefusals:
    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (torch.ones(3, 4), torch.ones(2, 4)),
            (torch.ones(3, 4), torch.ones(3, 5)),
            (torch.ones(3), torch.ones(3)),
            (torch.ones(2, 3, 4), torch.ones(2, 3, 4)),
            (torch.ones(0, 4), torch.ones(0, 4)),
        ],
    )
    def test_shapes(self, a: torch.Tensor, b: torch.Tensor) -> None:
        with pytest.raises(ValueError, match=r"one shape \(B, D\)"):
            info_nce(a, b)
        with pytest.raises(ValueError, match=r"one shape \(B, D\)"):
            nce_pair(a, b, a)

    def test_integers(self) -> None:
        with pytest.raises(ValueError, match="floating point"):
            info_nce(torch.ones(2, 2, dtype=torch.long), torch.ones(2, 2, dtype=torch.long))

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    def test_embeddings_that_are_not_finite(self, bad: float) -> None:
        z = torch.ones(3, 4)
        z[1, 2] = bad
        with pytest.raises(FloatingPointError, match="not finite"):
            info_nce(z, torch.ones(3, 4))
        with pytest.raises(FloatingPointError, match="not finite"):
            nce_pair(z, torch.ones(3, 4), torch.zeros(3, 4))

    @pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
    def test_temperature(self, temperature: float) -> None:
        z = torch.ones(2, 2)
        with pytest.raises(ValueError, match="temperature"):
            info_nce(z, z, temperature)
        with pytest.raises(ValueError, match="temperature"):
            nce_pair(z, z, z, temperature)

    @pytest.mark.parametrize(
        "group", [torch.zeros(3), torch.zeros(2).long(), torch.zeros(3, 1).long()]
    )
    def test_groups(self, group: torch.Tensor) -> None:
        with pytest.raises(ValueError, match=r"group_id must be integers of shape \(3,\)"):
            info_nce(torch.ones(3, 4), torch.ones(3, 4), group_id=group)


def pairs_by_loop(a: torch.Tensor, b: torch.Tensor, group: list[int]) -> torch.Tensor:
    """The negative of a clip is the other view of the next video that is not of its group."""
    terms = []
    for x, y in ((a, b), (b, a)):
        for i in range(len(x)):
            behind = [(i + step) % len(x) for step in range(1, len(x))]
            others = [k for k in behind if group[k] != group[i]]
            positive, negative = (
                (F.normalize(x[i], dim=0) * F.normalize(y[k], dim=0)).sum() / 0.2
                for k in (i, others[0] if others else i)
            )
            terms.append(F.softplus(negative - positive) * bool(others))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("group", [[0, 1, 2, 3, 4], [0, 0, 1, 1, 0], [3, 3, 3, 3, 3]])
def test_pairs_of_views_equal_a_loop(group: list[int]) -> None:
    a, b = embeddings(5, 4, seed=1), embeddings(5, 4, seed=2)
    got = nce_pair_of_views(a, b, temperature=0.2, group_id=torch.tensor(group))
    torch.testing.assert_close(got, pairs_by_loop(a, b, group), atol=1e-12, rtol=0)


CASES: list[dict[str, Any]] = [
    {"loss": "info_nce", "rows": [3, 3], "group": None, "bad": False},
    {"loss": "info_nce", "rows": [3, 2], "group": None, "bad": False},
    {"loss": "info_nce", "rows": [4, 2], "group": [0, 1, 1, 2, 1, 0], "bad": False},
    {"loss": "info_nce", "rows": [1, 1], "group": None, "bad": False},
    {"loss": "nce_pair", "rows": [3, 2], "group": None, "bad": False},
    {"loss": "nce_pair_of_views", "rows": [3, 2], "group": None, "bad": False},
    {"loss": "nce_pair_of_views", "rows": [4, 2], "group": [0, 1, 1, 2, 1, 0], "bad": False},
    {"loss": "info_nce", "rows": [3, 2], "group": None, "bad": True},
    {"loss": "nce_pair", "rows": [3, 2], "group": None, "bad": True},
]


def fill(case: dict[str, Any], seed: int) -> dict[str, Any]:
    count = 3 if case["loss"] == "nce_pair" else 2
    inputs = [embeddings(sum(case["rows"]), 4, seed=10 * seed + i) for i in range(count)]
    if case["bad"]:
        inputs[0][0, 0] = float("nan")  # a row of rank 0: rank 1 must notice as well
    group = None if case["group"] is None else torch.tensor(case["group"])
    return {**case, "inputs": inputs, "group": group}


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Any, Any]]:
    """Each case with what rank 0 and rank 1 of a real gloo group computed."""
    folder = tmp_path_factory.mktemp("gloo")
    cases = [fill(case, seed) for seed, case in enumerate(CASES)]
    torch.save(cases, folder / "cases.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    worker, store = str(Path(__file__).with_name("gloo_worker.py")), str(folder / "store")
    commands = [
        [sys.executable, worker, f"{rank}", "2", store, f"{folder}/cases.pt", f"{folder}/{rank}.pt"]
        for rank in range(2)
    ]
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return list(zip(cases, *ranks, strict=True))


@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES) if not case["bad"]])
def test_two_processes_equal_one(two_processes: list[tuple[Any, Any, Any]], number: int) -> None:
    case, *ranks = two_processes[number]
    whole = [z.clone().requires_grad_() for z in case["inputs"]]
    if case["loss"] == "nce_pair":
        loss = nce_pair(*whole, temperature=0.5, normalize=True)
    else:
        of_views = nce_pair_of_views if case["loss"] == "nce_pair_of_views" else info_nce
        loss = of_views(*whole, temperature=0.2, group_id=case["group"])
    loss.backward()
    mean_loss = sum(rank["loss"] for rank in ranks) / 2
    # Backward of the gather has summed over ranks; what is left of DDP's average is the division.
    gradient = torch.cat([rank["gradient"] for rank in ranks], dim=1) / 2
    torch.testing.assert_close(mean_loss, loss.detach(), atol=1e-12, rtol=0)
    expected = torch.stack([z.grad for z in whole if z.grad is not None])
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES) if case["bad"]])
def test_every_process_refuses_what_one_cannot_use(
    two_processes: list[tuple[Any, Any, Any]], number: int
) -> None:
    _, first, second = two_processes[number]
    assert "not finite" in first and first == second


def test_cross_entropy_is_the_same_thing() -> None:
    """A last, independent form: softmax over the similarity matrix without its diagonal."""
    a, b = embeddings(4, 6, seed=1), embeddings(4, 6, seed=2)
    z = F.normalize(torch.cat([a, b]), dim=1)
    similarity = (z @ z.T / 0.1).fill_diagonal_(float("-inf"))
    target = torch.cat([torch.arange(4) + 4, torch.arange(4)])
    expected = F.cross_entropy(similarity, target)
    assert info_nce(a, b).item() == pytest.approx(expected.item(), abs=1e-12)


class TestSoftInfoNce:
    """Against a loop over anchors and keys, one number at a time."""

    @staticmethod
    def by_loop(z_a, z_b, teacher, group, *, share, tau, tau_t):
        z = [v / v.norm() for v in (*z_a.double(), *z_b.double())]
        t = [v / v.norm() for v in teacher.double()] * 2
        B, groups, losses = len(z_a), group.tolist() * 2, []
        for i in range(2 * B):
            j = (i + B) % (2 * B)
            others = [
                k for k in range(2 * B)
                if k % B != i % B and (groups[i] < 0 or groups[k] != groups[i])
            ]  # fmt: skip
            total = sum(math.exp(float(z[i] @ z[k]) / tau) for k in [j, *others])
            alike = [k for k in others if torch.isfinite(t[i] @ t[k])]
            mass = sum(math.exp(float(t[i] @ t[k]) / tau_t) for k in alike)
            weights = {k: share * math.exp(float(t[i] @ t[k]) / tau_t) / mass for k in alike}
            weights[j] = 1 - sum(weights.values())
            losses.append(
                -sum(w * (float(z[i] @ z[k]) / tau - math.log(total)) for k, w in weights.items())
            )
        return sum(losses) / len(losses)

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("group", [[-1] * 5, [0, 0, 1, 2, -1]])
    def test_it_is_that_of_a_loop(self, share, group):
        z_a, z_b, teacher = torch.randn(3, 5, 7).double()
        teacher[4] = torch.nan  # a video that the teacher could not read
        group = torch.tensor(group)
        found = soft_info_nce(
            z_a, z_b, teacher, share=share, temperature=0.2, teacher_temperature=0.5, group_id=group
        )
        expected = self.by_loop(z_a, z_b, teacher, group, share=share, tau=0.2, tau_t=0.5)
        assert found.item() == pytest.approx(expected, abs=1e-9)

    def test_a_batch_of_one_group_teaches_nothing(self):
        z = torch.randn(4, 6, requires_grad=True)
        loss = soft_info_nce(z, z, torch.randn(4, 3), group_id=torch.zeros(4, dtype=torch.int64))
        loss.backward()
        assert loss.item() == pytest.approx(0.0, abs=1e-6)
        assert z.grad.abs().max() < 1e-6

    def test_a_teacher_draws_similar_videos_together(self):
        teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        together = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        apart = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]])
        losses = [soft_info_nce(z, z, teacher, share=0.5).item() for z in (together, apart)]
        assert losses[0] < losses[1]
