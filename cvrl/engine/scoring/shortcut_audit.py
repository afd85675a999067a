"""The shortcut audit of a pretext task on real videos: its visits, put to the probes.

Shapes: B videos of a batch, V clips of a video, R rows (one label each), T frames, D features.
"""

import importlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from cvrl.config import Config, load_config
from cvrl.config_files import config_names
from cvrl.data.clips import Ints
from cvrl.data.dataset import Batch, TrainDataset
from cvrl.data.loader import default_workers, train_loader
from cvrl.data.manifest import Manifest, read_manifest
from cvrl.data.sampler import EveryVideo, Visit
from cvrl.data.splits import Parts
from cvrl.data.view_base import Views
from cvrl.engine import build, components
from cvrl.evaluation.diagnostics import shortcut_probes as audit
from cvrl.evaluation.diagnostics.shortcut_probes import Verdict
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path
from cvrl.utils.seed import numpy_rng
from cvrl.video.reader import Video, open_video

ROWS = 2000
MOST_VISITS = 50  # of a video
BATCH = 16
KINDS = frozenset({"tuple", "labelled"})  # of views whose label is a method's answer
BARE = """
data: {cache_short_side: 96}
clip: {frames: 8, stride: 2, size: 64}
augment: {name: light, area: [0.5, 1.0], aspect: [1.0, 1.0], normalise: true}
"""
"""Settings of views that are named without a config."""

FOR_SAMPLE = 5  # last part of the key of the choice among many videos


@dataclass(frozen=True)
class Audit:
    """What the probes could tell of a pretext task.

    Attributes:
        views: its name.
        classes: of its label.
        visits: draws of every video.
        videos: how many were looked at.
        verdicts: by probe; None where the task has nothing that it could look at.
    """

    views: str
    classes: int
    visits: int
    videos: int
    verdicts: dict[str, Verdict | None]

    @property
    def reported(self) -> list[str]:
        """The probes that found a shortcut."""
        return [name for name, found in self.verdicts.items() if found and found.reported]

    @property
    def finding(self) -> str:
        """The same in words."""
        if not self.reported:
            return f"No probe tells the labels of {self.views} better than chance."
        told = ", ".join(
            f"{name} ({found.accuracy:.1%} where chance is {found.chance:.1%})"
            for name, found in self.verdicts.items()
            if found and found.reported
        )
        return f"The labels of {self.views} can be told without the task, by {told}."


def audit_views(
    source: str | PathLike[str],
    views: str,
    root: str | None = None,
    overrides: Sequence[str] = (),
    *,
    rows: int = ROWS,
) -> Audit:
    """Let the probes try to tell the labels of a pretext task from what they must not depend on.

    The probes see clips as training does, after all augmentation and arrangement. Videos are
    visited in rounds until there are enough labels, half of them to learn from.

    Args:
        source: anything ``read_manifest`` reads; all of its splits are used.
        views: the path of a config, or the name of views, which then have small clips, lightly
            augmented.
        root: folder that relative paths in a list start from.
        overrides: of the config, such as ``views.gap=4``.
        rows: labels wanted; half of them are scored.

    Raises:
        UserError: views without labels, or too few videos or labels.

    Example:
        >>> audit_views("videos", "temporal_pair")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: temporal_pair: has no labels that a method is to tell; use ...
    """
    config = _config(str(source), views, root, overrides)
    built = build.build_views(config)
    if not (built.kinds & KINDS and built.order_classes):
        raise UserError(views, "has no labels that a method is to tell", f"use {_labelled()}")
    if rows < 2:
        raise UserError(f"rows = {rows}", "leaves nothing to learn from or to score", "use 2000")
    manifest = _sample(read_manifest(source, root=root), rows, config.seed)
    dataset = build.build_dataset(config, build.Data(manifest, None, Parts(manifest)), built)
    collected = _Collected(dataset)
    visits = 0
    while len(collected) < rows and visits < MOST_VISITS:
        sampler = EveryVideo(len(manifest), batch_size=BATCH, first_visit=visits)
        workers = default_workers() if config.data.workers is None else config.data.workers
        for batch in train_loader(dataset, sampler, workers=workers):
            collected.add(batch, visits)
        visits += 1
    verdicts = collected.verdicts(config.seed)
    return Audit(config.views.name, built.order_classes, visits, len(manifest), verdicts)


def summary(found: Audit) -> Table:
    """A table of the probes.

    Example:
        >>> summary(Audit("rotated", 4, 2, 9, {"seam": None})).row_count
        1
    """
    title = f"{found.views}: {found.classes} classes, {found.videos} videos, {found.visits} visits"
    table = Table("probe", "labels", "accuracy", "chance", "z", "verdict", title=title)
    for name, verdict in found.verdicts.items():
        if verdict is None:
            table.add_row(name, "", "", "", "", "nothing to look at")
            continue
        table.add_row(
            name,
            str(verdict.rows),
            f"{verdict.accuracy:.1%}",
            f"{verdict.chance:.1%}",
            f"{verdict.z:+.1f}",
            "REPORTED" if verdict.reported else "passes",
        )
    return table


def write_audit(found: Audit, path: str | PathLike[str]) -> None:
    """Write the figures as JSON.

    Raises:
        UserError: the file cannot be written.
    """
    probes = {
        name: verdict and asdict(verdict) | {"z": verdict.z, "reported": verdict.reported}
        for name, verdict in found.verdicts.items()
    }
    facts = asdict(found) | {"finding": found.finding}
    del facts["verdicts"]
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(facts | {"probes": probes}, indent=1) + "\n")
    except OSError as error:
        reason = f"cannot be written ({error.strerror})"
        raise UserError(path, reason, "give another --output") from error


class _Collected:
    """Labels, groups and traces of the rows so far."""

    def __init__(self, dataset: TrainDataset) -> None:
        self.dataset = dataset
        self.videos: dict[int, Video] = {}
        self.label: list[Tensor] = []
        self.group: list[Tensor] = []
        self.traces: defaultdict[str, list[Tensor]] = defaultdict(list)

    def __len__(self) -> int:
        return sum(map(len, self.label))

    def add(self, batch: Batch, visit: int) -> None:
        """Measure what stands in one batch."""
        if self.dataset.rest is not None:
            batch = batch.augmented(self.dataset.rest)
        rows = list(_rows(batch, self.dataset.views))
        if not rows:
            return
        B, V = (torch.tensor(part) for part in zip(*rows, strict=True))
        clips_RVCTHW = batch.clips_BVCTHW[B[:, None], V].float()
        videos = [self._video(int(video)) for video in batch.video_id_B[B]]
        aspect_R = torch.tensor([video.size[1] / video.size[0] for video in videos])
        shown = [self._frames(int(v), visit) for v in batch.video_id_B[B]]
        pieces = self.dataset.views.pieces(clips_RVCTHW.shape[-3:])
        self.label.append(batch.order_BV[B, V[:, 0]])
        self.group.append(batch.group_id_B[B])
        self.traces["colour"].append(audit.colour(clips_RVCTHW))
        self.traces["border"].append(audit.border(clips_RVCTHW))
        self.traces["aspect"].append(audit.shape(clips_RVCTHW, aspect_R))
        self.traces["gop"].append(
            torch.stack(
                [
                    audit.gop_position(frames_VT[mine.numpy()], video.key_frames)
                    for frames_VT, mine, video in zip(shown, V, videos, strict=True)
                ]
            )
        )
        self.traces["seam"].append(audit.seams(clips_RVCTHW, pieces))

    def verdicts(self, seed: int) -> dict[str, Verdict | None]:
        """What each probe can tell; None where it has nothing to look at."""
        label_R = torch.cat(self.label) if self.label else torch.empty(0, dtype=torch.int64)
        group_R = torch.cat(self.group) if self.group else label_R
        if not len(label_R):
            reason = "gives no video of these a label: they are too short, or nothing in them moves"
            raise UserError("audit", reason, "use shorter clips")
        found: dict[str, Verdict | None] = {}
        for name, parts in self.traces.items():
            x_RD = torch.cat(parts)
            has_any = x_RD.shape[1] > 0
            found[name] = audit.probe(x_RD, label_R, group_R, seed=seed) if has_any else None
        return found

    def _video(self, row: int) -> Video:
        """The file itself: a cache keeps neither key frames nor the size it had."""
        if row not in self.videos:
            path, limits = self.dataset.manifest.path(row), self.dataset.reader.limits
            self.videos[row] = open_video(path, limits=limits)
        return self.videos[row]

    def _frames(self, row: int, visit: int) -> Ints:
        plan, shown_L = self.dataset.plan(self._video(row), Visit(visit, row))
        return shown_L[plan.ticks_VT]


def _rows(batch: Batch, views: Views) -> Iterator[tuple[int, list[int]]]:
    """The video and the clips of each labelled row: a tuple as a whole, or every labelled clip."""
    for video, order_V in enumerate(batch.order_BV.tolist()):
        if "tuple" in views.kinds:
            if order_V[0] >= 0:
                yield video, list(range(len(order_V)))
        else:
            yield from ((video, [v]) for v, order in enumerate(order_V) if order >= 0)


def _config(source: str, views: str, root: str | None, overrides: Sequence[str]) -> Config:
    given = [f"data.train={source}", *([f"data.root={root}"] if root else []), *overrides]
    if Path(views).suffix in (".yaml", ".yml") or views in config_names():
        return load_config(views, given)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bare.yaml"
        file.write_text(f"{BARE}views: {{name: {views}}}\n")
        return load_config(file, given)


def _sample(manifest: Manifest, most: int, seed: int) -> Manifest:
    """At most so many videos, drawn."""
    if len(manifest) <= most:
        return manifest
    chosen = numpy_rng(seed, FOR_SAMPLE).choice(len(manifest), most, replace=False)
    return manifest.take(np.sort(chosen))


def _labelled() -> str:
    """Views whose labels a method is to tell, for a message."""
    kinds = {
        name: importlib.import_module(f"cvrl.views.{name}").VIEWS.kinds
        for name in components.names("views")
    }
    names = [
        f"{name} with views.role=predict" if "contrast" in offered else name
        for name, offered in kinds.items()
        if offered & KINDS
    ]
    return ", ".join(names[:-1]) + f" or {names[-1]}"
