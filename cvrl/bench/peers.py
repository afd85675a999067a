"""The door to the packages that are measured against: what is installed, and its modules.

Of them only pytorchvideo and torchvision come with this package; ``pip install -e '.[bench]'``
brings the others. One that is missing is named in the report, and what needs it is left out.
"""

import importlib
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any

PEERS = ("pytorchvideo", "torchcodec", "torchvision", "kornia", "lightly")


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
    """Packages that are installed, and those that are not.

    Example:
        >>> split_by_installed(["torch", "no-such-package"])
        (['torch'], ['no-such-package'])
    """
    here = [name for name in names if version(name) is not None]
    return here, [name for name in names if name not in here]


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
