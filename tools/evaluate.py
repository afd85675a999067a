"""Score a trained encoder beside its untrained twin and chance.

python tools/evaluate.py --checkpoint runs/x --protocol knn linear --train videos.csv

Writes runs/x/eval/<protocol>.json. The videos are those of the run's config unless given here.
"""

import dataclasses
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

import torch

from cvrl.config import Config, DataConfig, load_config
from cvrl.data.loader import default_workers
from cvrl.evaluation.motion import SHOWS, present
from cvrl.evaluation.parts import read_parts
from cvrl.evaluation.protocol import PROTOCOLS, Options, evaluate, suitable_protocols
from cvrl.pretrained import load_with_head
from cvrl.utils.errors import UserError, run_tool
from cvrl.utils.log import set_up_logging

SOURCE = ("train", "test", "root", "split_column", "train_split", "test_split", "cameras")


def parse() -> Namespace:
    """Read the command line; None stands for "as the run's config says"."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True, help="run folder or model.safetensors")
    add("--protocol", nargs="+", choices=[*PROTOCOLS, "all"], help="default: what labels allow")
    add("--train", help="videos that carry the labels: folder, list or CSV")
    add("--test", help="videos to score; default: the test split of --train")
    add("--root", help="folder that relative paths in lists start from")
    add("--split-column", help="column of the CSV that holds the split")
    add("--train-split", help="its value for the training part")
    add("--test-split", help="its value for the test part")
    add("--hold-out", type=float, help="score this share of the training part's groups instead")
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
    add("--show", nargs="+", dest="shows", help=f"{', '.join(SHOWS)} or all: motion or scene?")
    add("--still", action="store_const", const=["still"], dest="shows", help="--show still")
    add("--allow-group-leak", action="store_true", default=None, help="score it all the same")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", help="folder for the JSON files; default: eval in the run folder")
    return parser.parse_args()


def main() -> None:
    """Load, read the lists, evaluate, show."""
    set_up_logging()
    args = parse()
    run = path if (path := Path(args.checkpoint)).is_dir() else path.parent
    encoder, head = load_with_head(args.checkpoint)
    given = {key: value for key, value in vars(args).items() if value is not None}
    has_config = (run / "config.yaml").exists()
    if not (has_config or args.train):
        raise UserError(run, "has no config.yaml that names videos", "give them with --train")
    config = load_config(run / "config.yaml") if has_config else Config()
    data = DataConfig() if args.train else config.data  # the run's splits fit the run's list only
    data = dataclasses.replace(data, **{k: given[k] for k in vars(data) if k in given})
    shares = {"hold_out": args.hold_out, "fallback_hold_out": data.hold_out}
    parts = read_parts(**{k: getattr(data, k) for k in SOURCE}, **shares, seed=config.seed)
    known = {**vars(config.eval), "workers": default_workers(), "seed": config.seed, **given}
    options = Options(**{k: known[k] for k in vars(Options()) if k in known})
    protocols = suitable_protocols(parts, args.protocol)
    results = evaluate(encoder.to(args.device), parts, protocols, options, head=head)
    present(results, args.output or run / "eval")


if __name__ == "__main__":
    run_tool(main)
