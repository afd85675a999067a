"""What a run writes and shows of its steps: losses, speed, and whether the embedding collapses."""

import psutil
import torch
from torch import Tensor

from cvrl.config import Config
from cvrl.data.manifest import Manifest
from cvrl.engine.clock import Speed
from cvrl.evaluation.diagnostics.collapse import effective_rank, embedding_std
from cvrl.utils import dist
from cvrl.utils.checks import counted
from cvrl.utils.log import MetricLog, TrainProgress


class StepLog:
    """The metric log and the progress line of a run.

    Args:
        metrics: receives every record.
        progress: what a person watches.
        device: whose memory is shown.
    """

    def __init__(self, metrics: MetricLog, progress: TrainProgress, device: torch.device) -> None:
        self.metrics = metrics
        self.progress = progress
        self.device = device

    def add(
        self,
        losses: dict[str, Tensor],
        speed: Speed,
        *,
        step: int,
        epoch: float,
        lr: float,
        bad_videos: int,
    ) -> None:
        """Record a step. Every rank must call it: the values are over all ranks.

        Args:
            losses: of the task; scalars are averaged over the ranks, ``embedding_ND`` gathered.
            speed: since the last record.
            step: optimiser steps done.
            epoch: epochs done.
            lr: learning rate of the step.
            bad_videos: met so far.
        """
        values = over_ranks(losses)
        memory = _memory_in_use(self.device)
        self.metrics.write(
            step=step,
            epoch=epoch,
            **values,
            lr=lr,
            clips_per_s=speed.clips_per_second,
            data_wait=speed.data_wait,
            memory_gb=memory,
            bad_videos=bad_videos,
        )
        self.progress.show(
            step,
            {
                "epoch": f"{epoch:.1f}",
                "loss": f"{values['loss']:.3f}",
                "lr": f"{lr:.2g}",
                "clips/s": f"{speed.clips_per_second:.0f}",
                "wait": f"{speed.data_wait:.0%}",
                "GB": f"{memory:.1f}",
            }
            | ({"bad": str(bad_videos)} if bad_videos else {}),
        )

    def close(self) -> None:
        """End the progress line and close the files."""
        self.progress.close()
        self.metrics.close()


def over_ranks(losses: dict[str, Tensor]) -> dict[str, float]:
    """The scalars of a step as means over all ranks, and the collapse monitors of all its clips.

    Example:
        >>> over_ranks({"loss": torch.tensor(0.5), "labels_N": torch.zeros(3)})
        {'loss': 0.5}
    """
    values = {name: float(dist.average(x)) for name, x in losses.items() if x.ndim == 0}
    if "embedding_ND" in losses:
        embedding_MD = dist.gather(losses["embedding_ND"])
        values["embedding_std"] = embedding_std(embedding_MD)
        values["effective_rank"] = effective_rank(embedding_MD)
    return values


def first_line(
    config: Config, videos: Manifest, device: torch.device, step: int, last_step: int
) -> str:
    """Describe a run at its start: with what, on what, how long, and when it is heard of.

    Args:
        config: of the run.
        videos: that it trains on.
        device: of this process.
        step: optimiser steps done.
        last_step: of the run.

    Example:
        >>> from cvrl.config import DataConfig
        >>> from cvrl.data.manifest import make_manifest
        >>> videos = make_manifest({"path": ["a.mp4"], "label": ["run"]}, root="/x")
        >>> config, cpu = Config(data=DataConfig(train="x")), torch.device("cpu")
        >>> first_line(config, videos, cpu, 0, 8)  # doctest: +ELLIPSIS
        'training on cpu in fp32, 1 process: 1 video, 1 class, ...; first output at step 8'
    """
    train, every = config.train, config.log.every_steps
    first = min(every * (step // every + 1), last_step)
    return (
        f"training on {device} in {train.precision}, {counted(dist.world_size(), 'process')}: "
        f"{counted(len(videos), 'video')}, {counted(len(videos.class_names), 'class')}, "
        f"steps {step + 1} to {last_step} of {counted(train.batch_size, 'video')} each; "
        f"first output at step {first}"
    )


def _memory_in_use(device: torch.device) -> float:
    """Gigabytes this process holds on the device, or in main memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9
