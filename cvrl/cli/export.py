"""Write a trained model in a form that other programs load.

cvrl export --checkpoint runs/tuned --format onnx --output tuned.onnx
cvrl export --checkpoint runs/mine --format onnx --output mine.onnx --int8
cvrl export --checkpoint runs/tuned --format torch --output tuned.pt2 --videos my_videos
cvrl export --checkpoint runs/mine --format hub --output folder --data-license "CC BY 4.0"

An ONNX or .pt2 file takes a batch of clips of any size and gives probabilities, or features where
the model has no classifier or --features is given. It is run on clips of --videos (default: the
run's own videos) before it is written, and its metadata holds the result, the classes and how clips
are cut from a video; see docs/serving.md. A Hub folder holds model.safetensors, config.json and a
model card of the run; cvrl.load_encoder reads it.
"""

from argparse import ArgumentParser
from collections.abc import Sequence

from cvrl.cli.arguments import make_parser
from cvrl.utils.errors import UserError

FORMATS = ("onnx", "torch", "hub")


def build_parser() -> ArgumentParser:
    """The arguments of ``cvrl export``."""
    parser = make_parser("export", __doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="run folder or model.safetensors")
    add("--format", required=True, choices=FORMATS)
    add("--output", required=True, help="file ending in .onnx or .pt2, or a folder")
    add("--data-license", help="of the training videos, for the card of a Hub folder (required)")
    add("--license", help="of the weights, for the card, such as apache-2.0")
    add("--videos", nargs="+", help="videos, folders or lists to check the file on")
    add("--features", action="store_true", help="give features also where there is a classifier")
    add("--input", choices=("uint8", "float"), default="uint8", help="of the graph: frames as a "
        "video reader gives them (default), or clips as encoder.preprocess gives them")  # fmt: skip
    add("--int8", action="store_true", help="also write the ONNX file in 8 bits")
    add("--clips", type=int, default=16, help="real clips of the check (default %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load, trace, check and write."""
    args = build_parser().parse_args(argv)
    if args.format == "hub":
        from cvrl.export.hub_folder import write_hub_folder

        terms = {"data_license": args.data_license, "license": args.license}
        print(f"wrote {write_hub_folder(args.checkpoint, args.output, **terms)}")
        return
    from cvrl.engine.scoring.run_sources import read_source, run_folder
    from cvrl.evaluation.prediction.predict import list_videos
    from cvrl.export.files import export_file
    from cvrl.models.classifier import Classifier
    from cvrl.pretrained import load_with_head
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    encoder, head = load_with_head(args.checkpoint)
    model = encoder if head is None or args.features else Classifier(encoder, head).eval()
    if args.videos is not None:
        videos = list_videos(args.videos)
    else:
        if not (run_folder(args.checkpoint) / "config.yaml").exists():
            reason = "has no config.yaml that names videos"
            raise UserError(args.checkpoint, reason, "give some with --videos")
        videos = read_source(args.checkpoint, {}).parts.test
    written = export_file(
        model,
        args.output,
        videos,
        format=args.format,
        takes=args.input,
        int8=args.int8,
        clips=args.clips,
    )
    for path, parity in written.items():
        found = f"difference {parity.difference:.1e}, cosine {parity.cosine:.6f}"
        print(f"wrote {path}: {found} on {parity.clips} clips ({parity.runtime})")
