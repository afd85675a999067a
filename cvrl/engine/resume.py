"""Whether a run folder holds a run to go on with, and whether it is this one."""

import copy
import dataclasses
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from cvrl.config import Config, load_config, parse_config, save_config
from cvrl.data.fingerprint import Fingerprint, list_difference
from cvrl.data.manifest import Manifest, write_manifest
from cvrl.engine import build
from cvrl.engine.checkpoint import State, list_checkpoints, load_checkpoint
from cvrl.engine.few_labels import LABELLED_FILE
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path, remove_leftovers
from cvrl.utils.log import read_metrics

# What may differ between a run and its continuation: these do not change what is computed.
# Where the data lies may: the run keeps a fingerprint of its list.
FREE = (
    *("name", "output", "checkpoint", "log", "eval"),
    *("data.workers", "data.cache_dir", "data.limits", "data.root", "data.stall_seconds"),
    "train.device",
)
PATHS = ("data.train", "data.test", "data.root", "data.cache_dir", "encoder.weights")
PACKAGES = ("torch", "torchvision", "pytorchvideo", "decord2", "av", "accelerate", "numpy")


def find_checkpoint(config: Config, folder: Path) -> Path | None:
    """The checkpoint to go on from, or None for a fresh start.

    ``checkpoint.resume`` is ``auto`` (the newest in the folder, if any), ``never`` (the folder must
    hold none), or the path of a checkpoint.

    Raises:
        UserError: the folder holds a run of another config, or one that ``never`` would overwrite.
    """
    resume = config.checkpoint.resume
    if resume not in ("auto", "never"):
        return Path(resume)
    remove_leftovers(folder / "checkpoints")
    found = list_checkpoints(folder / "checkpoints")
    if not found:
        if resume == "auto" and read_metrics(folder / "metrics.jsonl"):
            _refuse_other_config(config, load_config(folder / "config.yaml"), folder)
        return None
    if resume == "never":
        raise UserError(
            folder, "holds a run, and checkpoint.resume=never", "give another output= or remove it"
        )
    if (folder / "config.yaml").exists():
        _refuse_other_config(config, load_config(folder / "config.yaml"), folder)
    return found[-1]


def check_continuation(
    config: Config, videos: Fingerprint, state: State, checkpoint: Path, folder: Path
) -> None:
    """Refuse to go on with the run of a folder from the weights of another config or other videos.

    A checkpoint that ``checkpoint.resume`` names is taken as it is.

    Args:
        config: of the run.
        videos: fingerprint of its list.
        state: what the checkpoint holds; older ones hold neither config nor fingerprint.
        checkpoint: where it was read.
        folder: of the run.

    Raises:
        UserError: naming what differs.
    """
    if config.checkpoint.resume not in ("auto", "never"):
        return
    if "config" in state:
        _refuse_other_config(config, parse_config(state["config"], checkpoint), folder)
    differs = list_difference(state.get("videos"), videos)
    if differs is not None:
        remedy = "give another output=, or the list as it was"
        raise UserError(config.data.train, f"the run in {folder} has {differs}", remedy)


def check_finished(config: Config) -> None:
    """Refuse a run that did not come to its last step, as one that was asked to stop.

    Raises:
        UserError: it did not.
    """
    total = build.build_schedule(config, len(build.build_data(config).train)).total_steps
    found = list_checkpoints(config.run_folder / "checkpoints")
    if not found or load_checkpoint(found[-1])["step"] < total:
        reason = f"was stopped before its last step, {total}"
        raise UserError(config.run_folder, reason, "give the same command again to go on")


def start_folder(config: Config, folder: Path, labelled: Manifest | None = None) -> None:
    """Write what a run was asked to do (``config.yaml``) and with what (``env.txt``).

    Paths in the config become absolute: commands that read it may be given in any folder.

    Args:
        config: of the run.
        folder: of the run.
        labelled: the videos whose labels were drawn, for ``labelled.csv``; None where all count.
    """
    save_config(absolute_paths(config), folder / "config.yaml")
    if labelled is not None:
        write_manifest(labelled, folder / LABELLED_FILE)
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    machine = f"python {platform.python_version()}, {platform.platform()}"
    with atomic_path(folder / "env.txt") as temporary:
        temporary.write_text("\n".join([machine, *versions]) + "\n")


def absolute_paths(config: Config) -> Config:
    """The config with the paths that are there made absolute, so that it holds in any folder.

    Example:
        >>> from cvrl.config import DataConfig
        >>> absolute_paths(Config(data=DataConfig(train="."))).data.train == os.getcwd()
        True
    """
    config = copy.deepcopy(config)
    for section, key in (path.split(".") for path in PATHS):
        value = getattr(getattr(config, section), key)
        if value is not None and os.path.exists(value):
            setattr(getattr(config, section), key, os.path.abspath(value))
    return config


def _refuse_other_config(config: Config, former: Config, folder: Path) -> None:
    now, then = (dict(_leaves(absolute_paths(one))) for one in (config, former))
    changed = [
        key
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key) and not key.startswith(FREE)
    ]
    if changed in (["train.epochs"], ["train.steps"]) and _is_longer(now, then, changed[0]):
        raise UserError(
            folder,
            f"holds a run with {changed[0]}={then[changed[0]]}, not {now[changed[0]]}",
            "to train longer, give another output= and checkpoint.resume=the last file in "
            f"{folder / 'checkpoints'}: it goes on at that step of the longer schedule",
        )
    if changed:
        key = changed[0]
        more = f" and {len(changed) - 1} more keys" if len(changed) > 1 else ""
        raise UserError(
            folder,
            f"holds a run with {key}={then.get(key)}, not {now.get(key)}{more}",
            "give another output=, or the config of that run",
        )


def _is_longer(now: dict[str, Any], then: dict[str, Any], key: str) -> bool:
    return isinstance(now[key], int) and isinstance(then[key], int) and now[key] > then[key]


def _leaves(config: Config) -> Iterator[tuple[str, Any]]:
    for section, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            yield from ((f"{section}.{key}", leaf) for key, leaf in value.items())
        else:
            yield section, value


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # decord2, say, which few settings need
        return "not installed"
