"""Score a finished run: its config says on which videos and how, the command line what differs."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from cvrl.config import Config, DataConfig, load_config
from cvrl.data.loader import default_workers
from cvrl.evaluation.card import Result
from cvrl.evaluation.parts import Parts, read_parts
from cvrl.evaluation.protocol import Options, evaluate, suitable_protocols
from cvrl.pretrained import load_encoder
from cvrl.utils.errors import UserError

SOURCE = ("train", "test", "root", "split_column", "train_split", "test_split", "cameras")


def score_run(
    checkpoint: str | PathLike[str],
    given: Mapping[str, Any],
    *,
    protocols: Sequence[str] | None = None,
    device: str = "cpu",
) -> Iterator[Result]:
    """Evaluate a run or a model file by one or several protocols.

    Args:
        checkpoint: run folder or ``model.safetensors``.
        given: what is not to be as the run's config says: fields of its data section, ``hold_out``,
            and fields of :class:`cvrl.evaluation.contest.Options`.
        protocols: by name; None leaves the choice to the videos.
        device: where to compute.

    Yields:
        A result a protocol.

    Raises:
        UserError: no model, no videos, or settings that cannot be used.
        CorruptVideoError: a video cannot be decoded, and that is not allowed.
    """
    run = run_folder(checkpoint)
    encoder = load_encoder(checkpoint).to(device)
    config, parts = read_run_parts(run, given)
    known = {**vars(config.eval), "workers": default_workers(), "seed": config.seed, **given}
    options = Options(**{key: known[key] for key in vars(Options()) if key in known})
    yield from evaluate(encoder, parts, suitable_protocols(parts, protocols), options)


def run_folder(checkpoint: str | PathLike[str]) -> Path:
    """The folder of a run, of which the checkpoint may be a file."""
    path = Path(checkpoint)
    return path if path.is_dir() else path.parent


def read_run_parts(run: Path, given: Mapping[str, Any]) -> tuple[Config, Parts]:
    """The config of a run, and the videos to score it on.

    Args:
        run: the folder.
        given: what is not to be as its config says, see :func:`score_run`.

    Raises:
        UserError: neither names videos, or they cannot be used.
    """
    has_config = (run / "config.yaml").exists()
    if not (has_config or given.get("train")):
        raise UserError(run, "has no config.yaml that names videos", "give them with --train")
    config = load_config(run / "config.yaml") if has_config else Config()
    # The run's splits fit the run's list only.
    data = DataConfig() if given.get("train") else config.data
    data = dataclasses.replace(data, **{key: given[key] for key in SOURCE if key in given})
    parts = read_parts(
        **{key: getattr(data, key) for key in SOURCE},
        hold_out=given.get("hold_out"),
        fallback_hold_out=data.hold_out,
        seed=config.seed,
        allow_missing=bool(given.get("allow_missing")),
    )
    return config, parts
