"""Measure speed as ratios: this package beside what a user would pick instead.

cvrl benchmark loader --against pytorchvideo,torchcodec --output loader.json
cvrl benchmark loader --runs 5 seconds=4

Candidates do the same work in turns, on equal sizes and threads, and their outputs are compared
first. A peer that is not installed is named: pip install -e '.[bench]' brings them. What follows
the subject as key=value are its own settings: keywords of `measure` in cvrl/bench/bench_SUBJECT.py.
"""

import importlib
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import cvrl.bench
from cvrl.bench.common.peers import PEERS
from cvrl.cli.arguments import make_parser
from cvrl.utils.errors import UserError
from cvrl.utils.log import set_up_logging

FOLDER = Path(cvrl.bench.__path__[0])
SUBJECTS = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl benchmark``."""
    parser = make_parser("benchmark", __doc__)
    add = parser.add_argument
    add("subject", choices=SUBJECTS)
    add("--against", default=",".join(PEERS), metavar="PEERS", help="with commas; default: all")
    add("--runs", type=int, default=15, help="of each candidate (default %(default)s)")
    add("--threads", type=int, default=1, help="of computing (default %(default)s)")
    add("--output", help="JSON with all runs, hardware and versions")
    add("settings", nargs="*", metavar="key=value", help="of the subject")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, show and write."""
    set_up_logging()
    args = build_parser().parse_intermixed_args(argv)
    against = [name for name in args.against.split(",") if name]
    if strange := [name for name in against if name not in PEERS]:
        raise UserError(f"--against {strange[0]}", "no such peer", f"known: {', '.join(PEERS)}")
    if args.runs < 1:
        raise UserError(f"runs = {args.runs}", "nothing would be measured", "give 1 or more")
    from cvrl.bench.common.settings import read_settings
    from cvrl.engine.devices import torch_threads

    measure = importlib.import_module(f"cvrl.bench.bench_{args.subject}").measure
    settings = read_settings(args.settings, measure)
    with torch_threads(args.threads):
        report = measure(runs=args.runs, against=against, **settings)
    print(report.to_table())
    if args.output:
        print(f"\nwrote {report.write(args.output)}")
