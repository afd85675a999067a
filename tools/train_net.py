"""Train an encoder as a config says.

python tools/train_net.py --config configs/demo/synthetic.yaml key=value ...
"""

import argparse

from cvrl.config import load_config
from cvrl.utils.errors import UserError, run_tool


def main() -> None:
    """Read the command line and train, or say what would be trained."""
    parser = argparse.ArgumentParser(
        description="Train an encoder as a config says. The same command again goes on with a run "
        "that was stopped. Under torchrun every process takes its share of the batch."
    )
    parser.add_argument("--config", required=True, help="a YAML file, see configs/")
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
    scored = "with --splits or --leave-one-out"
    parser.add_argument("--clips", type=int, help=f"of a test video, {scored}; default 10")
    parser.add_argument("--crops", type=int, help=f"of a test clip, {scored}; default 3")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the config")
    arguments = parser.parse_intermixed_args()
    views = {k: v for k in ("clips", "crops") if (v := getattr(arguments, k)) is not None}
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
        raise UserError("--clips and --crops", f"go {scored} only", remedy)
    from cvrl.engine.trainer import train

    print(f"wrote {train(config)}")


if __name__ == "__main__":
    run_tool(main)
