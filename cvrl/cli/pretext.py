"""How well a run's method solves its own task on videos it has not seen.

cvrl pretext --run runs/order_small

Writes runs/order_small/eval/pretext.json. The videos are those held out of the run's training part,
or its test part.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from cvrl.cli.arguments import make_parser


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl pretext``."""
    parser = make_parser("pretext", __doc__)
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--visits", type=int, default=5, help="draws of every video")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the run's config")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, score, show."""
    args = build_parser().parse_intermixed_args(argv)
    from rich.console import Console
    from rich.table import Table

    from cvrl.engine.scoring.pretext_score import score_pretext, write_pretext
    from cvrl.evaluation.metrics import row_title
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    rows = score_pretext(args.run, visits=args.visits, overrides=args.overrides)
    names = sorted(name for name in rows["trained"] if not name.endswith("chance"))
    table = Table("", *names, title=f"{args.run}: its own task, {args.visits} visits a video")
    for row, scores in rows.items():
        table.add_row(row_title(row), *(f"{scores[n]:.1%}" if n in scores else "" for n in names))
    Console().print(table)
    print(write_pretext(args.run, rows))
