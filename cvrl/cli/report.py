"""Write report.html and report.png into a run folder.

cvrl report --run runs/demo

The page is one self-contained file. It shows the stored results of cvrl evaluate, so run that
first. Without stored results on still clips, the page scores clips that repeat one frame.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from cvrl.cli.arguments import add_device, add_workers, make_parser, pick_device, pick_workers

SOURCE = ("train", "test", "root", "split_column", "train_split", "test_split", "cameras", "labels")


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
    from cvrl.config import load_config
    from cvrl.data.splits import read_splits
    from cvrl.engine import build
    from cvrl.pretrained import load_encoder
    from cvrl.report.comparison import compare
    from cvrl.report.page import write_report
    from cvrl.report.run_summary import perturbed_results, read_run
    from cvrl.report.training_pairs import draw_pairs_of_run
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    encoder = load_encoder(args.run).to(pick_device(args.device))
    config = load_config(args.run / "config.yaml")
    views = build.build_views(config)
    run = read_run(args.run, config.data.train, config.train.batch_size * views.clips)
    config.data.augment_on = "worker"
    source = {key: getattr(config.data, key) for key in SOURCE}
    parts = read_splits(**source, fallback_hold_out=config.data.hold_out, seed=config.seed)
    dataset = build.build_dataset(config, build.build_data(config), views)
    stored = perturbed_results(run.results, encoder, parts)
    comparison = compare(
        encoder,
        parts,
        still=not stored,
        seed=config.seed,
        clips=max(config.eval.clips_per_video, 2),
        max_videos=args.max_videos,
        workers=pick_workers(args.workers),
        bad=[path for path, _ in run.quarantined],
    )
    page, picture = write_report(
        run,
        comparison,
        draw_pairs_of_run(dataset, seed=args.seed),
        k=config.eval.k,
        temperature=config.eval.temperature,
        seed=args.seed,
        searches=args.searches,
        perturbed=stored,
    )
    print(f"wrote {page} and {picture}")
