"""Two processes with shares of the batch train as one process with the whole, for every method."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import CASES

pytestmark = pytest.mark.timeout(900)  # the first test waits for all cases, minutes on two cores
WORKER = str(Path(__file__).with_name("ranks_worker.py"))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(one process, rank 0 of two, rank 1 of two)."""
    folder = tmp_path_factory.mktemp("ranks")
    started = []
    for rank, world in ((0, 1), (0, 2), (1, 2)):
        output = folder / f"{world}_{rank}.pt"
        arguments = [WORKER, str(rank), str(world), str(folder / "store"), str(output)]
        process = subprocess.Popen(
            [sys.executable, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        started.append((process, output))
    for process, _ in started:
        _, errors = process.communicate(timeout=840)
        assert process.returncode == 0, errors.decode()
    return [torch.load(output, weights_only=True) for _, output in started]


@pytest.mark.parametrize("name", CASES)
def test_losses_average_to_the_loss_of_one_process(results, name):
    one, first, second = (result[name]["losses"] for result in results)
    torch.testing.assert_close((first + second) / 2, one, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_one_process(results, name):
    one, first, second = (result[name]["gradients"] for result in results)
    assert one.keys() == first.keys() and any(bool(g.abs().sum() > 0) for g in one.values())
    for key in one:
        torch.testing.assert_close(first[key], one[key], atol=1e-9, rtol=1e-7, msg=key)
        assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize("name", CASES)
def test_weights_and_statistics_after_five_steps_are_those_of_one_process(results, name):
    one, first, second = (result[name]["state"] for result in results)
    assert one.keys() == first.keys()
    for key in one:
        torch.testing.assert_close(first[key], one[key], atol=1e-8, rtol=1e-8, msg=key)
        torch.testing.assert_close(second[key], one[key], atol=1e-8, rtol=1e-8, msg=key)
