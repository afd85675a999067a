"""A folder as the Hugging Face Hub has it: the weights, their config, and a model card."""

import json
import shutil
from os import PathLike
from pathlib import Path

from cvrl import __version__
from cvrl.evaluation.card import Result, read_result
from cvrl.export.model_card import write_card
from cvrl.pretrained import MODEL_FILE, facts_of, model_file
from cvrl.utils.errors import UserError
from cvrl.utils.io import atomic_path


def write_hub_folder(
    run: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    data_license: str | None,
    license: str | None = None,
    title: str | None = None,
    hub_name: str | None = None,
) -> Path:
    """Write ``model.safetensors``, ``config.json`` and the card ``README.md`` of a run.

    The weights are those of the run, byte by byte; ``cvrl.load_encoder(folder)`` reads them, and
    ``config.json`` repeats what the file says of its model for programs that do not. The card holds
    the settings of the run and the protocol card of every result in ``eval``; paths are shortened
    to their last part.

    Args:
        run: a run folder, or its ``model.safetensors``.
        folder: made where it is not there; its files of these three names are replaced.
        data_license: licence or terms of the training videos. It is stated, never guessed.
        license: licence of the weights, by the Hub's identifiers; None: not stated.
        title: of the card; default: the folder's name.
        hub_name: ``org/name`` for the example of the card; default: the folder's name.

    Returns:
        The folder.

    Raises:
        UserError: no licence of the data, no model that cvrl wrote, or a result that cannot be
            read.
    """
    if not (data_license or "").strip():
        remedy = 'state it, as in --data-license "CC BY 4.0"'
        raise UserError("--data-license", "the licence of the training videos is missing", remedy)
    folder, source = Path(folder), model_file(run)
    facts = facts_of(source)
    files = sorted((source.parent / "eval").glob("*.json"))
    results = [_read(path) for path in files if path.name != "pretext.json"]
    card = write_card(
        facts,
        _run_config(source.parent),
        results,
        title=title or folder.resolve().name,
        hub_name=hub_name or folder.resolve().name,
        data_license=str(data_license).strip(),
        license=license,
    )
    with atomic_path(folder / MODEL_FILE) as temporary:
        shutil.copyfile(source, temporary)
    config = {"library_name": "cvrl", "cvrl_version": __version__, **facts}
    for name, text in (("config.json", json.dumps(config, indent=1) + "\n"), ("README.md", card)):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, "utf-8")
    return folder


def _run_config(folder: Path) -> str:
    """The text of the run's config; empty for a file of weights alone."""
    file = folder / "config.yaml"
    return file.read_text("utf-8") if file.exists() else ""


def _read(path: Path) -> Result:
    try:
        return read_result(path)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(path, "is not a result", "delete it and evaluate again") from error
