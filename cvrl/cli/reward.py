"""Reward each moment of a video for following a demonstration (TCN's imitation reward).

cvrl reward --checkpoint runs/tcn --demonstration shown.mp4 done.mp4 --output reward.csv
cvrl reward --checkpoint runs/tcn --demonstration shown.mp4 slow.mp4 --output slow.csv --match dtw

With w the embedding of a moment and v that of the demonstration's, the reward is
-alpha |w - v|^2 - beta sqrt(gamma + |w - v|^2). Writes a row a moment, and beside the CSV a PNG
with the rewards over time and the frames that were matched.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from cvrl.cli.arguments import add_device, make_parser
from cvrl.utils.errors import UserError


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl reward``."""
    parser = make_parser("reward", __doc__)
    add = parser.add_argument
    add("video", help="the video that is rewarded")
    add("--demonstration", required=True, help="the video that shows what is to be done")
    add("--checkpoint", required=True, help="run folder or model.safetensors")
    add("--output", type=Path, required=True, help="CSV to write; the PNG has the same name")
    add("--match", choices=("time", "dtw"), default="time", help="dtw: whatever the pace")
    add("--every", type=float, default=0.25, help="seconds between moments (default 0.25)")
    add("--alpha", type=float, default=0.5, help="weight of the squared distance (default 0.5)")
    add("--beta", type=float, default=0.5, help="weight of its rounded root (default 0.5)")
    add("--gamma", type=float, default=1e-3, help="rounds the root off at 0 (default 0.001)")
    add("--stage", choices=("pooled", "projected"), help="default: projected if there is a head")
    add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Embed both videos, compute the rewards, write and plot them."""
    args = build_parser().parse_args(argv)
    if args.output.suffix.lower() != ".csv":
        reason = "is not a CSV file"
        raise UserError(f"--output {args.output}", reason, "use a name that ends in .csv")
    from cvrl.cli.arguments import pick_device
    from cvrl.evaluation.prediction.reward import reward_along, write_reward
    from cvrl.pretrained import load_encoder
    from cvrl.report.reward_plot import plot_reward
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    encoder = load_encoder(args.checkpoint).to(pick_device(args.device))
    names = ("every", "alpha", "beta", "gamma", "match", "stage")
    how = {name: getattr(args, name) for name in names}
    reward = reward_along(encoder, args.demonstration, args.video, **how)
    mean = float(reward.reward_N.mean())
    print(f"mean reward {mean:.4f} of {len(reward.reward_N)} moments, at most {reward.most:.4f}")
    print(write_reward(reward, args.output))
    picture = args.output.with_suffix(".png")
    print(plot_reward(reward, args.demonstration, args.video, picture))
