"""What a run would do, without doing it: counts, steps, cost, and a refusal of what cannot work."""

import psutil
import torch
from torch import Tensor, nn

from cvrl.config import Config, TrainConfig, describe
from cvrl.data.sampler import Visit
from cvrl.engine import build
from cvrl.engine.devices import build_accelerator
from cvrl.engine.profiling.macs import count_macs
from cvrl.engine.resume import find_checkpoint
from cvrl.models.backbones import Encoder
from cvrl.task import Task
from cvrl.utils.errors import UserError

GIGA = 1e9
STATE_COPIES = {"sgd": 3, "lars": 3, "adamw": 4}  # weights, gradients, the optimiser's moments


def describe_run(config: Config) -> str:
    """Check a run as far as can be without training, and describe it.

    The data is read, the network built, one sample made, the resume state looked at: whatever the
    run itself would refuse at its start is refused here.

    Args:
        config: the run.

    Returns:
        The resolved config, then one line a fact.

    Raises:
        UserError: the run cannot work; the line says what to change.
    """
    accelerator = build_accelerator(config.train)
    data = build.build_data(config)
    schedule = build.build_schedule(config, len(data.train))
    views = build.build_views(config)
    task = build.build_task(config, data, schedule, views, dry=True)
    checkpoint = find_checkpoint(config, config.run_folder)
    sample = build.build_dataset(config, data, views)[Visit(epoch=0, video=0)]
    clip_CTHW = sample.clips_VCTHW[0]
    macs = count_macs(task.encoder, clip_CTHW[None])
    memory = estimate_memory(config, task, clip_CTHW, views.clips, accelerator.num_processes)
    _refuse_too_large(config.train, memory, accelerator.device)
    watch = 0 if data.watch is None else len(data.watch)
    facts = {
        "device": f"{accelerator.device}, {accelerator.num_processes} processes",
        "training videos": f"{len(data.train)} in {len(data.train.class_names)} classes"
        + (f", {data.train.bad} bad ones left out" if data.train.bad else ""),
        "watched videos": str(watch),
        "clips a video": f"{views.clips} of {tuple(clip_CTHW.shape)} (C, T, H, W)",
        "steps": f"{schedule.total_steps}, {schedule.steps_per_epoch} an epoch",
        "learning rate": f"{schedule.lr:.4g} at its peak, {config.train.batch_size} videos a step",
        "parameters": f"{_count(task.encoder):,} in the encoder, {_count(task):,} in all",
        "a clip costs": f"{2 * macs / GIGA:.2f} GFLOP forward ({macs / GIGA:.2f} G multiply-adds)",
        "memory a process": f"about {memory / GIGA:.1f} GB",
        "starts from": str(checkpoint or "the beginning"),
        "writes to": str(config.run_folder),
    }
    width = max(map(len, facts))
    lines = [f"{name:<{width}}  {fact}" for name, fact in facts.items()]
    return describe(config) + "\n" + "\n".join(lines)


def estimate_memory(
    config: Config, task: Task, clip_CTHW: Tensor, clips: int, processes: int
) -> float:
    """Bytes a process needs in training: activations kept for backward, weights and their state.

    Activations are measured as the outputs of the encoder's layers on one clip; the estimate leaves
    out what libraries allocate for themselves, so allow for a third more.
    """
    kept = _activation_bytes(task.encoder, clip_CTHW)
    rows = config.train.batch_size * clips / (processes * config.train.accumulate)
    if config.train.precision != "fp32":
        kept /= 2
    at_once = min(rows, config.train.clips_at_once or rows)
    weights = sum(p.numel() * p.element_size() for p in task.parameters())
    batch = rows * clip_CTHW.numel() * clip_CTHW.element_size() * 3  # in use, and prefetched twice
    return kept * at_once + weights * STATE_COPIES[config.optim.name] + batch


def _activation_bytes(encoder: Encoder, clip_CTHW: Tensor) -> float:
    total = 0

    def add(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * output.element_size()

    leaves = [module for module in encoder.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(add) for leaf in leaves]
    was_training = encoder.training
    with torch.no_grad():
        encoder.eval()(clip_CTHW[None])
    encoder.train(was_training)
    for hook in hooks:
        hook.remove()
    return float(total)


def _refuse_too_large(train: TrainConfig, needed: float, device: torch.device) -> None:
    if device.type == "cuda":
        there = float(torch.cuda.get_device_properties(device).total_memory)
    else:
        there = float(psutil.virtual_memory().total)
    if needed > there:
        fitting = max(2, int(train.batch_size * there / needed / 2))
        raise UserError(
            "train.batch_size",
            f"needs about {needed / GIGA:.0f} GB a process, and there are {there / GIGA:.0f}",
            f"set train.clips_at_once={fitting}, which computes the same; or a smaller batch",
        )


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
