"""Score a trained encoder beside its random-init baseline and chance, or compare such scores.

cvrl evaluate --checkpoint runs/x --protocol knn linear --train videos.csv
cvrl evaluate --checkpoint runs/x --perturb all
cvrl evaluate --compare runs/x/eval/knn.json runs/y/eval/knn.json

Writes runs/x/eval/<protocol>.json. The videos are those of the run's config unless given here.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from cvrl.cli.arguments import add_device, add_size_arguments, add_source_arguments, make_parser

# The choices of --help, which imports nothing heavy; a test compares them with the package's.
PROTOCOLS = (
    *("knn", "linear", "retrieval", "linear_tags", "instance", "order_probe", "alignment"),
    "classifier",
)
PERTURBATIONS = (
    *("plain", "still", "shuffled", "reversed", "background_blurred", "foreground_blurred"),
)
RECIPES = ("default", "vcop", "coclr")
STAGES = ("res2", "res3", "res4", "res5", "pooled")
ACROSS = (
    *("encoder", "clips_per_video", "clip_frames", "clip_stride", "short_video", "size"),
    *("short_side", "stage", "show", "train_show", "train", "n_train", "cvrl_version"),
)
BASELINE_HELP = "hand-made features as one more row; default: hog_mbh with the linear protocol"

JOIN_HELP = "an encoder whose features are joined to this one's; may be repeated"


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl evaluate``; None stands for "as the run's config says"."""
    parser = make_parser("evaluate", __doc__)
    add = parser.add_argument
    switch: Any = {"action": "store_true", "default": None}
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", help="run folder or model.safetensors")
    what.add_argument("--compare", nargs="+", metavar="JSON", help="results or folders, in a table")
    add("--across", nargs="+", default=[], metavar="FIELD", help=f"of {', '.join(ACROSS)}")
    add("--protocol", nargs="+", choices=[*PROTOCOLS, "all"], help="default: what labels allow")
    add_source_arguments(parser)
    add("--cameras", nargs="+", help="each camera's file, where --train lists folders of events")
    add("--every", type=float, dest="every_seconds", help="between clips, for alignment; 0: all")
    add("--clips", type=int, dest="clips_per_video", help="clips spread over each video")
    add("--k", type=int, help="neighbours that vote")
    add("--temperature", type=float, help="of a vote's weight exp(similarity / temperature)")
    add("--centre", **switch, help="subtract the training mean (kNN)")
    add("--scaling", choices=["standardise", "l2"], help="of features for the linear probe")
    add("--retrieval", choices=RECIPES, help="whose recipe; VCOP's and CoCLR's as published")
    add("--baseline", nargs="+", choices=["hog_mbh", "none"], dest="baselines", help=BASELINE_HELP)
    add("--stage", nargs="+", choices=STAGES, dest="stages", help="of the encoder, one or more")
    add("--scratch", metavar="RUN", help="labels from scratch: adds its classifier to linear")
    add("--published", metavar="CSV", help="name, source and scores, in a table of their own")
    add_size_arguments(parser)
    add("--join", action="append", metavar="RUN", help=JOIN_HELP)
    add("--feature-cache", metavar="FOLDER", help="of hand-made features; default: in the run")
    add("--leave-one-out", metavar="COLUMN", help="cross-validate over its values (knn, linear)")
    add("--leave-same-group-out", **switch, help="kNN and retrieval overlook a query's own group")
    add("--seed", type=int, help="of the random init and the folds")
    add("--batch-videos", type=int, help="videos encoded at a time")
    add("--workers", type=int, help="processes that decode")
    shown = parser.add_mutually_exclusive_group().add_argument
    names = f"{', '.join(PERTURBATIONS)}; all: motion or scene?"
    shown("--perturb", "--show", nargs="+", dest="perturbations", help=names)
    still: Any = {"action": "store_const", "const": ["still"]}
    shown("--still", **still, dest="perturbations", help="--perturb still")
    add_device(parser)
    add("--output", help="folder for the JSON files; default: eval in the run folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Score and show, or compare."""
    args = build_parser().parse_args(argv)
    from rich.console import Console

    from cvrl.evaluation.compare import compare_files
    from cvrl.evaluation.published import published_table
    from cvrl.run import Run
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    published = [published_table(args.published)] if args.published else []
    if args.compare:
        Console().print(*compare_files(args.compare, args.across), *published, sep="\n")
        return
    given = {key: value for key, value in vars(args).items() if value is not None}
    for key in {"checkpoint", "across", "published"} & {*given}:
        given.pop(key)
    if args.baselines:
        given["baselines"] = tuple(name for name in args.baselines if name != "none")
    Run(args.checkpoint).evaluate(*given.pop("protocol", ()), **given)
    Console().print(*published, end="")
