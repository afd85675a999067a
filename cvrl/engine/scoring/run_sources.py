"""Which videos a command that scores a run looks at: those given, or those of the run's config."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from cvrl.config import Config, DataConfig, TestConfig, load_config
from cvrl.data.manifest import read_manifest
from cvrl.data.splits import Parts, read_splits
from cvrl.pretrained import is_shipped, local_path
from cvrl.utils.errors import UserError

KEYS = ("train", "test", "root", "split_column", "train_split", "test_split", "cameras", "labels")


@dataclass(frozen=True)
class Source:
    """What a command scores.

    Attributes:
        run: the run's folder, or the folder of a model file.
        config: of the run; the defaults where it has none.
        parts: the videos.
    """

    run: Path
    config: Config
    parts: Parts


def run_folder(checkpoint: str | PathLike[str]) -> Path:
    """The folder of a run, of which the checkpoint may be a file.

    What is written about an encoder that comes with the package goes to ``runs/shipped``.
    """
    if is_shipped(checkpoint):
        return Path("runs", "shipped", str(checkpoint))
    path = Path(local_path(checkpoint))
    return path if path.is_dir() else path.parent


def run_config(checkpoint: str | PathLike[str]) -> Config:
    """The config of a run; the defaults where a model file has none beside it.

    Example:
        >>> run_config("no/such/run").test.clips
        10
    """
    file = run_folder(checkpoint) / "config.yaml"
    return load_config(file) if file.exists() else Config()


def views_to_test(checkpoint: str | PathLike[str], given: Mapping[str, Any]) -> TestConfig:
    """The clips and crops of each video that a classifier is tested on.

    Args:
        checkpoint: a run folder, or a model file in one.
        given: the command's options by name; those that are None or missing are taken from the
            run's config.

    Example:
        >>> views_to_test("no/such/run", {"clips": 5, "crops": None})
        TestConfig(clips=5, crops=3, size=None, short_side=None)
    """
    views = run_config(checkpoint).test
    known = {key: given[key] for key in vars(views) if given.get(key) is not None}
    return dataclasses.replace(views, **known)


def read_source(checkpoint: str | PathLike[str], given: Mapping[str, Any]) -> Source:
    """Read the videos that a run is to be scored on.

    Args:
        checkpoint: a run folder, or a model file in one.
        given: the command's options by name; those that are None or missing are taken from the
            run's config. Its splits fit its own list only, so ``train`` sets all of them aside.

    Raises:
        UserError: neither config nor ``train`` names videos, or they cannot be read.

    Example:
        >>> read_source("no/such/run", {})
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: no/such: has no config.yaml that names videos; give them with \
--train
    """
    run = run_folder(checkpoint)
    given = {key: value for key, value in given.items() if value is not None}
    has_config = (run / "config.yaml").exists()
    if not (has_config or "train" in given):
        raise UserError(run, "has no config.yaml that names videos", "give them with --train")
    config = run_config(checkpoint)
    data = DataConfig() if "train" in given else config.data
    data = dataclasses.replace(data, **{k: given[k] for k in vars(data) if k in given})
    if given.get("leave_one_out") is not None:
        return Source(run, config, _whole_list(data, given))
    shares: dict[str, Any] = {
        "hold_out": given.get("hold_out"),
        "fallback_hold_out": data.hold_out,
        "allow_missing": bool(given.get("allow_missing")),
    }
    parts = read_splits(**{k: getattr(data, k) for k in KEYS}, **shares, seed=config.seed)
    return Source(run, config, parts)


def _whole_list(data: DataConfig, given: Mapping[str, Any]) -> Parts:
    """Every row of the training list, whatever split it is in, for cross-validation."""
    for option in ("test", "hold_out", "scratch"):
        if given.get(option) is not None:
            flag = f"--{option.replace('_', '-')}"
            reason = "does not go with --leave-one-out, which learns from and scores one list"
            raise UserError(flag, reason, "leave one of the two out")
    how: dict[str, Any] = {"root": data.root, "cameras": data.cameras or ()}
    how |= {"check_files": False, "keep_bad": True} if given.get("allow_missing") else {}
    if not data.train:
        raise UserError("--leave-one-out", "there is no list to score", "give it with --train")
    return Parts(read_manifest(data.train, **how), None, f"{data.train}, every row")
