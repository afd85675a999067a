"""Look through a data set: decode every video once, write its manifest, show what is in it.

python tools/inspect_data.py FOLDER
python tools/inspect_data.py list.csv --root videos --output manifest.csv --sheet sheet.png

FOLDER may hold a folder a class, videos, or folders of frames; a list may be CSV with a header
(path, label, group, split) or lines of `path label`. Train on the manifest with
data.train=manifest.csv: bad files are left out. A scan that was stopped goes on where it was.
Exit code: 0 also where some files are bad, 2 where none decodes or the input is wrong.
"""

import argparse

from cvrl.utils.errors import run_tool
from cvrl.utils.log import set_up_logging


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="FOLDER", help="a folder, or a list of videos")
    parser.add_argument("--output", default="manifest.csv", help="default: %(default)s")
    parser.add_argument("--workers", type=int, help="processes; default: one a core")
    parser.add_argument("--sheet", help="PNG of sampled pairs after augmentation")
    parser.add_argument("--root", help="folder that relative paths in a list start from")
    parser.add_argument(
        "--split-column", default="split", help="column of the split; default: %(default)s"
    )
    return parser.parse_args()


def main() -> None:
    """Inspect what the command line names."""
    args = parse()
    set_up_logging()
    from cvrl.report.inspection import inspect  # not above: every decoding process reads this file

    inspect(**vars(args))


if __name__ == "__main__":
    run_tool(main)
