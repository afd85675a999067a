"""One config over several splits of a data set, scored on each, and the mean.

UCF101 and HMDB51 have three official splits, and a number for the data set is the mean over them.
Each split is a run of its own in a folder of its own, so what was stopped goes on, split by split.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from cvrl.config import load_config
from cvrl.engine.resume import check_finished
from cvrl.engine.study import Arm, Run, Study, records_of, score_run
from cvrl.engine.study_table import tabulate
from cvrl.engine.trainer import train
from cvrl.pretrained import holds_classifier
from cvrl.utils import dist
from cvrl.utils.errors import UserError


def column_names(text: str) -> tuple[str, ...]:
    """The columns of a list that ``--splits`` names; a number stands for the official split.

    Raises:
        UserError: no name, or one given twice.

    Example:
        >>> column_names("1,2,leave_out_ann")
        ('split1', 'split2', 'leave_out_ann')
    """
    names = [name.strip() for name in text.split(",")]
    columns = tuple(f"split{name}" if name.isdigit() else name for name in names)
    if not all(columns) or len(set(columns)) < len(columns):
        raise UserError(f"--splits {text}", "is no choice of splits", "write --splits 1,2,3")
    return columns


def train_splits(
    path: str | PathLike[str],
    overrides: Sequence[str],
    splits: Sequence[str],
    *,
    clips: int = 10,
    crops: int = 3,
) -> str:
    """Train and score a config on every split, in ``<output>/<split>``.

    A run that trains a classifier is scored by it, on ``clips`` x ``crops`` views of each test
    video; any other by nearest neighbours and a linear probe.

    Args:
        path: the config.
        overrides: of it; ``data.split_column`` is not among them.
        splits: columns of the list.
        clips: of each test video.
        crops: of each clip, for a classifier.

    Returns:
        A table in Markdown, of each split and of their mean.

    Raises:
        UserError: what a run would raise, or that one was stopped.
    """
    given = [text for text in overrides if not text.startswith("output=")]
    whole = load_config(path, overrides)
    configs = {
        Run(whole.name, split, whole.seed): load_config(
            path, [*given, f"data.split_column={split}", f"output={whole.run_folder / split}"]
        )
        for split in splits
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
