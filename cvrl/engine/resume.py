"""Whether a run folder holds a run to go on with, and whether it is this one."""

import dataclasses
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from cvrl.config import Config, load_config, save_config
from cvrl.data.manifest import Manifest, write_manifest
from cvrl.engine import build
from cvrl.engine.checkpoint import list_checkpoints, load_checkpoint, remove_leftovers
from cvrl.engine.few_labels import LABELLED_FILE
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path

# What may differ between a run and its continuation: these do not change what is computed.
FREE = (
    *("name", "output", "checkpoint", "log", "eval"),
    *("data.workers", "data.cache_dir", "data.limits"),
)
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
        return None
    if resume == "never":
        raise UserError(
            folder, "holds a run, and checkpoint.resume=never", "give another output= or remove it"
        )
    if (folder / "config.yaml").exists():
        _refuse_other_config(config, load_config(folder / "config.yaml"), folder)
    return found[-1]


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

    Args:
        config: of the run.
        folder: of the run.
        labelled: the videos whose labels were drawn, for ``labelled.csv``; None where all count.
    """
    save_config(config, folder / "config.yaml")
    if labelled is not None:
        write_manifest(labelled, folder / LABELLED_FILE)
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    machine = f"python {platform.python_version()}, {platform.platform()}"
    with atomic_path(folder / "env.txt") as temporary:
        temporary.write_text("\n".join([machine, *versions]) + "\n")


def _refuse_other_config(config: Config, former: Config, folder: Path) -> None:
    now, then = dict(_leaves(config)), dict(_leaves(former))
    changed = [
        key
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key) and not key.startswith(FREE)
    ]
    if changed:
        key = changed[0]
        more = f" and {len(changed) - 1} more keys" if len(changed) > 1 else ""
        raise UserError(
            folder,
            f"holds a run with {key}={then.get(key)}, not {now.get(key)}{more}",
            "give another output=, or the config of that run",
        )


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
