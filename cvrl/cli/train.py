"""Train an encoder as a config says.

cvrl train --config cvrl_small data.train=my_videos output=runs/mine
cvrl train --config my_config.yaml data.train=manifest.csv optim.lr=1e-3 --dry-run

The same command again goes on with a run that was stopped. Under torchrun every process takes its
share of the batch.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from cvrl.cli.arguments import make_parser
from cvrl.utils.errors import UserError

SCORED = "with --splits or --leave-one-out"


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl train``."""
    parser = make_parser("train", __doc__)
    parser.add_argument("--config", required=True, help="a YAML file, or a name of cvrl configs")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run", action="store_true", help="check and describe the run, no more"
    )
    instead.add_argument(
        "--bottleneck",
        action="store_true",
        help="time decoding, augmentation, transfer, model and waiting on the run's own videos, "
        "and name the setting to change; nothing is kept",
    )
    several = parser.add_mutually_exclusive_group()
    several.add_argument(
        "--splits", help="1,2,3: train and score on these splits of the list, and average"
    )
    several.add_argument(
        "--leave-one-out", metavar="COLUMN", help="the same, each value of a column left out once"
    )
    parser.add_argument("--clips", type=int, help=f"of a test video, {SCORED}; default 10")
    parser.add_argument("--crops", type=int, help=f"of a test clip, {SCORED}; default 3")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the config")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train, or say what would be trained."""
    arguments = build_parser().parse_intermixed_args(argv)
    views = {k: v for k in ("clips", "crops") if (v := getattr(arguments, k)) is not None}
    from cvrl.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    if arguments.dry_run:
        from cvrl.engine.dry_run import describe_run

        print(describe_run(config))
        return
    if arguments.bottleneck:
        from cvrl.engine.profiling.bottleneck import describe_bottleneck

        print(describe_bottleneck(config))
        return
    if arguments.splits is not None or arguments.leave_one_out is not None:
        from cvrl.engine.studies.over_splits import leave_one_out, official_splits, train_splits

        run = (arguments.config, arguments.overrides)
        if arguments.splits is not None:
            splits = official_splits(arguments.splits)
        else:
            splits = leave_one_out(*run, arguments.leave_one_out)
        print(train_splits(*run, splits, **views))
        return
    if views:
        remedy = "give one of them, or score the run with tools/test_net.py"
        raise UserError("--clips and --crops", f"go {SCORED} only", remedy)
    from cvrl.engine.trainer import train

    print(f"wrote {train(config)}")
