"""Write report.html and report.png into a run folder.

cvrl report --run runs/demo

The page is one self-contained file. It shows the stored results of cvrl evaluate, so run that
first. Without stored results on still clips, the page scores clips that repeat one frame.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from cvrl.cli.arguments import add_device, add_workers, make_parser


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl report``."""
    parser = make_parser("report", __doc__)
    add = parser.add_argument
    add("--run", type=Path, required=True, help="run folder")
    add("--searches", type=int, default=8, help="queries to show")
    add("--max-videos", type=int, default=400, help="of the test split; twice as many of train")
    add("--seed", type=int, default=0, help="of the queries and the feature map")
    add_workers(parser)
    add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load the run, encode its videos, write the page."""
    args = build_parser().parse_args(argv)
    from cvrl.run import Run
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    page = Run(args.run).page(
        searches=args.searches,
        max_videos=args.max_videos,
        seed=args.seed,
        workers=args.workers,
        device=args.device,
    )
    print(f"wrote {page} and {page.with_suffix('.png')}")
