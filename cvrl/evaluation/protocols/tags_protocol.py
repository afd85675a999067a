"""Protocol linear_tags: a linear probe where a label is several tags, such as ``sea+surf``."""

from typing import Any

import torch

from cvrl.data.tags import multi_hot
from cvrl.evaluation.protocols.base import (
    EncoderFeatures,
    Outcome,
    ProtocolInputs,
    Shares,
    labels_of,
    means_of,
    rows_of,
)
from cvrl.evaluation.protocols.multilabel import chance_tags, tag_probe


def run_tags(inputs: ProtocolInputs) -> Outcome:
    """Each network's probe for the tags, and chance.

    Args:
        inputs: with a training part and labels on both.
    """
    options = inputs.options
    train, train_labels_V, test_labels_V, _ = labels_of(inputs.parts)
    tags, has_KH = multi_hot(inputs.parts.test.class_names)
    test_has_VH = has_KH[test_labels_V]
    skipped: set[int] = set()

    def run(candidate: EncoderFeatures) -> tuple[Shares, dict[str, Any]]:
        """Scores and details of one network."""
        test_VD, train_VD = means_of(candidate)
        probe = tag_probe(
            train_VD,
            has_KH[train_labels_V],
            test_VD,
            test_has_VH,
            train_groups_N=torch.from_numpy(train.group_ids),
            scaling=options.scaling,
            l2_grid=options.l2_grid,
            seed=options.seed,
        )
        skipped.add(probe.scores.n_skipped)
        held_out = {f"{l2:g}": share for l2, share in probe.held_out.items()}
        details = {"l2": probe.l2, "held_out_map_by_l2": held_out}
        return {"map": probe.scores.macro, "map_micro": probe.scores.micro}, details

    macro, micro = chance_tags(test_has_VH.numpy() > 0)
    rows = rows_of(inputs, run, {"map": macro, "map_micro": micro})
    settings = {
        "tags": len(tags),
        "scaling": options.scaling,
        "l2_grid": list(options.l2_grid),
        "l2 chosen on": "train",
    }
    notes = ["mAP is a mean over tags; chance is the exact mean over all rankings"]
    if max(skipped):
        notes.append(f"{max(skipped)} tags that no test video has are not scored")
    return Outcome(rows, settings, notes)
