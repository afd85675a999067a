"""A teacher's weights are the average they are said to be, and nothing else moves them."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import SyncBatchNorm, convert_sync_batchnorm
from cvrl.models.ema import EMA, MomentumSchedule


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def shake(module, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_it_starts_as_an_equal_copy_with_tensors_of_its_own():
    student = network()
    teacher = EMA(student)
    assert list(teacher.module.state_dict()) == list(student.state_dict())
    for mine, theirs in zip(teacher.module.parameters(), student.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine.data_ptr() != theirs.data_ptr()
        assert theirs.requires_grad and not mine.requires_grad


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.996, 1.0])
def test_weights_are_the_average_of_all_that_was_seen(momentum):
    student = network().double()
    teacher = EMA(student)
    expected = {name: value.tolist() for name, value in student.named_parameters()}

    def mixed(old, new):
        if isinstance(old, list):
            return [mixed(o, n) for o, n in zip(old, new, strict=True)]
        return momentum * old + (1 - momentum) * new

    for step in range(3):
        shake(student, seed=step)
        teacher.update(student, momentum)
        for name, value in student.named_parameters():
            expected[name] = mixed(expected[name], value.tolist())
    for name, value in teacher.module.named_parameters():
        torch.testing.assert_close(value.tolist(), expected[name], atol=1e-12, rtol=0)


def test_buffers_are_taken_over_whatever_the_momentum():
    student = network()
    teacher = EMA(student)
    student(torch.randn(8, 3))
    teacher(torch.randn(8, 3))
    assert not torch.equal(teacher.module[1].running_mean, student[1].running_mean)
    teacher.update(student, momentum=1.0)
    for mine, theirs in zip(teacher.module.buffers(), student.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_no_gradient_passes():
    student = network()
    teacher = EMA(student)
    x = torch.randn(4, 3, requires_grad=True)
    assert not teacher(x).requires_grad
    (student(x) - teacher(x)).square().sum().backward()
    teacher.update(student, 0.5)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_it_normalises_by_the_batch_in_training_only():
    teacher = EMA(network())
    x = torch.randn(8, 3)
    first = teacher(x)
    assert not torch.equal(first, teacher.eval()(x))


def test_it_is_saved_and_loaded():
    student, other = network(), EMA(network())
    teacher = EMA(student)
    shake(student)
    teacher.update(student, 0.9)
    other.load_state_dict(teacher.state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(teacher(x), other(x))


def test_another_network_is_refused():
    with pytest.raises(ValueError, match="argument"):
        EMA(network()).update(nn.Linear(3, 4), 0.9)


def test_a_teacher_of_an_encoder_and_its_head_is_made_on_the_fly():
    encoder = build_encoder("r3d_small", width=4)
    head = nn.Linear(encoder.dim, 2)
    teacher = EMA(nn.Sequential(encoder, head))
    shake(encoder)
    teacher.update(nn.Sequential(encoder, head), 0.0)
    clips = torch.rand(2, 3, 8, 32, 32)
    torch.testing.assert_close(teacher(clips), head(encoder(clips)))


def test_its_batch_norms_can_stay_out_of_the_conversion():
    def kinds(module):
        return {type(m) for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}

    for local, kind in ((True, nn.BatchNorm1d), (False, SyncBatchNorm)):
        both = nn.ModuleDict({"student": network()})
        both["teacher"] = EMA(both["student"], local_batchnorm=local)
        convert_sync_batchnorm(both)
        assert kinds(both["student"]) == {SyncBatchNorm}
        assert kinds(both["teacher"]) == {kind}
        both["teacher"].update(both["student"], 0.5)  # tensors still stand in one order


# --- the momentum ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), [(0.996, 1.0), (0.0, 1.0), (0.5, 0.9)])
def test_momentum_is_half_a_cosine(start, end):
    values = [MomentumSchedule(40, start, end).at(t) for t in range(41)]
    for t, value in enumerate(values):
        expected = end - (end - start) * (math.cos(math.pi * t / 40) + 1) / 2
        assert value == pytest.approx(expected, abs=1e-12)
    assert values[0] == pytest.approx(start) and values[-1] == pytest.approx(end)
    assert values[20] == pytest.approx((start + end) / 2)
    assert all(a < b for a, b in pairwise(values))


def test_momentum_stays_at_its_end():
    assert MomentumSchedule(40, 0.9).at(1000) == 1.0
    assert MomentumSchedule(0, 0.9).at(0) == pytest.approx(0.9)
    assert MomentumSchedule(0, 0.9).at(7) == 1.0


def test_momentum_can_be_constant():
    assert {MomentumSchedule(10, 0.999, 0.999).at(t) for t in range(12)} == {0.999}
