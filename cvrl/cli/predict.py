"""Say what a classifier sees in videos of your own.

cvrl predict --checkpoint runs/x clip.mp4
cvrl predict --checkpoint runs/x my_videos --timeline --output answers
cvrl predict --checkpoint runs/rgb --join runs/residual clip.mp4

Prints the likeliest classes of each video. --timeline also writes, for each, the probabilities over
time as <name>.timeline.csv and .png; --output also takes predictions.parquet. A file that cannot be
decoded is named, the others are answered, and the exit code is 2.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from cvrl.cli.arguments import (
    add_device,
    add_test_arguments,
    add_workers,
    make_parser,
    pick_workers,
)


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl predict``."""
    parser = make_parser("predict", __doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="run folder or model.safetensors")
    add("videos", nargs="+", help="videos, folders or lists")
    add("--top", type=int, default=5, help="classes printed (default 5)")
    add_test_arguments(parser)
    add("--timeline", action="store_true", help="write the probabilities over time")
    add("--every", type=float, help="seconds between its clips (default: half a clip)")
    add("--output", help="folder for the files; default for --timeline: here")
    add_workers(parser)
    add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load, answer, show and write."""
    args = build_parser().parse_args(argv)
    from cvrl.evaluation.prediction.predict import best_classes, list_videos
    from cvrl.report.timeline import write_timelines
    from cvrl.run import Run, predict
    from cvrl.utils.errors import UserError, printable
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    if args.join and args.timeline:
        reason = "shows the answers of one classifier, not of --join"
        raise UserError("--timeline", reason, "leave one of the two out")
    run, workers = Run(args.checkpoint), pick_workers(args.workers)
    size = {"size": args.size, "short_side": args.short_side}
    how = {"clips": args.clips, "crops": args.crops, "workers": workers, **size}
    predictions = predict(run, *args.videos, join=args.join, device=args.device, **how)
    names = predictions.class_names
    for path, probability_K in zip(predictions.paths, predictions.probability_VK, strict=True):
        print(printable(path))
        for name, share in best_classes(probability_K, names, args.top):
            print(f"  {100 * share:5.1f} %  {name}")
    if args.output:
        print(*predictions.write(args.output))
    if args.timeline:
        classifier, videos = run.classifier_at(**size), list_videos(args.videos)
        views = {"every": args.every, "crops": run.views(crops=args.crops).crops}
        for files in write_timelines(
            classifier, videos, args.output or ".", workers=workers, **views
        ):
            print(*files)
    if predictions.bad:
        lines = (printable(f"error: {path}: {reason}") for path, reason in predictions.bad)
        print(*lines, sep="\n", file=sys.stderr)
        raise SystemExit(2)
