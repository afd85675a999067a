"""Write one feature vector a clip for a folder or list of videos.

cvrl extract --checkpoint runs/x --input videos --output features.parquet
cvrl extract --checkpoint runs/x --input list.csv --output f.npy --every 2
cvrl extract --checkpoint runs/x --input long.mp4 --output f.npy --overlap 0.75

The file has columns video, start, end (seconds) and vector; .npy holds the vectors and has the
other columns in a .csv beside it; .faiss is an index for cvrl search, its other columns are in a
.names.parquet beside it. Killed, the same command goes on where it stopped. Videos that
cannot be decoded are named in <output>.report.json.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from cvrl.cli.arguments import add_device, add_workers, make_parser

PRECISIONS = ("plain", "fp32", "int8")
STAGES = ("res2", "res3", "res4", "res5", "pooled", "projected")


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl extract``."""
    parser = make_parser("extract", __doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="run folder or model.safetensors")
    add("--input", required=True, help="folder, list, CSV, or a single video")
    add("--output", required=True, help="features.parquet, features.npy or features.faiss")
    add("--root", help="folder that relative paths in a list start from")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--clips", type=int, help="clips spread over each video (default 1)")
    which.add_argument("--every", type=float, help="a clip every so many seconds instead")
    which.add_argument("--overlap", type=float, help="clips that share this part with the next")
    add("--precision", choices=PRECISIONS, default="fp32", help="plain: as trained, nothing fused")
    add("--clip-by-clip", action="store_true", help="encode a frame anew in every clip it is in")
    add("--stage", choices=STAGES, default="pooled", help="inner maps are averaged to a vector")
    add("--batch-clips", type=int, default=16, help="clips encoded at a time")
    add_workers(parser)
    add_device(parser)
    add("--strict", action="store_true", help="a bad video is an error")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load, read the list, extract, report."""
    args = build_parser().parse_args(argv)
    from cvrl.run import Run, extract
    from cvrl.utils.log import logger, set_up_logging

    set_up_logging()
    report = extract(
        Run(args.checkpoint),
        args.input,
        args.output,
        root=args.root,
        clips=args.clips,
        every=args.every,
        overlap=args.overlap,
        stage=args.stage,
        precision=args.precision,
        share_frames=not args.clip_by_clip,
        batch_clips=args.batch_clips,
        workers=args.workers,
        device=args.device,
        strict=args.strict,
    )
    for path, reason in report.bad:
        logger.warning("left out %s: %s", path, reason)
    bad = f", {len(report.bad)} could not be decoded" if report.bad else ""
    print(f"{args.output}: {report.n_clips} clips of {report.n_listed} videos{bad}")
