"""Show where and when a video holds what a model's answer rests on (Grad-CAM).

python tools/explain.py --checkpoint runs/x clip.mp4 --output clip_explained.mp4
python tools/explain.py --checkpoint runs/x clip.mp4 --class jump --output jump.mp4
python tools/explain.py --checkpoint runs/x clip.mp4 --like other.mp4 --output alike.mp4

Writes the video beside itself under the heat, and a strip of frames as PNG. A model without a
classifier is asked what makes up its feature, or with --like what resembles another video. What a
model's score rests on over a whole data set: tools/evaluate.py --show all.
"""

from argparse import Namespace

from cvrl.engine.cli import add_device, make_parser, pick_device
from cvrl.utils.errors import UserError, run_tool

STAGES = ("res2", "res3", "res4", "res5")


def parse() -> Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("video", help="file or folder of frames")
    add("--checkpoint", required=True, help="run folder or model.safetensors")
    add("--output", required=True, help="the MP4 to write; the PNG gets its name")
    add("--class", dest="class_name", help="the class to explain; default: the model's answer")
    add("--like", help="explain what resembles this video instead")
    add("--stage", choices=STAGES, help="whose maps; default: the last of 4 x 4 cells or more")
    add_device(parser)
    return parser.parse_args()


def main() -> None:
    """Load, explain, draw."""
    args = parse()
    if not args.output.lower().endswith(".mp4"):
        raise UserError(f"--output {args.output}", "is no name for a video", "let it end in .mp4")
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


if __name__ == "__main__":
    run_tool(main)
