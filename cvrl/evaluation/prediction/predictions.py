"""What a classifier answered for each video of a list: scores, confusion, and files to keep.

Shape suffixes: V videos, K classes.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from rich.table import Table
from sklearn.metrics import average_precision_score
from torch import Tensor

from cvrl.data.manifest import Manifest
from cvrl.data.tags import SEPARATOR, multi_hot
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

PREDICTIONS_FILE = "predictions.parquet"
CONFUSION_FILE = "confusion.csv"
CLASSES_SHOWN = 20
SURE = 0.5  # from this probability on, a class of several is part of the answer


@dataclass(frozen=True)
class Predictions:
    """The answers of a classifier, in the order of a list of videos.

    Attributes:
        class_names: K names, in the order of the probabilities.
        paths: V files.
        labels: V labels as listed; None where a video has none.
        probability_VK: the mean over the views of a video.
        multi_label: whether a video may have several classes, its label joining them by ``+``.
        bad: (path, reason) of each video that could not be decoded and is not among the paths.

    Example:
        >>> names, labels = ["jump", "run"], ["run", "run"]
        >>> shares = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> answers = Predictions(names, ["a.mp4", "b.mp4"], labels, shares)
        >>> answers.predicted, answers.confusion_KK().tolist(), answers.class_accuracy()
        (['jump', 'run'], [[0, 0], [1, 1]], {'run': 0.5})
    """

    class_names: list[str]
    paths: list[str]
    labels: list[str | None]
    probability_VK: Tensor
    multi_label: bool = False
    bad: tuple[tuple[str, str], ...] = ()

    @property
    def predicted(self) -> list[str]:
        """The likeliest class of each video; of several, all those that are likelier than not."""
        names = self.class_names
        if not self.multi_label:
            return [names[k] for k in self.probability_VK.argmax(dim=1).tolist()]
        sure_VK = (self.probability_VK >= SURE).tolist()
        return [
            SEPARATOR.join(name for name, is_sure in zip(names, sure_K, strict=True) if is_sure)
            for sure_K in sure_VK
        ]

    def confusion_KK(self) -> NDArray[np.int64]:
        """Videos by true class (rows) and answer (columns); those without a label are not in it."""
        place = {name: k for k, name in enumerate(self.class_names)}
        counts_KK = np.zeros((len(place), len(place)), np.int64)
        for label, answer in zip(self.labels, self.predicted, strict=True):
            if label is not None:
                counts_KK[place[label], place[answer]] += 1
        return counts_KK

    def class_accuracy(self) -> dict[str, float]:
        """The share answered right in each class that has a video."""
        counts_KK = self.confusion_KK()
        return {
            name: float(counts_KK[k, k] / counts_KK[k].sum())
            for k, name in enumerate(self.class_names)
            if counts_KK[k].any()
        }

    def write(self, folder: str | PathLike[str]) -> list[Path]:
        """Write ``predictions.parquet`` and, where videos have one label each, ``confusion.csv``.

        The table has columns path, label, predicted, and ``p_<class>`` for each class.

        Returns:
            The files.
        """
        written = [Path(folder) / PREDICTIONS_FILE]
        columns = {
            "path": pa.array(self.paths, pa.string()),
            "label": pa.array(self.labels, pa.string()),
            "predicted": pa.array(self.predicted, pa.string()),
        }
        for k, name in enumerate(self.class_names):
            columns[f"p_{name}"] = pa.array(self.probability_VK[:, k].float().numpy())
        with atomic_path(written[0]) as temporary:
            pq.write_table(pa.table(columns), temporary)
        if not self.multi_label and any(label is not None for label in self.labels):
            written.append(Path(folder) / CONFUSION_FILE)
            with atomic_path(written[1]) as temporary:
                self._write_confusion(temporary)
        return written

    def _write_confusion(self, path: Path) -> None:
        with open(path, "w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["true class, answer in columns", *self.class_names])
            for name, counts_K in zip(self.class_names, self.confusion_KK().tolist(), strict=True):
                writer.writerow([name, *counts_K])


def render_classes(predictions: Predictions) -> Table:
    """Lay out for a terminal how well each class was told, the hardest ones first.

    Args:
        predictions: of classes that exclude each other.

    Returns:
        Up to ``CLASSES_SHOWN`` classes: their videos, the share answered right, and the class they
        were most often taken for.
    """
    counts_KK, names = predictions.confusion_KK(), predictions.class_names
    shares = sorted(predictions.class_accuracy().items(), key=lambda item: item[1])
    shown = shares[:CLASSES_SHOWN]
    title = "classes" if len(shown) == len(shares) else f"the {len(shown)} hardest classes"
    table = Table("class", title=title, title_justify="left")
    for column in ("videos", "right %"):
        table.add_column(column, justify="right")
    table.add_column("most often taken for")
    for name, share in shown:
        counts_K = counts_KK[names.index(name)].copy()
        videos, counts_K[names.index(name)] = int(counts_K.sum()), 0
        rival = f"{names[int(counts_K.argmax())]} ({counts_K.max()})" if counts_K.any() else ""
        table.add_row(name, str(videos), f"{100 * share:.1f}", rival)
    return table


def true_classes(manifest: Manifest, class_names: Sequence[str]) -> Tensor:
    """The class of each video, numbered as a classifier does.

    Args:
        manifest: videos with one label each.
        class_names: of the classifier.

    Returns:
        (V,) integers in [0, K).

    Raises:
        UserError: a video without a label, or labels that the classifier does not know.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> videos = make_manifest({"path": ["a.mp4"], "label": ["run"]}, root="/")
        >>> true_classes(videos, ["sit", "run"]).tolist()
        [1]
    """
    _check_labelled(manifest)
    _check_known(manifest, {manifest.class_names[i] for i in manifest.label_ids}, class_names)
    place = {name: k for k, name in enumerate(class_names)}
    return torch.tensor([place[manifest.class_names[i]] for i in manifest.label_ids])


def true_tags(manifest: Manifest, class_names: Sequence[str]) -> Tensor:
    """Which classes each video has, in the order of a classifier for several.

    Args:
        manifest: videos whose labels join classes by ``+``.
        class_names: of the classifier.

    Returns:
        (V, K) zeros and ones.

    Raises:
        UserError: a video without a label, or classes that the classifier does not know.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> videos = make_manifest({"path": ["a.mp4"], "label": ["sea+surf"]}, root="/")
        >>> true_tags(videos, ["boat", "surf", "sea"]).tolist()
        [[0.0, 1.0, 1.0]]
    """
    _check_labelled(manifest)
    tags, has_LH = multi_hot(manifest.class_names)
    has_VH = has_LH[torch.from_numpy(manifest.label_ids)]
    used = {tag for tag, is_used in zip(tags, has_VH.any(dim=0).tolist(), strict=True) if is_used}
    _check_known(manifest, used, class_names)
    none_V = has_VH.new_zeros(len(manifest))
    column = {tag: has_VH[:, h] for h, tag in enumerate(tags)}
    return torch.stack([column.get(name, none_V) for name in class_names], dim=1)


def mean_average_precision(probability_VK: Tensor, has_VK: Tensor) -> float:
    """The mean over classes of the average precision of ranking videos by a class's probability.

    Args:
        probability_VK: or any other scores, higher is likelier.
        has_VK: zeros and ones; classes that no video has do not count.

    Example:
        >>> has_VK = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> mean_average_precision(torch.tensor([[0.9, 0.2], [0.3, 0.1]]), has_VK)
        0.75
    """
    columns = [k for k in range(has_VK.shape[1]) if has_VK[:, k].any()]
    return float(
        np.mean([average_precision_score(has_VK[:, k], probability_VK[:, k]) for k in columns])
    )


def _check_labelled(manifest: Manifest) -> None:
    without = int((manifest.label_ids < 0).sum())
    if without:
        reason = f"{without} of {len(manifest)} videos have no label to score by"
        raise UserError(manifest.source, reason, "use tools/predict.py, which needs none")


def _check_known(manifest: Manifest, used: set[str], class_names: Sequence[str]) -> None:
    unknown = sorted(used - set(class_names))
    if unknown:
        some = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        known = ", ".join(class_names[:5]) + (" ..." if len(class_names) > 5 else "")
        reason = f"has classes that the classifier was not trained on: {some}"
        raise UserError(manifest.source, reason, f"its {len(class_names)} classes are {known}")
