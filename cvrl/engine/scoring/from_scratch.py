"""Score a network that learned from the labels alone, beside a pre-trained encoder.

Pre-training is worth something where the encoder does better than a network trained from random
weights with the same labels. That network is a training run of its own, whose classifier is scored
here on the same videos.
"""

from dataclasses import replace
from os import PathLike

from cvrl.config import load_config
from cvrl.data.splits import Parts
from cvrl.engine.scoring.run_sources import run_folder
from cvrl.evaluation.card import Result, Row
from cvrl.evaluation.evaluate import evaluate
from cvrl.evaluation.protocols.base import Options
from cvrl.pretrained import load_with_head
from cvrl.utils.errors import UserError

ROW = "from_scratch"
MISSING = (
    "no row for labels from scratch: train one with tools/train_net.py --config "
    "configs/finetune/small.yaml data.train=... output=runs/scratch; add --scratch runs/scratch"
)


def score_from_scratch(
    run: str | PathLike[str], parts: Parts, options: Options, device: str = "cpu"
) -> dict[str, Row]:
    """Score the classifier of a run that began with random weights.

    Args:
        run: its folder.
        parts: the videos; those of the test split are scored.
        options: how many clips of each video, and their perturbations.
        device: where to compute.

    Returns:
        A row for each perturbation.

    Raises:
        UserError: the run has no classifier or no config, began with trained weights, or does not
            know the classes.

    Example:
        >>> from cvrl.data.manifest import make_manifest
        >>> parts = Parts(make_manifest({"path": ["a.mp4"]}, root="/"))
        >>> score_from_scratch("no_such", parts, Options())
        Traceback (most recent call last):
        cvrl.utils.errors.UserError: no_such: has no config.yaml, so it is unknown how it was \
trained; give a run folder of tools/train_net.py
    """
    config_file = run_folder(run) / "config.yaml"
    if not config_file.exists():
        reason = "has no config.yaml, so it is unknown how it was trained"
        raise UserError(run, reason, "give a run folder of tools/train_net.py")
    remedy = "give a run of configs/finetune/small.yaml without encoder.weights"
    if (weights := load_config(config_file).encoder.weights) is not None:
        raise UserError(run, f"began with the weights of {weights}, not from scratch", remedy)
    encoder, head = load_with_head(run)
    if head is None:
        raise UserError(run, "was trained without labels and holds no classifier", remedy)
    options = replace(options, baselines=())
    results = evaluate(encoder.to(device), parts, ["classifier"], options, head=head.to(device))
    clip = f"{encoder.clip.frames} frames, stride {encoder.clip.stride}, {encoder.size} pixels"
    details = {"run": str(run), "clips": clip, "encoder": dict(encoder.spec)}
    return {result.card.show: Row(ROW, result.row("trained").scores, details) for result in results}


def with_from_scratch(result: Result, row: Row | None) -> Result:
    """Add the row above chance, or a note that says how to get one.

    Args:
        result: of an encoder.
        row: of :func:`score_from_scratch`.

    Example:
        >>> from cvrl.evaluation.card import example_card
        >>> result = Result(example_card(), [Row("trained", {}), Row("chance", {})])
        >>> row = Row(ROW, {"top1": 0.5}, {"run": "runs/y", "clips": "8 frames"})
        >>> [row.name for row in with_from_scratch(result, row).rows]
        ['trained', 'from_scratch', 'chance']
        >>> with_from_scratch(result, None).card.notes[0].split(":")[0]
        'no row for labels from scratch'
    """
    note, rows = MISSING, result.rows
    if row is not None:
        run, clips = row.details["run"], row.details["clips"]
        note = f"{ROW}: the classifier of {run}, trained with labels from random weights; {clips}"
        rows = [*rows[:-1], row, rows[-1]]
    return Result(replace(result.card, notes=[*result.card.notes, note]), rows)
