"""Recomputed activations: the same gradients, statistics and random numbers, in less memory."""

import contextlib
import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from cvrl.losses.contrastive import info_nce
from cvrl.models.backbones import Encoder, build_encoder
from cvrl.models.batchnorm import SyncBatchNorm, freeze_batchnorm
from cvrl.models.training_speed.recompute import blocks_of, in_parts, recomputed

WORKER = Path(__file__).with_name("recompute_worker.py")


def small() -> Encoder:
    torch.manual_seed(0)
    return build_encoder("r3d_small", width=2, blocks=(2, 1, 1, 1)).double()


def clips_of(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 8, 32, 32, generator=generator).double()


def backward(encoder: nn.Module, clips: torch.Tensor) -> dict[str, torch.Tensor]:
    """Loss, gradients and buffers after one pass both ways."""
    h_ND = encoder(clips)
    loss = info_nce(h_ND[0::2], h_ND[1::2], 0.1, torch.arange(len(clips) // 2))
    loss.backward()
    found = {f"grad {name}": p.grad for name, p in encoder.named_parameters()}
    assert all(grad is not None for grad in found.values())
    return found | {"loss": loss.detach()} | dict(encoder.named_buffers())


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)


class TestBlocks:
    def test_gradients_and_statistics_are_bit_for_bit_those_of_a_plain_step(self) -> None:
        plain = small()
        thrifty = copy.deepcopy(plain)
        thrifty.recompute_blocks = True
        found, expected = (backward(encoder, clips_of(4)) for encoder in (thrifty, plain))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)

    def test_without_care_statistics_would_be_updated_twice(self) -> None:
        block = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())
        checkpoint(block, torch.rand(4, 3), use_reentrant=False).sum().backward()
        assert int(block[1].num_batches_tracked) == 2
        recomputed(block, torch.rand(4, 3), block).sum().backward()
        assert int(block[1].num_batches_tracked) == 3
        assert set(block[1].state_dict()) == set(nn.BatchNorm1d(3).state_dict())

    def test_synchronised_batch_norm_counts_once(self) -> None:
        norm = SyncBatchNorm(3)
        recomputed(norm, torch.rand(4, 3, requires_grad=True), norm).sum().backward()
        assert int(norm.num_batches_tracked) == 1

    def test_random_numbers_are_those_of_a_plain_step(self) -> None:
        block = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.BatchNorm1d(8)).double()
        found = []
        for thrifty in (False, True):
            torch.manual_seed(3)
            x = torch.rand(6, 8).double().requires_grad_()
            y = recomputed(block, x, block) if thrifty else block(x)
            (y**3).sum().backward()
            found.append((y.detach(), x.grad, torch.rand(1)))
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))

    @pytest.mark.parametrize(("training", "gradient", "runs"), [(1, 1, 2), (1, 0, 1), (0, 1, 1)])
    def test_blocks_run_again_only_for_a_gradient(self, training, gradient, runs) -> None:
        encoder = small().train(bool(training))
        encoder.recompute_blocks = True
        count = []
        encoder.res2[1].register_forward_pre_hook(lambda *_: count.append(1))
        with torch.set_grad_enabled(bool(gradient)):
            h_ND = encoder(clips_of(2))
        if gradient:
            h_ND.sum().backward()
        assert len(count) == runs

    def test_the_blocks_of_every_kind_of_stage(self) -> None:
        slow = build_encoder("slow_r50")
        assert [len(blocks_of(s)) for s in (slow.res2, slow.res3, slow.res4)] == [3, 4, 6]
        assert [len(blocks_of(s)) for s in (small().res2, small().res3)] == [2, 1]
        assert blocks_of(slow.stem) == [slow.stem]

    def test_the_gradient_of_a_network_of_bottlenecks(self) -> None:
        torch.manual_seed(0)
        plain = build_encoder("slow_r50")
        thrifty = copy.deepcopy(plain)
        thrifty.recompute_blocks = True
        clips = clips_of(2)[:, :, :2].float()
        found, expected = (backward(encoder, clips) for encoder in (thrifty, plain))
        assert all(torch.equal(found[name], expected[name]) for name in expected)

    def test_a_copy_recomputes_its_own_blocks(self) -> None:
        encoder = small()
        encoder.recompute_blocks, encoder.clips_at_once = True, 2
        other = copy.deepcopy(encoder)
        other(clips_of(4)).sum().backward()
        assert all(p.grad is None for p in encoder.parameters())
        assert all(p.grad is not None for p in other.parameters())


class TestParts:
    @pytest.mark.parametrize("at_once", [1, 2, 3, 5, 6, 100])
    def test_with_frozen_norms_the_gradient_is_that_of_the_whole_batch(self, at_once: int) -> None:
        plain = small()
        freeze_batchnorm(plain)
        cached = copy.deepcopy(plain)
        cached.clips_at_once = at_once
        assert_same(backward(cached, clips_of(6)), backward(plain, clips_of(6)))

    @pytest.mark.parametrize("blocks", [False, True])
    def test_batch_statistics_are_those_of_the_clips_that_go_together(self, blocks: bool) -> None:
        plain = small()
        cached = copy.deepcopy(plain)
        cached.clips_at_once, cached.recompute_blocks = 3, blocks

        def apart(clips: torch.Tensor) -> torch.Tensor:
            odd_and_even = torch.cat([plain(clips[0::2]), plain(clips[1::2])])
            return odd_and_even[torch.tensor([0, 3, 1, 4, 2, 5])]

        expected = backward_through(apart, plain, clips_of(6))
        assert_same(backward(cached, clips_of(6)), expected)

    def test_maps_come_in_the_order_of_the_clips(self) -> None:
        plain = small()
        freeze_batchnorm(plain)
        cached = copy.deepcopy(plain)
        cached.clips_at_once = 2
        found, expected = cached.stages(clips_of(5)), plain.stages(clips_of(5))
        assert_same({k: v.detach() for k, v in found.items()}, expected)

    def test_no_part_is_larger_than_asked(self) -> None:
        encoder = small()
        encoder.clips_at_once = 4
        sizes = []
        encoder.stem.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
        encoder(clips_of(9)).sum().backward()
        assert sorted(sizes) == [3] * 6

    @given(count=st.integers(1, 40), at_once=st.integers(1, 40))
    def test_the_order_is_kept(self, count: int, at_once: int) -> None:
        x = torch.arange(float(count))
        assert torch.equal(in_parts(lambda y: y + 1, x, nn.Identity(), at_once=at_once), x + 1)

    def test_evaluation_takes_all_clips_at_once(self) -> None:
        encoder = small().eval()
        encoder.clips_at_once = 1
        sizes = []
        encoder.stem.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
        encoder(clips_of(3))
        assert sizes == [3]


def backward_through(function, encoder, clips):
    class Wrapped(nn.Module):
        def forward(self, clips):
            return function(clips)

        def named_parameters(self, *_, **__):
            return encoder.named_parameters()

        def named_buffers(self, *_, **__):
            return encoder.named_buffers()

    return backward(Wrapped(), clips)


def test_two_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    store = tmp_path / "store"
    outputs = [tmp_path / name for name in ("one", "first", "second")]
    runs = [(0, 1, outputs[0]), (0, 2, outputs[1]), (1, 2, outputs[2])]
    commands = [[sys.executable, str(WORKER), *map(str, (*run[:2], store, run[2]))] for run in runs]
    with contextlib.ExitStack() as stack:
        ranks = [stack.enter_context(subprocess.Popen(command)) for command in commands]
        codes = [rank.wait(timeout=240) for rank in ranks]
    assert codes == [0, 0, 0]
    one, first, second = (torch.load(output) for output in outputs)
    loss = (first.pop("loss") + second.pop("loss")) / 2
    torch.testing.assert_close(loss, one.pop("loss"))
    assert_same(first, one)
    assert_same(second, one)
