"""A training part of which only some videos have a label: drawn once, kept with the run.

``data.labels_per_class`` or ``data.label_fraction`` say how many, ``data.label_seed`` which. What
was drawn stands in ``labelled.csv`` of the run's folder, where a run that goes on takes it from.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cvrl.config import DataConfig
from cvrl.data.label_draw import draw_labelled
from cvrl.data.manifest import Manifest, read_manifest
from cvrl.engine.checkpoint import list_checkpoints
from cvrl.utils.errors import UserError

LABELLED_FILE = "labelled.csv"


def choose(
    train: Manifest, data: DataConfig, *, seed: int, folder: Path
) -> tuple[Manifest, Manifest | None]:
    """What a run trains on, and the videos whose labels were drawn.

    Args:
        train: the training part with all its labels.
        data: how many to keep, and whether the other videos stay in, without theirs.
        seed: of the draw, where ``data.label_seed`` gives none.
        folder: of the run; if it holds one to go on with, its labels are taken up.

    Returns:
        (train, labelled); all of ``train`` and None where all labels count.

    Raises:
        UserError: a class has too few videos, or the list lacks some that had a label.
    """
    if data.labels_per_class is None and data.label_fraction is None:
        return train, None
    file = folder / LABELLED_FILE
    if file.exists() and list_checkpoints(folder / "checkpoints"):
        rows = _rows_listed(file, train)
    else:
        rows = draw_labelled(
            train,
            per_class=data.labels_per_class,
            fraction=data.label_fraction,
            seed=seed if data.label_seed is None else data.label_seed,
        )
    labelled = train.take(rows)
    return (labelled if data.unlabelled == "drop" else _without_other(train, rows)), labelled


def _rows_listed(file: Path, train: Manifest) -> NDArray[np.int64]:
    row_of = {path: row for row, path in enumerate(train.paths)}
    listed = read_manifest(file, check_files=False).paths
    gone = [path for path in listed if path not in row_of]
    if gone:
        reason = f"names {len(gone)} videos that are no longer in {train.source}, first {gone[0]}"
        raise UserError(file, reason, "give the list the run began with, or another output=")
    return np.array(sorted(row_of[path] for path in listed), dtype=np.int64)


def _without_other(train: Manifest, rows: NDArray[np.int64]) -> Manifest:
    """All videos, and the labels of some."""
    label_ids = np.full_like(train.label_ids, -1)
    label_ids[rows] = train.label_ids[rows]
    names = [train.class_names[label] if label >= 0 else None for label in label_ids]
    column = train.table.column_names.index("label")
    table = train.table.set_column(column, "label", pa.array(names, pa.string()))
    return replace(train, label_ids=label_ids, table=table)
