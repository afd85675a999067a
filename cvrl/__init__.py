"""Self-supervised learning from video: pre-train an encoder on clips, without labels.

Two choices make a pretext task. Which views of a video belong together lives in ``cvrl.views``, how
they are compared in ``cvrl.methods``; everything else is shared by all of them. This module holds
the few names a user of a trained encoder needs, and imports nothing heavy until one is used.

Example:
    >>> import cvrl
    >>> cvrl.__version__.count(".")
    2
    >>> cvrl.open_video("missing.mp4")
    Traceback (most recent call last):
    cvrl.utils.errors.CorruptVideoError: missing.mp4: no such file
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvrl.pretrained import load_classifier as load_classifier
    from cvrl.pretrained import load_encoder as load_encoder
    from cvrl.run import Run as Run
    from cvrl.run import extract as extract
    from cvrl.run import predict as predict
    from cvrl.run import train as train
    from cvrl.utils.errors import CorruptVideoError as CorruptVideoError
    from cvrl.utils.errors import UserError as UserError
    from cvrl.video.reader import open_video as open_video

__version__ = "0.1.0"
__all__ = [
    "CorruptVideoError",
    "Run",
    "UserError",
    "__version__",
    "extract",
    "load_classifier",
    "load_encoder",
    "open_video",
    "predict",
    "train",
]

_HOMES = {
    "CorruptVideoError": "cvrl.utils.errors",
    "Run": "cvrl.run",
    "UserError": "cvrl.utils.errors",
    "extract": "cvrl.run",
    "load_classifier": "cvrl.pretrained",
    "load_encoder": "cvrl.pretrained",
    "open_video": "cvrl.video.reader",
    "predict": "cvrl.run",
    "train": "cvrl.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cvrl' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
