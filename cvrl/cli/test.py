"""Score a classifier, or several averaged, on many views of each test video.

cvrl test --checkpoint runs/x --clips 10 --crops 3
cvrl test --checkpoint runs/a --join runs/b --train videos.csv --output both

Writes classifier.json, predictions.parquet (a probability a class), confusion.csv and
confusion.png. The videos are those of the first run's config unless given here; a --train without
splits is scored whole.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from cvrl.cli.arguments import (
    add_device,
    add_source_arguments,
    add_test_arguments,
    add_workers,
    make_parser,
    pick_device,
    pick_workers,
)


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl test``; None stands for "as the run's config says"."""
    parser = make_parser("test", __doc__)
    add = parser.add_argument
    add("--checkpoint", nargs="+", required=True, help="run folders or model files")
    add_source_arguments(parser)
    add_test_arguments(parser)
    add("--batch-videos", type=int, default=1, help="videos encoded at a time")
    add_workers(parser)
    add_device(parser)
    add("--output", help="folder for the files; default: eval in the first run's folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load, read the lists, score, show and write."""
    args = build_parser().parse_args(argv)
    from rich.console import Console

    from cvrl.engine.scoring.run_sources import read_source
    from cvrl.evaluation.prediction.multiview import evaluate_classifier
    from cvrl.evaluation.prediction.predictions import render_classes
    from cvrl.evaluation.result_table import render
    from cvrl.report.plots import confusion_png
    from cvrl.run import Run
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    device = pick_device(args.device)
    runs = [Run(path) for path in [*args.checkpoint, *args.join]]
    classifiers = [run.classifier_at(args.size, args.short_side).to(device) for run in runs]
    views = runs[0].views(clips=args.clips, crops=args.crops)
    source = read_source(args.checkpoint[0], vars(args))
    result, predictions = evaluate_classifier(
        classifiers,
        source.parts,
        clips=views.clips,
        crops=views.crops,
        batch_videos=args.batch_videos,
        workers=pick_workers(args.workers),
        allow_group_leak=bool(args.allow_group_leak),
        allow_missing=bool(args.allow_missing),
    )
    folder = Path(args.output or source.run / "eval")
    Console().print(render(result))
    written = [result.write(folder), *predictions.write(folder)]
    if not predictions.multi_label:
        Console().print(render_classes(predictions))
        title = f"{len(predictions.paths)} videos, {views.clips} clips x {views.crops} crops"
        picture = folder / "confusion.png"
        confusion_png(picture, predictions.confusion_KK(), predictions.class_names, title)
        written.append(picture)
    print(*written, sep="\n")
