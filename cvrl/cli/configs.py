"""List the configs that come with the package: paper, hardware and time.

cvrl configs
cvrl configs studies
cvrl configs cvrl_small

The argument is a folder of configs, or a config, which is printed. Train one by its name:
cvrl train --config cvrl_small data.train=my_videos
"""

import re
from argparse import ArgumentParser
from collections.abc import Sequence

from cvrl.cli.arguments import make_parser
from cvrl.config_files import FOLDER, all_info, find_config


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl configs``."""
    parser = make_parser("configs", __doc__)
    parser.add_argument("name", nargs="?", help="a folder of configs, or a config to print")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, or a config."""
    name = build_parser().parse_args(argv).name
    if name is not None and not (FOLDER / name).is_dir():
        print(find_config(name).read_text(encoding="utf-8"), end="")
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(
        Column("config", no_wrap=True), "paper", "hardware", "time", title=f"configs in {FOLDER}"
    )
    for info in all_info(name):
        table.add_row(
            info.name, *(_first(info.facts.get(x)) for x in ("Paper", "Hardware", "Time"))
        )
    Console().print(table)


def _first(text: str | None) -> str:
    """The first statement of a fact."""
    return re.split(r"(?:(?<!\bal)\. |; |: |\.$)", text or "not stated", maxsplit=1)[0]
