"""What the commands that prepare data sets share: their arguments, and how they end."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from cvrl.preparation.official_lists import Reader
from cvrl.preparation.prepare import Order, Published, prepare
from cvrl.preparation.store import Encoding
from cvrl.utils.checks import check_range
from cvrl.utils.errors import run_tool
from cvrl.utils.log import set_up_logging

GOP = 12


def parser_of(doc: str | None, *, lists: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that all have.

    Args:
        doc: the script's docstring, shown as help.
        lists: what the official lists are called; None for a data set that has none.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", nargs="+", type=Path, help="archives as shipped, or folders; nothing is moved")
    if lists:
        add("--lists", nargs="+", type=Path, required=True, metavar="PATH", help=lists)
    add("--output", type=Path, required=True, metavar="CSV", help="the manifest to write")
    add("--root", type=Path, help="where unpacked and re-encoded videos go; default: beside it")
    add("--short-side", type=int, metavar="PIXELS", help="re-encode to this size, as in 128")
    add("--gop", type=int, metavar="N", help=f"frames between key frames; default: {GOP}")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    add("--dry-run", action="store_true", help="say what is there and write nothing")
    return parser


def order_of(given: argparse.Namespace) -> Order:
    """What the command line asks for.

    Raises:
        UserError: a number out of range.
    """
    check_range("--jobs", given.jobs, "[0, inf)")
    encoding = None
    if given.short_side is not None or given.gop is not None:
        side = 128 if given.short_side is None else given.short_side
        gop = GOP if given.gop is None else given.gop
        check_range("--short-side", side, "[16, 4096]")
        check_range("--gop", gop, "[1, 1000]")
        encoding = Encoding(short_side=side, gop=gop)
    return Order(
        sources=given.source,
        lists=getattr(given, "lists", []),
        output=given.output,
        root=given.root or given.output.parent,
        encoding=encoding,
        workers=given.jobs,
        dry_run=given.dry_run,
    )


def run(doc: str | None, lists: str, read: Reader, published: Published) -> None:
    """The whole of a command for a data set with official lists."""

    def main() -> None:
        order = order_of(parser_of(doc, lists=lists).parse_args())
        finish(lambda: prepare(read, published, order))

    run_tool(main)


def finish(work: Callable[[], list[str]]) -> None:
    """Do the work, and print what it found."""
    set_up_logging()
    print("\n".join(work()))
