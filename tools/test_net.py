"""Score a classifier, or several averaged, on many views of each test video.

python tools/test_net.py --checkpoint runs/x --clips 10 --crops 3
python tools/test_net.py --checkpoint runs/a runs/b --train videos.csv --output both

Writes classifier.json, predictions.parquet (a probability a class), confusion.csv and
confusion.png. The videos are those of the first run's config unless given here; a --train without
splits is scored whole.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

import torch
from rich.console import Console

from cvrl.data.loader import default_workers
from cvrl.engine.scoring.run_sources import add_source_arguments, read_source
from cvrl.evaluation.card import render
from cvrl.evaluation.prediction.multiview import evaluate_classifier
from cvrl.evaluation.prediction.predictions import render_classes
from cvrl.pretrained import load_classifier
from cvrl.report.plots import confusion_png
from cvrl.utils.errors import run_tool
from cvrl.utils.log import set_up_logging


def parse() -> Namespace:
    """Read the command line; None stands for "as the run's config says"."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", nargs="+", required=True, help="run folders or model files")
    add_source_arguments(parser)
    add("--clips", type=int, default=10, help="clips spread over each video (default 10)")
    add("--crops", type=int, default=3, help="1: centre; 3: along the longer side (default)")
    add("--batch-videos", type=int, default=1, help="videos encoded at a time")
    add("--workers", type=int, default=default_workers(), help="processes that decode")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", help="folder for the files; default: eval in the first run's folder")
    return parser.parse_args()


def main() -> None:
    """Load, read the lists, score, show and write."""
    set_up_logging()
    args = parse()
    classifiers = [load_classifier(path).to(args.device) for path in args.checkpoint]
    source = read_source(args.checkpoint[0], vars(args))
    result, predictions = evaluate_classifier(
        classifiers,
        source.parts,
        clips=args.clips,
        crops=args.crops,
        batch_videos=args.batch_videos,
        workers=args.workers,
        allow_group_leak=bool(args.allow_group_leak),
        allow_missing=bool(args.allow_missing),
    )
    folder = Path(args.output or source.run / "eval")
    Console().print(render(result))
    written = [result.write(folder), *predictions.write(folder)]
    if not predictions.multi_label:
        Console().print(render_classes(predictions))
        title = f"{len(predictions.paths)} videos, {args.clips} clips x {args.crops} crops"
        picture = folder / "confusion.png"
        confusion_png(picture, predictions.confusion_KK(), predictions.class_names, title)
        written.append(picture)
    print(*written, sep="\n")


if __name__ == "__main__":
    run_tool(main)
