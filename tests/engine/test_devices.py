"""A device that is not there is refused in one line; the loss scale survives steps not taken."""

import pytest
import torch

from cvrl.config import TrainConfig, load_config
from cvrl.engine.devices import build_accelerator
from cvrl.engine.machine import pick_device
from cvrl.engine.trainer import Trainer
from cvrl.utils.errors import UserError

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_a_run_may_stay_on_the_cpu():
    assert build_accelerator(TrainConfig(device="cpu")).device.type == "cpu"


@without_gpu
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"^train\.device = cuda: no GPU is visible to torch; use"):
        build_accelerator(TrainConfig(device="cuda"))
    with pytest.raises(UserError, match=r"^--device cuda: no GPU is visible to torch; use"):
        pick_device("cuda")


MOCO = """
clip: {frames: 8, stride: 1, size: 32}
augment: {name: light}
encoder: {name: r3d_small, width: 4, blocks: [1, 1, 1, 1]}
method: {name: moco, hidden: 8, dim: 8, queue: 12, bn_groups: 2}
optim: {name: sgd, lr: 0.05, warmup_epochs: 0, clip_norm: 1.0}
train: {steps: 5, batch_size: 4, threads: 1}
eval: {every_epochs: 0}
log: {tensorboard: false}
data: {workers: 0}
"""


def test_clipping_waits_with_the_loss_scale_until_the_method_is_ready(video_folder, tmp_path):
    """What fp16 does on a GPU, with the same scaler on the CPU."""
    file = tmp_path / "moco.yaml"
    file.write_text(MOCO)
    trainer = Trainer(load_config(file, [f"data.train={video_folder}", f"output={tmp_path}/run"]))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    inner = trainer.optimizer.optimizer
    trainer.accelerator.scaler = scaler
    trainer.optimizer = type(trainer.optimizer)(inner, device_placement=False, scaler=scaler)
    trainer.accelerator._optimizers = [trainer.optimizer]
    weight = next(trainer.task.encoder.parameters())
    moved, ready = [], []
    for batch in trainer.batches():
        before = weight.detach().clone()
        trainer.train_step(batch)
        trainer.step += 1
        moved.append(not torch.equal(before, weight))
        ready.append(trainer.task.is_ready())
    assert moved[:2] == [False, False] and moved[-1]
    assert scaler.get_scale() == 1024.0 and bool(torch.isfinite(weight).all())
