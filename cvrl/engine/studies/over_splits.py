"""One config over several splits of a data set, scored on each, and the mean.

UCF101 and HMDB51 have three official splits, and a number for the data set is the mean over them.
Small data sets are scored with one person left out at a time. Each split is a run of its own in a
folder of its own, so what was stopped goes on, split by split.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from cvrl.config import load_config
from cvrl.data.manifest import read_manifest
from cvrl.data.splits import OTHERS
from cvrl.engine.resume import check_finished
from cvrl.engine.studies.study import Arm, Run, Study, records_of, score_run
from cvrl.engine.studies.study_table import tabulate
from cvrl.engine.trainer import train
from cvrl.pretrained import holds_classifier
from cvrl.utils import dist
from cvrl.utils.errors import UserError

Splits = Mapping[str, Sequence[str]]
"""What a config needs to be told of each split, by its name."""


def official_splits(text: str) -> Splits:
    """The columns of a list that ``--splits`` names; a number stands for the official split.

    Raises:
        UserError: no name, or one given twice.

    Example:
        >>> official_splits("1,mine")
        {'split1': ['data.split_column=split1'], 'mine': ['data.split_column=mine']}
    """
    names = [name.strip() for name in text.split(",")]
    columns = tuple(f"split{name}" if name.isdigit() else name for name in names)
    if not all(columns) or len(set(columns)) < len(columns):
        raise UserError(f"--splits {text}", "is no choice of splits", "write --splits 1,2,3")
    return {column: [f"data.split_column={column}"] for column in columns}


def leave_one_out(path: str | PathLike[str], overrides: Sequence[str], column: str) -> Splits:
    """A split for each value of a column: that value is tested, all others train.

    Args:
        path: the config.
        overrides: of it, which name the list.
        column: of the list, such as ``person``.

    Raises:
        UserError: the list has no such column, or one value in it.

    Example:
        >>> wish = ["data.train=weizmann.csv"]
        >>> leave_one_out("configs/finetune/small.yaml", wish, "person")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: weizmann.csv: no such file or folder; ...
    """
    data = load_config(path, overrides).data
    listed = read_manifest(data.train, root=data.root, split_column=column, labels=data.labels)
    if len(listed.splits) < 2:
        found = ", ".join(listed.splits) or "no value"
        raise UserError(listed.source, f"column '{column}' has {found}", "name one with several")
    others = [f"data.split_column={column}", f"data.train_split={OTHERS}"]
    return {name: [*others, f"data.test_split={name}"] for name in listed.splits}


def train_splits(
    path: str | PathLike[str],
    overrides: Sequence[str],
    splits: Splits,
    *,
    clips: int | None = None,
    crops: int | None = None,
) -> str:
    """Train and score a config on every split, in ``<output>/<split>``.

    A run that trains a classifier is scored by it, on ``clips`` x ``crops`` views of each test
    video; any other by nearest neighbours and a linear probe.

    Args:
        path: the config.
        overrides: of it; the split is not among them.
        splits: as :func:`official_splits` or :func:`leave_one_out` says.
        clips: of each test video; None for ``test.clips`` of the config.
        crops: of each clip, for a classifier; None for ``test.crops``.

    Returns:
        A table in Markdown, of each split and of their mean.

    Raises:
        UserError: what a run would raise, or that one was stopped.
    """
    given = [text for text in overrides if not text.startswith("output=")]
    whole = load_config(path, overrides)
    clips, crops = clips or whole.test.clips, crops or whole.test.crops
    configs = {
        Run(whole.name, split, whole.seed): load_config(
            path, [*given, *chosen, f"output={whole.run_folder / split}"]
        )
        for split, chosen in splits.items()
    }
    protocols: tuple[str, ...] = ()
    for config in configs.values():
        trained = train(config)
        if dist.is_main():
            check_finished(config)
            protocols = ("classifier",) if holds_classifier(trained) else ("knn", "linear")
            score_run(config, _study(whole.name, path, protocols, clips, crops))
        dist.barrier()
    if not dist.is_main():
        return ""
    records = list(records_of(configs, protocols))
    titles = {split: [r for r in records if r["split"] == split] for split in splits}
    titles |= {f"mean of {len(splits)} splits": records}
    tables = [f"{name}:\n\n{tabulate(of, [whole.name], protocols)}" for name, of in titles.items()]
    return "\n".join(tables)


def _study(
    name: str, path: str | PathLike[str], protocols: tuple[str, ...], clips: int, crops: int
) -> Study:
    """How the runs are scored, as a study says it."""
    arms = {name: Arm(Path(path))}
    return Study(name, (0,), protocols, arms, clips_per_video=clips, crops=crops)
