"""The door to the packages that are measured against: what is installed, and its modules.

Of them only pytorchvideo and torchvision come with this package; ``pip install -e '.[bench]'``
brings the others. One that is missing is named in the report, and what needs it is left out.
torchcodec also needs FFmpeg's shared libraries, which a system's FFmpeg brings.
"""

import importlib
import logging
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any

PEERS = ("pytorchvideo", "torchcodec", "decord2", "torchvision", "kornia", "lightly")
MODULES = {"decord2": "decord"}  # where a package's module has another name
logger = logging.getLogger("cvrl")


def version(package: str) -> str | None:
    """The installed version of a package; None where it is not installed.

    Example:
        >>> version("no-such-package")
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def split_by_installed(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Packages that can be used, and those that cannot: not installed, or not loading.

    Example:
        >>> split_by_installed(["torch", "no-such-package"])
        (['torch'], ['no-such-package'])
    """
    here = [name for name in names if version(name) is not None and _loads(name)]
    return here, [name for name in names if name not in here]


def _loads(name: str) -> bool:
    try:
        module = load(MODULES.get(name, name))
        if name == "torchcodec" and module.ffmpeg_major_version is None:
            raise RuntimeError("it finds no shared libraries of FFmpeg")
    except (ImportError, OSError, RuntimeError) as error:
        logger.warning("%s is installed and does not load: %s", name, str(error).split("\n")[0])
        return False
    return True


def load(module: str) -> Any:
    """A module of an installed peer, as ``load("torchcodec.decoders")``.

    What a peer warns of while it is imported is not ours to mend, and is not shown.

    Raises:
        ImportError: it is not installed, or does not import.

    Example:
        >>> load("torchvision.transforms.v2").Resize.__name__
        'Resize'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)
