"""Pack the videos of a folder or list into tars that training, evaluation and extraction read.

cvrl shard videos --output shards
cvrl shard manifest.csv --output shards --size 500MB

A folder of shards stands where a folder of videos does: data.train=shards, --input shards. The tars
are WebDataset's; labels, groups, splits and the order of the list are kept in shards/index.parquet.
Killed, the same command goes on with the shards that are missing.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from cvrl.cli.arguments import make_parser
from cvrl.utils.errors import UserError

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl shard``."""
    parser = make_parser("shard", __doc__)
    add = parser.add_argument
    add("source", help="folder, list or CSV; tars and Parquet files of videos are packed anew")
    add("--output", required=True, help="folder for the shards")
    add("--size", default="200MB", help="of a shard at most (default %(default)s)")
    add("--root", help="folder that relative paths in a list start from")
    add("--labels", default="auto", choices=("auto", "none", "folder", "parent"))
    add("--workers", type=int, default=0, help="processes that write; default: this one")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the list and write the shards."""
    args = build_parser().parse_args(argv)
    size = read_size(args.size)
    from cvrl.data.manifest import read_manifest
    from cvrl.preparation.shards import write_shards
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    manifest = read_manifest(args.source, root=args.root, labels=args.labels)
    shards = write_shards(manifest, args.output, max_bytes=size, workers=args.workers)
    total = sum(shard.size for shard in shards)
    written = f"{len(manifest)} videos in {len(shards)} shards, {total / 1e6:.1f} MB"
    bad = f"; left out {manifest.bad} that the list marks bad" if manifest.bad else ""
    print(f"{args.output}: {written}{bad}")


def read_size(text: str) -> int:
    """Bytes of a size such as ``200MB``.

    Raises:
        UserError: not a size.

    Example:
        >>> read_size("200MB"), read_size("1.5gb")
        (200000000, 1500000000)
    """
    number, unit = text[:-2], text[-2:].upper()
    try:
        size = int(float(number) * UNITS[unit])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if size < 1:
        raise UserError(f"--size {text}", "is not a size", "give one such as 200MB or 1GB")
    return size
