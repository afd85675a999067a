"""Show which places and times of a video a prediction depends on (Grad-CAM).

cvrl explain --checkpoint runs/x clip.mp4 --output clip_explained.mp4
cvrl explain --checkpoint runs/x clip.mp4 --class jump --output jump.mp4
cvrl explain --checkpoint runs/x clip.mp4 --like other.mp4 --output alike.mp4

Writes an MP4 of the video beside the video with its heat map, and a strip of frames as PNG. Without
a classifier, the heat map explains the video's feature, or with --like the similarity to another
video. To test what the score on a whole data set depends on, evaluate on perturbed clips.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from cvrl.cli.arguments import add_device, make_parser, pick_device
from cvrl.utils.errors import UserError

STAGES = ("res2", "res3", "res4", "res5")


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl explain``."""
    parser = make_parser("explain", __doc__)
    add = parser.add_argument
    add("video", help="file or folder of frames")
    add("--checkpoint", required=True, help="run folder or model.safetensors")
    add("--output", required=True, help="MP4 to write; the PNG has the same name")
    add("--class", dest="class_name", help="class to explain; default: the predicted class")
    add("--like", help="explain the similarity to this video instead")
    add("--stage", choices=STAGES, help="stage of the maps; default: the last with 4 x 4 cells")
    add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, compute the heat map and draw it."""
    args = build_parser().parse_args(argv)
    if not args.output.lower().endswith(".mp4"):
        raise UserError(
            f"--output {args.output}", "is not an MP4 file", "use a name that ends in .mp4"
        )
    from cvrl.explain.explanation import explain, write_explanation
    from cvrl.pretrained import load_with_head
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    device = pick_device(args.device)
    encoder, head = load_with_head(args.checkpoint)
    encoder, head = encoder.to(device), head and head.to(device)
    how = {"class_name": args.class_name, "like": args.like, "stage": args.stage}
    heat = explain(encoder, head, args.video, **how)
    height, width = heat.map_Lhw.shape[1:]
    print(f"{heat.words}, in {height} x {width} cells of {heat.stage}")
    for path in write_explanation(encoder, args.video, heat, args.output):
        print(path)
