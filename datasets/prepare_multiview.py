"""Events filmed by several cameras: from a folder an event, a film a camera, to a manifest.

python datasets/prepare_multiview.py urfall --cameras cam0.mp4 cam1.mp4 --output urfall.csv

Columns: path (the event's folder), label and split where the folders around it say so, group (the
event). Train with data.train=urfall.csv and the line data.cameras=[...] that this prints. Films are
taken to start together; those of different length are counted.
"""

from prepare_arguments import finish, order_of, parser_of

from cvrl.preparation.event_folders import prepare_events
from cvrl.utils.errors import run_tool


def main() -> None:
    """Prepare what the command line names."""
    parser = parser_of(__doc__, lists=None)
    add = parser.add_argument
    add("--cameras", nargs="+", required=True, metavar="NAME", help="files in an event's folder")
    given = parser.parse_args()
    finish(lambda: prepare_events(order_of(given), given.cameras))


if __name__ == "__main__":
    run_tool(main)
