"""Arguments that several sub-commands share. Importing this module imports nothing heavy."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from cvrl.engine.machine import pick_device as pick_device
from cvrl.engine.machine import pick_workers as pick_workers


def make_parser(name: str, description: str | None) -> ArgumentParser:
    """Create the parser of a sub-command; it prints the module's docstring as it is written.

    Where a script such as ``tools/train_net.py`` runs the sub-command, the help names the script.

    Args:
        name: of the sub-command.
        description: docstring of its module, in which ``cvrl NAME`` stands for the command.
    """
    script = Path(sys.argv[0])
    command, shown = f"cvrl {name}", f"cvrl {name}"
    if script.parent.name == "tools" and script.suffix == ".py":
        command, shown = f"python tools/{script.name}", script.name
    text = (description or "").replace(f"cvrl {name} ", f"{command} ")
    return ArgumentParser(prog=shown, description=text, formatter_class=RawDescriptionHelpFormatter)


def add_source_arguments(parser: ArgumentParser) -> None:
    """Add the options that name videos; None stands for "as the run's config says".

    Example:
        >>> parser = ArgumentParser()
        >>> add_source_arguments(parser)
        >>> parser.parse_args(["--train", "videos.csv"]).train
        'videos.csv'
    """
    add = parser.add_argument
    add("--train", help="videos that carry the labels: folder, list or CSV")
    add("--test", help="videos to score; default: the test split of --train")
    add("--root", help="folder that relative paths in lists start from")
    add("--split-column", help="column of the CSV that holds the split")
    add("--train-split", help="its value for the training part")
    add("--test-split", help="its value for the test part")
    add("--hold-out", type=float, help="score this share of the training part's groups instead")
    switch: dict[str, Any] = {"action": "store_true", "default": None}
    add("--allow-group-leak", **switch, help="score it all the same")
    add("--allow-missing", **switch, help="count files that cannot be decoded, instead of failing")


def add_size_arguments(parser: ArgumentParser) -> None:
    """Add the options of the pixels of a clip; None stands for the run's config.

    Example:
        >>> parser = ArgumentParser()
        >>> add_size_arguments(parser)
        >>> parser.parse_args(["--size", "256"]).size
        256
    """
    size = "pixels of a crop; default: as the run's config says, else as in training"
    parser.add_argument("--size", type=int, help=size)
    short_side = "pixels of the frames it is cut from; default: the same"
    parser.add_argument("--short-side", type=int, help=short_side)


def add_test_arguments(parser: ArgumentParser) -> None:
    """Add the options of a classifier's views and partners; None stands for the run's config.

    Example:
        >>> parser = ArgumentParser()
        >>> add_test_arguments(parser)
        >>> parser.parse_args(["--clips", "5", "--size", "256"]).clips
        5
    """
    clips = "clips spread over each video; default: as the run's config says, else 10"
    parser.add_argument("--clips", type=int, help=clips)
    crops = "1: centre; 3: along the longer side (default, unless the run's config says else)"
    parser.add_argument("--crops", type=int, help=crops)
    add_size_arguments(parser)
    join = "a classifier whose probabilities are averaged with this one's; may be repeated"
    parser.add_argument("--join", action="append", metavar="RUN", default=[], help=join)


def add_device(parser: ArgumentParser) -> None:
    """Add ``--device``; its default is resolved after parsing, see :func:`pick_device`."""
    parser.add_argument("--device", default="auto", help="default: a GPU if there is one")


def add_workers(parser: ArgumentParser) -> None:
    """Add ``--workers``; its default is resolved after parsing, see :func:`pick_workers`."""
    parser.add_argument("--workers", type=int, help="processes that decode; default: by the cores")
