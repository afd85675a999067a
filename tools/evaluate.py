"""Score a trained encoder beside its untrained twin and chance.

python tools/evaluate.py --checkpoint runs/x --protocol knn linear --train videos.csv

Writes runs/x/eval/<protocol>.json. The videos are those of the run's config unless given here.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

import torch
from rich.console import Console

from cvrl.data.loader import default_workers
from cvrl.engine.sources import add_source_arguments, read_source
from cvrl.evaluation.card import render
from cvrl.evaluation.protocol import PROTOCOLS, Options, evaluate, suitable_protocols
from cvrl.pretrained import load_encoder
from cvrl.utils.errors import run_tool
from cvrl.utils.log import set_up_logging


def parse() -> Namespace:
    """Read the command line; None stands for "as the run's config says"."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True, help="run folder or model.safetensors")
    add("--protocol", nargs="+", choices=[*PROTOCOLS, "all"], help="default: what labels allow")
    add_source_arguments(parser)
    add("--cameras", nargs="+", help="each camera's file, where --train lists folders of events")
    add("--every", type=float, dest="every_seconds", help="between clips, for alignment; 0: all")
    add("--clips", type=int, dest="clips_per_video", help="clips spread over each video")
    add("--k", type=int, help="neighbours that vote")
    add("--temperature", type=float, help="of a vote's weight exp(similarity / temperature)")
    add("--centre", action="store_true", default=None, help="subtract the training mean (kNN)")
    add("--scaling", choices=["standardise", "l2"], help="of features for the linear probe")
    add("--seed", type=int, help="of the untrained weights and the folds")
    add("--batch-videos", type=int, help="videos encoded at a time")
    add("--workers", type=int, help="processes that decode")
    add("--still", action="store_true", default=None, help="repeat one frame of each clip")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", help="folder for the JSON files; default: eval in the run folder")
    return parser.parse_args()


def main() -> None:
    """Load, read the lists, evaluate, show."""
    set_up_logging()
    args = parse()
    encoder = load_encoder(args.checkpoint).to(args.device)
    given = {key: value for key, value in vars(args).items() if value is not None}
    source = read_source(args.checkpoint, given)
    settings = {**vars(source.config.eval), "seed": source.config.seed}
    known = {**settings, "workers": default_workers(), **given}
    options = Options(**{k: known[k] for k in vars(Options()) if k in known})
    protocols = suitable_protocols(source.parts, args.protocol)
    for result in evaluate(encoder, source.parts, protocols, options):
        Console().print(render(result))
        print(result.write(args.output or source.run / "eval"))


if __name__ == "__main__":
    run_tool(main)
