"""How well a trained method solves its own task on videos it has not seen."""

import json
from collections import defaultdict
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from cvrl.config import Config, load_config
from cvrl.data.dataset import Batch, TrainDataset
from cvrl.data.loader import default_workers, train_loader
from cvrl.data.manifest import Manifest
from cvrl.data.sampler import EveryVideo
from cvrl.data.view_base import Views
from cvrl.engine import build
from cvrl.engine.checkpoint import list_checkpoints, load_checkpoint
from cvrl.task import Task
from cvrl.utils.errors import CorruptVideoError, UserError
from cvrl.utils.io import atomic_path

PREFIX = "pretext_"
PRETEXT_FILE = "pretext.json"
Scores = dict[str, float]


def score_pretext(
    run: str | PathLike[str], *, visits: int = 5, overrides: Sequence[str] = ()
) -> dict[str, Scores]:
    """Score a run's method, as it is and as it began, on the run's held-out or test videos.

    Every video is visited ``visits`` times, its views drawn and augmented as in training, in
    batches of the training's size, since some tasks choose among the batch. Batch norm uses its
    running statistics, so no answer depends on the other videos otherwise.

    Args:
        run: the run's folder, with its config and a checkpoint.
        visits: draws a video.
        overrides: of the config, such as where the data is now.

    Returns:
        Rows ``trained``, ``untrained`` and ``chance``; each has ``top1``, the share of right
        answers, and whatever else the method reports under ``pretext_``. The parts of a joint
        method have their names in front, as in ``order/top1``.

    Raises:
        UserError: no held-out videos, or a method without a task of its own.
        CorruptVideoError: a video cannot be decoded. None is left out.
    """
    folder = Path(run)
    checkpoints = list_checkpoints(folder / "checkpoints")
    if not (checkpoints and (folder / "config.yaml").exists()):
        raise UserError(
            run, "holds no run with a checkpoint", "give a folder of tools/train_net.py"
        )
    config = load_config(folder / "config.yaml", overrides)
    data = build.build_data(config)
    if data.watch is None:
        remedy = "train with data.hold_out=0.2, data.test or data.split_column"
        raise UserError(run, "has no videos that it was not trained on", remedy)
    views = build.build_views(config)
    schedule = build.build_schedule(config, len(data.train))
    dataset = build.build_dataset(config, build.Data(data.watch, None, data.parts), views)
    task = build.build_task(config, data, schedule, views).eval()
    rows = {"untrained": _score(task, dataset, data.watch, config, visits)}
    task.load_state_dict(load_checkpoint(checkpoints[-1])["task"])
    rows["trained"] = _score(task, dataset, data.watch, config, visits)
    rows["chance"] = _chances(rows["trained"], views)
    if not rows["chance"]:
        reason = f"was trained with {config.method.name}, which has no right answers to count"
        raise UserError(run, reason, "see tools/evaluate.py for its features")
    return {name: rows[name] for name in ("trained", "untrained", "chance")}


def has_own_task(run: str | PathLike[str]) -> bool:
    """Whether a run's method reported, while it trained, how well it solves a task of its own.

    Example:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp())
        >>> _ = (run / "metrics.jsonl").write_text('{"loss": 1.0, "order/pretext_top1": 0.4}')
        >>> has_own_task(run)
        True
    """
    return f"{PREFIX}top1" in (Path(run) / "metrics.jsonl").read_text(encoding="utf-8")


def write_pretext(run: str | PathLike[str], rows: dict[str, Scores]) -> Path:
    """Write what :func:`score_pretext` found to ``eval/pretext.json`` in the run's folder."""
    output = Path(run) / "eval" / PRETEXT_FILE
    output.parent.mkdir(exist_ok=True)
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return output


@torch.no_grad()
def _score(
    task: Task, dataset: TrainDataset, videos: Manifest, config: Config, visits: int
) -> Scores:
    """Means over the visits of what the method reports of its own task."""
    workers = default_workers() if config.data.workers is None else config.data.workers
    sampler = EveryVideo(len(videos), batch_size=config.train.batch_size, visits=visits)
    totals: defaultdict[str, float] = defaultdict(float)
    seen = 0
    for batch in train_loader(dataset, sampler, workers=workers):
        if batch.bad:
            raise CorruptVideoError(*batch.bad[0])
        for name, value in _reported(task, batch, dataset).items():
            totals[name] += value * len(batch.labels_B)
        seen += len(batch.labels_B)
    if seen != visits * len(videos):
        raise RuntimeError(f"scored {seen} visits of {visits * len(videos)}")
    return {name: total / seen for name, total in totals.items()}


def _reported(task: nn.Module, batch: Batch, dataset: TrainDataset) -> Scores:
    if dataset.rest is not None:
        batch = batch.augmented(dataset.rest)
    losses = task(batch)
    return {
        name.replace(PREFIX, ""): float(value)
        for name, value in losses.items()
        if name.rpartition("/")[2].startswith(PREFIX)
    }


def _chances(reported: Scores, views: Views) -> Scores:
    """What guessing gives: the method's own account, else one in so many classes.

    Of a joint method, for each of its parts.
    """
    found: Scores = {}
    for name in reported:
        part, _, score = name.rpartition("/")
        own = getattr(views, "parts", {}).get(part, views)
        if score == "top1":
            known = reported.get(name.replace("top1", "chance"))
            found[name] = 1 / own.order_classes if known is None else known
    return found
