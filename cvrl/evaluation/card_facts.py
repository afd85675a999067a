"""The fields of a protocol card, from what was evaluated."""

from typing import Any

from cvrl.data.leave_one_out import leave_one_out
from cvrl.data.splits import Parts, list_sha256
from cvrl.evaluation.checks import FITTED, LABELLED, Protocol
from cvrl.evaluation.encoders import ClipRequest, Entry
from cvrl.evaluation.protocols.base import Options
from cvrl.evaluation.protocols.classifier_protocol import NO_BASELINE
from cvrl.evaluation.random_init import weights_sha256
from cvrl.models.backbones import Encoder
from cvrl.models.classifier import Classifier
from cvrl.models.heads import ClassHead


def about_data(parts: Parts, entry: Entry, protocol: Protocol) -> dict[str, Any]:
    """The card's fields on both parts, as listed and as scored."""
    fitted, labelled, train = protocol in FITTED, protocol in LABELLED, entry.train
    facts: dict[str, Any] = {
        "test": parts.test_name,
        "test_list": list_sha256(parts.test),
        "train": parts.train_name if fitted else None,
        "n_classes": len(parts.test.class_names) if labelled else None,
        "n_listed": entry.test.n_listed,
        "n_scored": len(entry.test.manifest),
        "n_missing": len(entry.test.bad),
        "missing": entry.test.names,
        "n_train": 0,
    }
    if fitted and parts.train is not None and train is not None:
        facts |= {
            "train_list": list_sha256(parts.train),
            "n_train": len(train.manifest),
            "n_train_missing": len(train.bad),
            "train_missing": train.names,
        }
    return facts


def about_folds(entry: Entry, options: Options) -> dict[str, Any]:
    """The card's fields on cross-validation; the training part is the least that a fold has."""
    if options.leave_one_out is None:
        return {}
    folds = leave_one_out(entry.test.manifest, options.leave_one_out)
    fewest = min(len(fold.train_N) for fold in folds)
    return {"leave_one_out": options.leave_one_out, "n_folds": len(folds), "n_train": fewest}


def about_clips(encoder: Encoder, options: Options, request: ClipRequest) -> dict[str, Any]:
    """The card's fields on what was taken of each video, and by which network."""
    return {
        "clips_per_video": request.clips,
        "clip_frames": encoder.clip.frames,
        "clip_stride": encoder.clip.stride,
        "short_video": encoder.clip.short_video,
        "size": encoder.size,
        "crop_bars": encoder.clip.crop_bars,
        "stage": "res5, max-pooled" if request.max_pooled else "pooled",
        "encoder": dict(encoder.spec),
        "seed": options.seed,
    }


def about_classifier(encoder: Encoder, head: ClassHead | None) -> dict[str, Any]:
    """The card's fields on a classifier; ``checks.checked`` has refused a model without one."""
    assert head is not None
    return {
        "n_classes": len(head.class_names),
        "stage": "classifier",
        "untrained": NO_BASELINE,
        "weights_sha256": weights_sha256(Classifier(encoder, head)),
    }


def marked_bad(parts: Parts) -> list[str]:
    """Notes on rows that a scan marked bad, which are in no part."""
    lists = {part.source: part.bad for part in (parts.test, parts.train) if part and part.bad}
    return [
        f"{bad} rows of {source} are marked bad there, in no part" for source, bad in lists.items()
    ]
