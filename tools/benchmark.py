"""Measure speed as ratios: this package beside what a user would pick instead.

python tools/benchmark.py loader --against pytorchvideo torchcodec --output loader.json

Candidates do the same work in turns, on the same sizes and threads, and their outputs are compared
first. Peers that are not installed are named: pip install -e '.[bench]' brings them.
"""

import importlib
import pkgutil
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

import torch
from rich.console import Console

import cvrl.bench
from cvrl.bench.timing import PEERS
from cvrl.utils.errors import run_tool

HELPERS = {"timing", "peers"}
SUBJECTS = sorted({m.name for m in pkgutil.iter_modules(cvrl.bench.__path__)} - HELPERS)


def parse() -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("subject", choices=SUBJECTS)
    add("--against", nargs="*", default=list(PEERS), choices=PEERS, help="default: all")
    add("--runs", type=int, default=15, help="of each candidate (default %(default)s)")
    add("--threads", type=int, default=1, help="of computing (default %(default)s)")
    add("--output", help="JSON with all runs, hardware and versions")
    return parser.parse_args()


def main() -> None:
    """Measure, show and write."""
    args = parse()
    torch.set_num_threads(args.threads)
    subject = importlib.import_module(f"cvrl.bench.{args.subject}")
    report = subject.measure(runs=args.runs, against=args.against)
    Console().print(report.render())
    if args.output:
        print(report.write(args.output))


if __name__ == "__main__":
    run_tool(main)
