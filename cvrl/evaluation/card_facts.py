"""The fields of a protocol card, from what was evaluated."""

import hashlib
from collections.abc import Sequence
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
from cvrl.transforms.geometry import Resize
from cvrl.transforms.recipe import Recipe


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
        **(about_size(encoder) if request.pixels is None else {"size": encoder.size}),
        "crop_bars": encoder.clip.crop_bars,
        "stage": "res5, max-pooled" if request.max_pooled else "pooled",
        "seed": options.seed,
    }


def about_encoders(encoders: Sequence[Encoder]) -> dict[str, Any]:
    """The card's fields on which network gave the features, or which ones were joined."""
    digests = [weights_sha256(one) for one in encoders]
    if len(encoders) == 1:
        return {"encoder": dict(encoders[0].spec), "weights_sha256": digests[0]}
    members = [
        {
            "encoder": dict(one.spec),
            "clip_frames": one.clip.frames,
            "clip_stride": one.clip.stride,
            **about_size(one),
            "weights_sha256": digest,
        }
        for one, digest in zip(encoders, digests, strict=True)
    ]
    name = " + ".join(str(one.spec["name"]) for one in encoders)
    encoder = {"name": name, "joined": members}
    return {"encoder": encoder, "weights_sha256": sha256_of_all(digests)}


def sha256_of_all(digests: Sequence[str]) -> str:
    """A hash of several networks' hashes; of a single one its own.

    Example:
        >>> sha256_of_all(["ab"]), sha256_of_all(["ab", "cd"])[:8]
        ('ab', '88d4266f')
    """
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def about_size(encoder: Encoder) -> dict[str, Any]:
    """The card's fields on the pixels of a clip."""
    transform = encoder.preprocess
    ops = transform.views[0] if isinstance(transform, Recipe) else ()
    sides = [op.size for op in ops if isinstance(op, Resize) and op.size != encoder.size]
    return {"size": encoder.size, "short_side": sides[0] if sides else 0}


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
