"""Find the videos of an index that are most like a video.

cvrl extract --checkpoint runs/x --input my_videos --output features.faiss
cvrl search features.faiss clip.mp4

Prints the cosine of the features, the video and the clip in it, best first. The query is encoded as
the videos of the index were, by the encoder that made it; where that has moved, name it with
--checkpoint.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from cvrl.cli.arguments import add_device, add_workers, make_parser, pick_device, pick_workers
from cvrl.utils.errors import UserError


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl search``."""
    parser = make_parser("search", __doc__)
    add = parser.add_argument
    add("index", help="features.faiss, as cvrl extract writes it")
    add("videos", nargs="+", help="videos, folders or lists to search for")
    add("--checkpoint", help="run folder or model.safetensors (default: as the index says)")
    add("--top", type=int, default=5, help="videos a query (default %(default)s)")
    add_workers(parser)
    add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load the encoder of the index, encode the queries, search and print."""
    args = build_parser().parse_args(argv)
    if args.top < 1:
        raise UserError(f"--top {args.top}", "is not above 0", "give 1 or more")
    from cvrl.evaluation.features.search import read_settings, search_index
    from cvrl.evaluation.prediction.predict import list_videos
    from cvrl.pretrained import load_encoder
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    checkpoint = args.checkpoint or read_settings(args.index)["checkpoint"]
    if checkpoint is None or not (args.checkpoint or Path(checkpoint).exists()):
        reason = f"its encoder {checkpoint or ''} is not there".replace("  ", " ")
        raise UserError(args.index, reason, "name it with --checkpoint")
    queries, workers = list_videos(args.videos), pick_workers(args.workers)
    encoder = load_encoder(checkpoint).to(pick_device(args.device))
    found = search_index(
        args.index, encoder, queries, top=args.top, workers=min(workers, len(queries))
    )
    for video, matches in found.items():
        print(video)
        for match in matches:
            print(f"  {match.cosine:.4f}  {match.video}  {match.start:.1f}-{match.end:.1f} s")
