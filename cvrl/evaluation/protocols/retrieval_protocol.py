"""Protocol retrieval: what each recipe takes of a video, and the rows it makes.

Shape suffix: V videos.
"""

from dataclasses import dataclass
from typing import Any

from cvrl.data.splits import group_numbers
from cvrl.evaluation.encoders import ClipRequest
from cvrl.evaluation.protocols.base import (
    EncoderFeatures,
    Outcome,
    ProtocolInputs,
    Shares,
    labels_of,
    means_of,
    rows_of,
    unseen_classes,
)
from cvrl.evaluation.protocols.retrieval import (
    VCOP_CLIPS,
    RetrievalRecipe,
    RetrievalScores,
    Search,
    chance_retrieval,
    retrieve,
    unit_features,
)


@dataclass(frozen=True)
class _Words:
    """A recipe in words, for the card."""

    clips: str
    pixels: str
    feature: str
    centring: str
    notes: tuple[str, ...] = ()


_WORDS: dict[RetrievalRecipe, _Words] = {
    "default": _Words(
        "spread evenly", "centre", "pooled, mean over clips", "the gallery's mean, from both parts"
    ),
    "vcop": _Words(
        "spread evenly", "centre 112 of 128 x 171",
        "res5 max-pooled by 1 x 2 x 2, mean over clips", "none",
        ("retrieval as VCOP, but its loader leaves the last videos of a list out, and this none",),
    ),
    "coclr": _Words(
        "half-overlapping windows", "centre 224 of a short side of 256",
        "pooled, mean over clips", "each part's own mean",
        (
            "retrieval as CoCLR, without its random colours; transductive: the queries are centred "
            "by their own mean, so a score depends on which others are asked",
        ),
    ),
}  # fmt: skip


def retrieval_intake(recipe: RetrievalRecipe, clips_per_video: int) -> ClipRequest:
    """What a recipe takes of each video.

    Args:
        recipe: by name.
        clips_per_video: of the default recipe; the others have their own.

    Example:
        >>> retrieval_intake("vcop", 2).clips
        10
    """
    return {
        "default": ClipRequest(clips_per_video),
        "vcop": ClipRequest(VCOP_CLIPS, max_pooled=True, pixels="vcop"),
        "coclr": ClipRequest(None, half_overlap=True, pixels="coclr"),
    }[recipe]


def run_retrieval(inputs: ProtocolInputs) -> Outcome:
    """Each network's ranking of the training videos for every test video, and chance.

    Args:
        inputs: with a training part and labels on both.
    """
    options = inputs.options
    recipe, words = options.retrieval, _WORDS[options.retrieval]
    _, train_labels_V, test_labels_V, _ = labels_of(inputs.parts)
    groups = group_numbers(inputs.parts) if options.leave_same_group_out else (None, None)
    search = Search(test_labels_V, train_labels_V, *groups)

    def run(candidate: EncoderFeatures) -> tuple[Shares, dict[str, Any]]:
        """Scores and details of one network."""
        unit_features_of_both = unit_features(*means_of(candidate), recipe)
        found = retrieve(*unit_features_of_both, search, seed=options.seed)
        return _shares(found), {"median_rank": found.median_rank}

    chance = chance_retrieval(search)
    *rows, last = rows_of(inputs, run, _shares(chance))
    last.details["median_rank"] = chance.median_rank
    settings = {
        "clips": words.clips,
        "pixels": words.pixels,
        "feature": words.feature,
        "centring": words.centring,
        "similarity": "cosine",
    }
    settings |= {"same_group": "left out"} if options.leave_same_group_out else {}
    notes = [*words.notes, *unseen_classes(inputs.parts)]
    if chance.n_unmatched:
        notes.append(f"{chance.n_unmatched} queries have no right candidate and count as misses")
    notes.append("chance is the exact mean over all rankings; mAP is a mean over classes")
    variant = "" if recipe == "default" else recipe
    return Outcome([*rows, last], settings, notes, variant)


def _shares(found: RetrievalScores) -> Shares:
    return {**{f"r{k}": share for k, share in found.recall.items()}, "map": found.mean_ap}
