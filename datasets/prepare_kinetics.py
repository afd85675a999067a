r"""Kinetics-400, 600 or 700: from tar.gz parts, or folders, and the CSV lists to one manifest.

python datasets/prepare_kinetics.py k400/train k400/val --lists train.csv val.csv --classes 400 \
    --output kinetics400.csv --short-side 128

Clips are found by their names, <youtube id>_<start>_<end>, in folders by class or in one. Columns:
path, label, group (the YouTube video), split. What has vanished is in kinetics400_missing.csv.
"""

from prepare_arguments import finish, order_of, parser_of

from cvrl.preparation.official_lists import read_kinetics
from cvrl.preparation.prepare import Published, prepare
from cvrl.utils.errors import run_tool


def main() -> None:
    """Prepare what the command line names."""
    parser = parser_of(__doc__, lists="train.csv, val.csv, test.csv, or some of them")
    parser.add_argument("--classes", type=int, choices=(400, 600, 700), default=400)
    given = parser.parse_args()
    # The lists lose rows as videos vanish, and differ between their publishers: only the number of
    # classes is certain.
    finish(lambda: prepare(read_kinetics, Published(given.classes), order_of(given)))


if __name__ == "__main__":
    run_tool(main)
