"""Inspect a data set: decode every video once, write its manifest and print a summary.

cvrl inspect FOLDER
cvrl inspect list.csv --root videos --output manifest.csv --sheet sheet.png
cvrl inspect FOLDER --sheet sheet.png --config configs/demo/synthetic.yaml
cvrl inspect manifest.csv --audit configs/pretrain/order_small.yaml views.gap=4

FOLDER may hold a folder a class, videos, or folders of frames; a list may be CSV with a header
(path, label, group, split) or lines of `path label`. --labels says which folder is the class:
auto (the first below FOLDER, questioned where it seems to be none), none, folder or parent. Train
on the manifest with data.train=manifest.csv: bad files are left out. A stopped scan resumes. Exit
code: 0 also if some files are bad, 2 if none decodes or the input is wrong.

--audit takes a config, or the name of views such as rotated; no manifest is written. Small probes
predict the pretext labels from the mean colour of clips, their borders, aspect ratio, position
between key frames and the difference at their seams. Accuracies over 3 sigma above chance are
reported, with exit code 0, and written to --output if it is given.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from cvrl.cli.arguments import make_parser
from cvrl.utils.errors import UserError
from cvrl.utils.log import set_up_logging


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl inspect``."""
    parser = make_parser("inspect", __doc__)
    parser.add_argument("source", metavar="FOLDER", help="a folder, or a list of videos")
    parser.add_argument("--output", help="default: manifest.csv, and nothing of an audit")
    parser.add_argument("--workers", type=int, help="processes; default: one a core")
    parser.add_argument("--sheet", help="PNG of training clips after augmentation")
    parser.add_argument("--config", help="show the clips of this config in the sheet")
    parser.add_argument("--root", help="folder that relative paths in a list start from")
    parser.add_argument("--labels", default="auto", choices=("auto", "none", "folder", "parent"))
    parser.add_argument("--split-column", default="split", help="default: %(default)s")
    parser.add_argument("--audit", metavar="VIEWS", help="look for shortcuts in a pretext task")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the config")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Inspect what the command line names."""
    args = vars(build_parser().parse_intermixed_args(argv))
    set_up_logging()
    views, overrides, config = (args.pop(name) for name in ("audit", "overrides", "config"))
    # Imported here and not above: every decoding process reads this file.
    if views is not None:
        from rich.console import Console

        from cvrl.engine.scoring.shortcut_audit import audit_views, summary, write_audit

        workers = [] if args["workers"] is None else [f"data.workers={args['workers']}"]
        found = audit_views(args["source"], views, args["root"], [*workers, *overrides])
        Console().print(summary(found), found.finding, sep="\n")
        if args["output"]:
            write_audit(found, args["output"])
        return
    if overrides and config is None:
        raise UserError(overrides[0], "needs --audit or --config", "omit it")
    if config is not None:
        from cvrl.engine.build import preview_of

        if args["sheet"] is None:
            raise UserError("--config", "needs --sheet", "name the PNG with --sheet")
        args["dataset_of"] = preview_of(config, args["source"], overrides)
    from cvrl.report.inspection import inspect

    inspect(**(args | {"output": args["output"] or "manifest.csv"}))
