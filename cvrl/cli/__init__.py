"""The command ``cvrl``: one sub-command a module of this folder.

The module of a sub-command has ``build_parser()``, which returns its argument parser, and
``main(argv)``. To add a sub-command, write ``cvrl/cli/NAME.py`` and a line in ``COMMANDS``. Only
the module of the sub-command that is called is imported, and it imports heavy libraries after
parsing.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from cvrl import __version__
from cvrl.utils.errors import UserError, run_tool

COMMANDS = {
    "configs": "list the configs that come with the package",
    "inspect": "decode every video once, write the manifest and a summary",
    "shard": "pack videos into tars that are read like a folder",
    "train": "pre-train or fine-tune as a config says",
    "evaluate": "score an encoder beside its random-init baseline",
    "test": "score a classifier on many views of each test video",
    "predict": "print the likeliest classes of videos",
    "extract": "write a feature vector a clip",
    "reward": "reward a video for following a demonstration",
    "search": "find the videos of an index that are most like a video",
    "explain": "draw which places of a video a prediction depends on",
    "export": "write a model as ONNX, torch.export or a Hub folder",
    "report": "write the HTML page of a run",
    "study": "compare variants of a config over seeds",
    "pretext": "score a method on its own pretext task",
    "benchmark": "measure speed beside other packages",
    "completion": "print the completion script for bash and zsh",
}


def usage() -> str:
    """The text of ``cvrl --help``."""
    width = max(map(len, COMMANDS))
    rows = (f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    return "\n".join(
        [
            "usage: cvrl COMMAND ...",
            "",
            "Self-supervised learning from video for action recognition.",
            "",
            *rows,
            "",
            "cvrl COMMAND --help describes a command; cvrl --version prints the version.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sub-command that the first argument names.

    Args:
        argv: the arguments; None for those of the process.

    Raises:
        UserError: no such sub-command, or whatever the sub-command raises.

    Example:
        >>> main(["--version"])
        cvrl 0.1.0
        >>> main(["trian"])
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: cvrl trian: no such command; did you mean train?
    """
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(f"cvrl {__version__}")
    elif name in COMMANDS:
        import_module(f"cvrl.cli.{name}").main(rest)
    else:
        from cvrl.utils.checks import nearest

        raise UserError(f"cvrl {name}", "no such command", nearest(name, COMMANDS))


def run() -> None:
    """Run the command and end the process as a user expects; the console entry point."""
    run_tool(main)
