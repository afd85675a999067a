"""Two protocols of one name: what each leaves alone, and where they differ."""

import math

import pytest
import torch
from cases import make_batch

from cvrl.methods.linear_probe import LinearProbe
from cvrl.models.backbones import build_encoder
from cvrl.models.batchnorm import SyncBatchNorm, convert_sync_batchnorm
from cvrl.utils.errors import UserError


def probe(protocol):
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=2)
    return LinearProbe(encoder, class_names=["a", "b", "c"], protocol=protocol).train()


def steps(task, count=2):
    optimizer = torch.optim.SGD(task.param_groups(0.0), lr=1.0)
    for step in range(count):
        task.train()
        optimizer.zero_grad()
        task(make_batch("linear_probe", seed=step))["loss"].backward()
        optimizer.step()


@pytest.mark.parametrize("protocol", ["cvrl", "slowfast"])
def test_only_the_layer_learns(protocol):
    task = probe(protocol)
    before = {name: p.clone() for name, p in task.named_parameters()}
    steps(task)
    for name, parameter in task.named_parameters():
        changed = not torch.equal(parameter, before[name])
        assert changed == name.startswith("classifier."), name
    grouped = [p for group in task.param_groups(0.0) for p in group["params"]]
    assert {*map(id, grouped)} == {*map(id, task.classifier.parameters())}


def test_batch_norms_stay_with_cvrl_and_drift_with_slowfast():
    for protocol, stay in (("cvrl", True), ("slowfast", False)):
        task = probe(protocol)
        before = {name: buffer.clone() for name, buffer in task.encoder.named_buffers()}
        steps(task)
        for name, buffer in task.encoder.named_buffers():
            assert torch.equal(buffer, before[name]) == stay, (protocol, name)


@torch.no_grad()
@pytest.mark.parametrize("protocol", ["cvrl", "slowfast"])
def test_the_feature_has_length_one_with_cvrl_alone(protocol):
    task, batch = probe(protocol).double(), make_batch("linear_probe", dtype=torch.float64)
    h_ND = task.encoder(batch.clips_BVCTHW.flatten(0, 1))  # in the mode that training has
    total = 0.0
    for h_D, label in zip(h_ND, batch.labels_B.repeat_interleave(2), strict=True):
        length = math.sqrt(sum(float(x) ** 2 for x in h_D)) if protocol == "cvrl" else 1.0
        logits = (task.classifier.weight @ (h_D / length) + task.classifier.bias).tolist()
        total += math.log(sum(map(math.exp, logits))) - logits[int(label)]
    assert task(batch)["loss"].item() == pytest.approx(total / len(h_ND), abs=1e-6)


@torch.no_grad()
def test_batch_norms_see_groups_of_one_size():
    torch.manual_seed(0)
    encoder = build_encoder("r3d_small", width=2)
    how = {"class_names": ["a", "b", "c"], "protocol": "slowfast"}
    task = LinearProbe(encoder, **how, bn_clips=4).double().train()
    clips_NCTHW = make_batch("linear_probe", dtype=torch.float64).clips_BVCTHW.flatten(0, 1)[:11]
    found = task._features(clips_NCTHW)
    plain = LinearProbe(encoder, **how).train()  # 11 clips make two groups, of 6 and 5
    expected = torch.cat([plain._features(part) for part in (clips_NCTHW[:6], clips_NCTHW[6:])])
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(plain._features(clips_NCTHW), expected)
    assert convert_sync_batchnorm(task) is task
    assert not any(isinstance(part, SyncBatchNorm) for part in task.modules())


def test_groups_are_for_live_batch_norms():
    encoder = build_encoder("r3d_small", width=2)
    with pytest.raises(UserError, match=r"bn_clips = 8: goes with protocol slowfast"):
        LinearProbe(encoder, class_names=["a"], protocol="cvrl", bn_clips=8)


def test_the_classifier_says_which_protocol_it_is_of():
    heads = [probe(protocol).class_head for protocol in ("cvrl", "slowfast")]
    assert [head.protocol for head in heads] == ["linear probe, cvrl", "linear probe, slowfast"]
    assert [head.unit_length for head in heads] == [True, False]
    assert all(head.spec["protocol"] == head.protocol for head in heads)


def test_there_is_no_third_protocol():
    with pytest.raises(UserError, match=r"method\.protocol.*'mine'; use cvrl or slowfast"):
        probe("mine")
