"""Train a config in several variants and seeds, score each, and print one table.

cvrl study --study configs/studies/small_cvrl.yaml data.train=...

The same command again goes on with a study that was stopped.
"""

import json
import os
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from cvrl.cli.arguments import make_parser
from cvrl.utils.log import set_up_logging


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl study``."""
    parser = make_parser("study", __doc__)
    parser.add_argument(
        "--study", required=True, help="a YAML file, or a name of cvrl configs studies"
    )
    parser.add_argument("--output", help="folder of the runs; runs/<name of the study> if left out")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one thread")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every run")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, train and score every arm, print the table."""
    arguments = build_parser().parse_intermixed_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // arguments.jobs)))
    from cvrl.engine.studies.study import load_study, run_study
    from cvrl.report.study_plot import plot_study

    set_up_logging()
    study = load_study(arguments.study)
    output = Path(arguments.output or Path("runs") / study.name)
    print(run_study(study, output, arguments.overrides, jobs=arguments.jobs))
    plot_study(json.loads((output / "results.json").read_text()), output / "study.png")
    print(f"wrote {output}/table.md, study.png and results.json")
