"""Score a finished run: its config says on which videos and how, the command line what differs."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from cvrl.data.loader import default_workers
from cvrl.engine.scoring.from_scratch import score_from_scratch, with_from_scratch
from cvrl.engine.scoring.run_sources import read_source, run_config
from cvrl.evaluation.card import Result, Row
from cvrl.evaluation.evaluate import Options, evaluate, suitable_protocols
from cvrl.pretrained import load_encoder, load_with_head


def score_run(
    checkpoint: str | PathLike[str],
    given: Mapping[str, Any],
    *,
    protocols: Sequence[str] | None = None,
    device: str = "cpu",
) -> Iterator[Result]:
    """Evaluate a run or a model file by one or several protocols.

    Args:
        checkpoint: run folder or ``model.safetensors``.
        given: what is not to be as the run's config says: fields of its data section, ``hold_out``,
            fields of its eval section and of :class:`cvrl.evaluation.protocols.base.Options`, and
            ``scratch``, a run that learned from the labels alone, for a row of the linear protocol;
            and ``join``, further runs whose encoders' features are put behind those of this one.
        protocols: by name; None leaves the choice to the videos.
        device: where to compute.

    Yields:
        A result a protocol and perturbation.

    Hand-made features are kept in ``eval/features`` of the run, unless ``feature_cache`` names
    another folder, and taken from there the next time.

    Raises:
        UserError: no model, no videos, or settings that cannot be used.
        CorruptVideoError: a video cannot be decoded, and that is not allowed.
    """
    config = run_config(checkpoint)
    known: dict[str, Any] = {"workers": default_workers(), "seed": config.seed}
    known |= {**vars(config.eval), **given}
    encoder, head = load_with_head(checkpoint, **_pixels(checkpoint, given))
    joined = [
        load_encoder(run, **_pixels(run, given)).to(device) for run in given.get("join") or ()
    ]
    source = read_source(checkpoint, given)
    parts = source.parts
    folded = given.get("leave_one_out") is not None
    asked = suitable_protocols(parts, ["knn"] if folded and protocols is None else protocols)
    known.setdefault("baselines", ("hog_mbh",) if "linear" in asked else ())
    known.setdefault("feature_cache", source.run / "eval" / "features")
    options = Options(**{key: known[key] for key in vars(Options()) if key in known})
    scratch: dict[str, Row] = {}
    if given.get("scratch") is not None:
        scratch = score_from_scratch(given["scratch"], parts, options, device)
    how: dict[str, Any] = {"head": head, "joined": joined}
    for result in evaluate(encoder.to(device), parts, asked, options, **how):
        if result.card.protocol == "linear" and not folded:
            result = with_from_scratch(result, scratch.get(result.card.show))
        yield result


def _pixels(checkpoint: str | PathLike[str], given: Mapping[str, Any]) -> dict[str, int | None]:
    """Crop and short side of a run's test clips: as given, else as its own config says."""
    views = vars(run_config(checkpoint).eval)
    return {key: given.get(key) or views[key] for key in ("size", "short_side")}
