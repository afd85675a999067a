"""Devices, processes and precision, through accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from cvrl.config import TrainConfig
from cvrl.engine.machine import pick_device
from cvrl.utils.errors import UserError

PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def build_accelerator(train: TrainConfig) -> Accelerator:
    """The accelerator of a run: a GPU where there is one, all ranks of ``torchrun``, else the CPU.

    Args:
        train: precision, TF32 and accumulation.

    Raises:
        UserError: fp16 without a GPU, or no GPU where one is asked for.
    """
    has_gpu = pick_device(train.device, "train.device =") == "cuda"
    if train.precision == "fp16" and not has_gpu:
        raise UserError("train.precision = fp16", "needs a GPU", "use train.precision=bf16 or fp32")
    if has_gpu:
        torch.set_float32_matmul_precision("high" if train.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = train.tf32
        torch.use_deterministic_algorithms(train.deterministic)
    AcceleratorState._reset_state()  # one process may train several configs, one after the other
    return Accelerator(
        mixed_precision=PRECISION[train.precision],
        gradient_accumulation_steps=train.accumulate,
        cpu=not has_gpu,
        # buffers are made equal by what fills them: synchronised batch norm, gathered queues
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch computes on so many threads inside the block, and on as many as before after it.

    Example:
        >>> with torch_threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
