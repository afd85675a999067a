"""Batch norm over ranks: two real gloo processes against one process with the whole batch."""

import copy
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import SyncBatchNorm, convert_sync_batchnorm

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("batchnorm_worker.py")


def load_worker() -> Any:
    spec = importlib.util.spec_from_file_location("batchnorm_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = load_worker()


def case(
    shape: tuple[int, ...],
    rows: list[int],
    *,
    kind: str = "norm",
    dtype: torch.dtype = torch.float64,
    offset: float = 0.5,
    scale: float = 2.0,
    **keywords: Any,
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(len(shape) + sum(rows))
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * scale + offset
    output = (shape[0], 8) if kind == "network" else shape
    return {
        "kind": kind,
        "rows": rows,
        "keywords": keywords,
        "x": x.to(dtype),
        "coefficients": torch.randn(output, generator=generator, dtype=torch.float64).to(dtype),
    }


CASES = {
    "even": case((4, 3, 2, 4, 5), [2, 2]),
    "uneven": case((5, 3, 2, 4, 5), [3, 2]),
    "uneven rows of vectors": case((5, 6), [3, 2]),
    "one row each": case((2, 6), [1, 1]),
    "images": case((5, 3, 4, 5), [1, 4]),
    "sequences": case((5, 3, 4), [4, 1]),
    "an empty rank": case((3, 4, 2, 2, 2), [3, 0]),
    "no momentum": case((5, 6), [3, 2], momentum=None),
    "another momentum and eps": case((5, 6), [3, 2], momentum=0.003, eps=1e-2),
    "no weight and bias": case((5, 6), [3, 2], affine=False),
    "no running statistics": case((5, 6), [3, 2], track_running_stats=False),
    "a whole network": case((5, 3, 4, 9, 9), [3, 2], kind="network"),
}
ROUNDED = {
    "float32": (case((5, 3, 2, 4, 5), [3, 2], dtype=torch.float32), 1e-5),
    "float32 far from 0": (
        case((6, 3, 2, 4, 5), [4, 2], dtype=torch.float32, offset=1e4, scale=1.0),
        2e-3,
    ),
    "bfloat16 activations": (case((5, 3, 2, 4, 5), [3, 2], dtype=torch.bfloat16), 1e-2),
}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Tensor]]]:
    """What each of two gloo processes found, by case."""
    folder = tmp_path_factory.mktemp("gloo")
    names = [*CASES, *ROUNDED]
    torch.save([*CASES.values(), *(rounded for rounded, _ in ROUNDED.values())], folder / "cases")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), "2"]
            + [str(folder / name) for name in ("store", "cases", f"found{rank}")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    ranks = [torch.load(folder / f"found{rank}", weights_only=True) for rank in range(2)]
    return {name: [found[i] for found in ranks] for i, name in enumerate(names)}


def joined(name: str, ranks: list[dict[str, Tensor]]) -> Tensor:
    """What one process should have found under a name."""
    if name.startswith("same."):
        torch.testing.assert_close(ranks[0][name], ranks[1][name], rtol=0, atol=0)
        return ranks[0][name]
    if name.startswith("sum."):
        return ranks[0][name] + ranks[1][name]
    return torch.cat([found[name] for found in ranks])


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_equal_one_process_with_the_whole_batch(
    two_ranks: dict[str, list[dict[str, Tensor]]], name: str
) -> None:
    here = worker.run(worker.network(CASES[name]), CASES[name], slice(None))
    assert set(here) == set(two_ranks[name][0])
    for key, expected in here.items():
        found = joined(key, two_ranks[name])
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6, msg=f"{name}: {key}")


@pytest.mark.parametrize("name", ROUNDED)
def test_two_ranks_stay_close_in_lower_precision(
    two_ranks: dict[str, list[dict[str, Tensor]]], name: str
) -> None:
    rounded, tolerance = ROUNDED[name]
    here = worker.run(worker.network(rounded), rounded, slice(None))
    for key, expected in here.items():
        found = joined(key, two_ranks[name])
        assert found.dtype == expected.dtype
        error = (found.double() - expected.double()).norm() / expected.double().norm()
        assert error < tolerance, f"{name}: {key}"


def test_statistics_of_one_rank_would_differ() -> None:
    """The comparison above can fail: plain batch norm on the parts gives something else."""
    uneven = CASES["uneven"]
    whole = worker.run(worker.network(uneven), uneven, slice(None))
    part = worker.run(worker.network(uneven), uneven, slice(0, 3))
    assert not torch.allclose(part["y0"], whole["y0"][:3], atol=1e-3)


# --- one process ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 5), (4, 3, 2, 5, 5)])
def test_alone_it_is_plain_batch_norm(shape: tuple[int, ...]) -> None:
    alone = case(shape, [4])
    plain = worker.network(alone)
    expected = worker.run(copy.deepcopy(plain), alone, slice(None))
    found = worker.run(convert_sync_batchnorm(plain), alone, slice(None))
    for key in expected:
        assert torch.equal(found[key], expected[key]), key


def test_a_tensor_without_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        SyncBatchNorm(3)(torch.zeros(3))


# --- conversion ----------------------------------------------------------------------------------


def test_every_norm_is_converted_and_tensors_are_kept() -> None:
    encoder = build_encoder("r3d_small", width=4, blocks=(1, 1, 1, 1))
    before = dict(encoder.named_parameters()) | dict(encoder.named_buffers())
    converted = convert_sync_batchnorm(encoder)
    assert converted is encoder
    after = dict(encoder.named_parameters()) | dict(encoder.named_buffers())
    assert list(after) == list(before), "names and order"
    assert all(after[name] is before[name] for name in before)
    kinds = [type(m) for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert set(kinds) == {SyncBatchNorm}
    assert len(kinds) == 13


def test_checkpoints_fit_both_ways() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    plain(torch.rand(2, 3, 8, 8))
    sync = convert_sync_batchnorm(copy.deepcopy(plain))
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    fresh.load_state_dict(sync.state_dict())
    convert_sync_batchnorm(fresh).load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(fresh.eval()(images), plain.eval()(images))


def test_settings_and_mode_are_kept() -> None:
    norm = nn.BatchNorm1d(4, eps=1e-3, momentum=None, affine=False).eval()
    sync = convert_sync_batchnorm(norm)
    assert isinstance(sync, SyncBatchNorm)
    assert (sync.eps, sync.momentum, sync.affine, sync.training) == (1e-3, None, False, False)
    assert not list(sync.parameters())
    assert convert_sync_batchnorm(nn.BatchNorm1d(4, track_running_stats=False)).running_mean is None


def test_a_shared_norm_stays_shared() -> None:
    norm = nn.BatchNorm1d(4)
    net = convert_sync_batchnorm(nn.Sequential(norm, nn.Linear(4, 4), norm))
    assert isinstance(net, nn.Sequential)
    assert net[0] is net[2]
    assert isinstance(net[0], SyncBatchNorm)


def test_converting_twice_changes_nothing() -> None:
    net = convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(4)))
    assert isinstance(net, nn.Sequential)
    first = net[0]
    again = convert_sync_batchnorm(net)
    assert isinstance(again, nn.Sequential)
    assert again[0] is first


def test_other_modules_are_left_alone() -> None:
    net = nn.ModuleDict({"norm": nn.GroupNorm(2, 4), "linear": nn.Linear(2, 2)})
    children = dict(net.items())
    convert_sync_batchnorm(net)
    assert dict(net.items()) == children


def test_a_module_that_wants_its_own_norms_keeps_them() -> None:
    class Local(nn.Sequential):
        local_batchnorm = True

    inner, outer = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    net = convert_sync_batchnorm(nn.Sequential(Local(nn.Linear(4, 4), nn.Sequential(inner)), outer))
    assert isinstance(net, nn.Sequential)
    assert inner in list(net.modules())
    assert isinstance(net[1], SyncBatchNorm)
