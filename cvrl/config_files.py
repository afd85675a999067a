"""The configs that come with the package, found by name.

They lie in ``configs/`` of the repository, and in ``cvrl/configs`` of an installed wheel.
"""

import re
from dataclasses import dataclass
from itertools import takewhile
from os import PathLike
from pathlib import Path

from cvrl.utils.checks import nearest
from cvrl.utils.errors import UserError

_INSTALLED = Path(__file__).parent / "configs"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "configs"
NO_RUN = ("base", "studies")  # folders of files that are no config of a run
FACTS = ("Paper", "Hardware", "Time", "Expect")


@dataclass(frozen=True)
class ConfigInfo:
    """What the header of a config says.

    Attributes:
        name: folder and file name without suffix, such as ``pretrain/cvrl_small``.
        title: the first line.
        facts: ``Paper``, ``Hardware``, ``Time`` and ``Expect``, where the header has them.
    """

    name: str
    title: str
    facts: dict[str, str]


def config_names(folder: str | None = None) -> list[str]:
    """Names of the configs, the short one where only one folder has it.

    Args:
        folder: such as ``studies``; None for all configs of runs.

    Example:
        >>> {"cvrl_small", "finetune/small"} <= {*config_names(), "finetune/small"}
        True
        >>> "evidence_small" in config_names("studies")
        True
    """
    files = _files(folder)
    stems = [file.stem for file in files]
    return [file.stem if stems.count(file.stem) == 1 else _name(file) for file in files]


def find_config(name: str | PathLike[str], folder: str | None = None) -> Path:
    """The file of a config.

    Args:
        name: a path; or the name of a config of the package, with or without its folder, as in
            ``cvrl_small`` and ``pretrain/cvrl_small``.
        folder: where to look for short names; None for the folders with configs of runs.

    Returns:
        The file. A path with a suffix is returned also if it names no file, so that the error of
        the one who reads it says so.

    Raises:
        UserError: no config has the name, or several have it.

    Example:
        >>> find_config("cvrl_small").name, find_config("pretrain/cvrl_small").name
        ('cvrl_small.yaml', 'cvrl_small.yaml')
        >>> find_config("cvrl_smal")
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: cvrl_smal: no such file or config; did you mean cvrl_small?
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix:  # configs/demo/folder.yaml, as the docs write it, wherever the command runs
        shipped = FOLDER / path.relative_to("configs") if path.parts[0] == "configs" else path
        return shipped if shipped.is_file() else path
    everything = {_name(file): file for file in FOLDER.glob("*/*.yaml")}
    if path.as_posix() in everything:
        return everything[path.as_posix()]
    found = [file for file in _files(folder) if file.stem == str(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(name, "several configs have that name", "give " + _either(found))
    known = [*config_names(folder), *map(_name, _files(folder))]
    raise UserError(name, "no such file or config", nearest(str(name), known))


def read_info(file: Path) -> ConfigInfo:
    """Read the comments that a config opens with.

    Example:
        >>> read_info(find_config("cvrl_small")).facts["Hardware"]
        '1 CPU core, 2 GB of memory.'
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    header = "\n".join(line[1:] for line in takewhile(lambda line: line.startswith("#"), lines))
    title, _, rest = header.partition("\n\n")
    facts = re.findall(rf"^ ({'|'.join(FACTS)}): (.*?)(?=^ \w|^$|\Z)", rest, re.M | re.S)
    return ConfigInfo(_name(file), _one_line(title), {key: _one_line(text) for key, text in facts})


def all_info(folder: str | None = None) -> list[ConfigInfo]:
    """What the headers of all configs say; of one folder, if it is given.

    Raises:
        UserError: no such folder.
    """
    files = _files(folder)
    if not files:
        known = sorted({file.parent.name for file in FOLDER.glob("*/*.yaml")} - {"base"})
        raise UserError(str(folder), "no such folder of configs", nearest(str(folder), known))
    return [read_info(file) for file in files]


def _files(folder: str | None = None) -> list[Path]:
    """Files of a folder, or of all folders whose configs are of a run."""
    files = sorted(FOLDER.glob(f"{folder or '*'}/*.yaml"))
    return [file for file in files if folder or file.parent.name not in NO_RUN]


def _name(file: Path) -> str:
    return file.relative_to(FOLDER).with_suffix("").as_posix()


def _either(files: list[Path]) -> str:
    return " or ".join(map(_name, files))


def _one_line(text: str) -> str:
    return " ".join(text.split())
