"""The augmentation's report on small clips: peers do the same work, and are held to it."""

import pytest
import torch

from cvrl.bench.bench_augment import PEER_RECIPES, check_alike, measure
from cvrl.bench.common.peers import split_by_installed
from cvrl.utils.errors import UserError

PEERS = [(name, peer) for name, recipes in PEER_RECIPES.items() for peer in recipes.items()]


@pytest.fixture(scope="module")
def clips():
    """Smooth clips, on which ways to interpolate agree."""
    coarse = torch.rand(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(4, 40, 60), mode="trilinear")
    return fine.mul(255).to(torch.uint8)


@pytest.mark.parametrize(("package", "peer"), PEERS, ids=[peer[0] for _, peer in PEERS])
def test_a_peer_does_the_same_work(clips, package, peer):
    if not split_by_installed([package])[0]:
        pytest.skip(f"{package} is not installed")
    assert check_alike(peer[0], clips, 32, peer[1]).startswith(peer[0])


@pytest.mark.parametrize(("package", "peer"), PEERS, ids=[peer[0] for _, peer in PEERS])
def test_a_peer_draws_once_a_clip(clips, package, peer):
    if not split_by_installed([package])[0]:
        pytest.skip(f"{package} is not installed")
    still = clips[:, :, :1].expand(-1, -1, 4, -1, -1)
    done = [peer[1](32)(still) for _ in range(4)]
    assert all(torch.allclose(one, one[:, :, :1].expand_as(one), atol=1e-4) for one in done)
    assert not torch.allclose(done[0], done[1], atol=1e-2)  # and anew for the next


@pytest.mark.parametrize(
    "wrong",
    [
        lambda size, random=True: lambda clips: torch.zeros(2, 3, 4, size, size),
        lambda size, random=True: lambda clips: clips.float()[..., :size, :size] / 255,
    ],
    ids=["black", "cut"],
)
def test_other_work_is_refused(clips, wrong):
    with pytest.raises(UserError, match="unequal work"):
        check_alike("peer", clips, 32, wrong)


def test_every_candidate_is_timed_and_judged():
    report = measure(
        runs=1,
        against=["kornia", "torchvision", "lightly"],
        seconds=1.0,
        height=48,
        width=64,
        frames=4,
        size=32,
        samples=2,
    )
    assert {"decode", "cvrl", "torchvision float32", "torchvision uint8"} <= set(report.timings)
    assert len(report.goals) == 4 and report.goals[0].ratio > 0
    assert report.goals[2].ratio == pytest.approx(
        report.timings["torchvision float32"].median_cpu / report.timings["cvrl"].median_cpu
    )
    assert ("kornia" in report.timings) != ("kornia" in report.absent)
