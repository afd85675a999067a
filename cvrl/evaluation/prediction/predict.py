"""A classifier's answer to a user's own videos, as a whole and over time.

Shape suffixes: N clips of a video, K classes.
"""

import csv
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from cvrl.data.manifest import Manifest, make_manifest, read_manifest
from cvrl.evaluation.features.clip_stream import ClipChoice
from cvrl.evaluation.prediction.multiview import VideoAnswer
from cvrl.evaluation.prediction.predictions import Predictions
from cvrl.models.classifier import Classifier
from cvrl.utils.errors import UserError
from cvrl.utils.file_names import path_text
from cvrl.utils.io import atomic_path

LISTS = (".csv", ".txt")


def list_videos(given: Sequence[str | PathLike[str]]) -> Manifest:
    """The videos behind some paths, each once.

    Args:
        given: videos, folders of videos, and lists (.csv, .txt). A video is taken as it is, whether
            it can be decoded or not; what is wrong with it is said when it is opened.

    Raises:
        UserError: a folder without videos, or a list that cannot be read.

    Example:
        >>> list_videos(["/b.mp4", "/a.mp4", "/b.mp4"]).paths
        ['/b.mp4', '/a.mp4']
    """
    paths: list[str] = []
    for path in [os.fspath(one) for one in given]:
        is_list = os.path.isfile(path) and path.lower().endswith(LISTS)
        several = os.path.isdir(path) or is_list
        paths += read_manifest(path).paths if several else [path_text(os.path.abspath(path))]
    return make_manifest({"path": list(dict.fromkeys(paths))}, root="/", source="the videos")


def best_classes(
    probability_K: Tensor, class_names: Sequence[str], count: int = 5
) -> list[tuple[str, float]]:
    """The likeliest classes and their probabilities, descending.

    Args:
        probability_K: of one video or clip.
        class_names: K names.
        count: how many, 1 or more; all of them where there are fewer.

    Raises:
        UserError: ``count`` is below 1.

    Example:
        >>> best_classes(torch.tensor([0.25, 0.75]), ["run", "jump"])
        [('jump', 0.75), ('run', 0.25)]
    """
    if count < 1:
        raise UserError(f"--top {count}", "must be 1 or more", "5 is usual")
    best = probability_K.topk(min(count, len(class_names)))
    rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [(class_names[k], share) for share, k in rows]


def collect(
    classifier: Classifier, videos: Manifest, answers: Sequence[VideoAnswer]
) -> Predictions:
    """The answers in the order of the list; ``bad`` names the videos that cannot be decoded."""
    good = sorted((answer for answer in answers if answer.bad is None), key=lambda a: a.row)
    nothing = torch.empty(0, len(classifier.class_names))
    return Predictions(
        class_names=classifier.class_names,
        paths=[videos.path(answer.row) for answer in good],
        labels=[None] * len(good),
        probability_VK=torch.stack([a.probability_K for a in good]) if good else nothing,
        multi_label=classifier.head.multi_label,
        bad=tuple((videos.path(a.row), a.bad) for a in answers if a.bad is not None),
    )


def timeline_choice(classifier: Classifier, every: float | None = None) -> ClipChoice:
    """Clips all along a video, from one to the next half a clip where ``every`` does not say.

    Args:
        classifier: as ``load_classifier`` gives it.
        every: seconds from the start of one clip to that of the next.

    Raises:
        UserError: ``every`` is not above 0.
    """
    clip = classifier.encoder.clip
    return ClipChoice(every=clip.span / (2 * (clip.fps or 25.0)) if every is None else every)


def write_timeline(
    path: str | PathLike[str], answer: VideoAnswer, class_names: Sequence[str]
) -> None:
    """Write the probabilities of each clip: columns start_s, end_s, and one a class.

    Args:
        path: the CSV file; replaced as a whole.
        answer: of one video.
        class_names: K names.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "timeline.csv"
        >>> times = torch.tensor([0.0]), torch.tensor([0.5])
        >>> write_timeline(file, VideoAnswer(0, torch.tensor([[0.25, 0.75]]), *times), ["a", "b"])
        >>> file.read_text().split()
        ['start_s,end_s,a,b', '0.000,0.500,0.250000,0.750000']
    """
    seconds = zip(answer.start_N.tolist(), answer.end_N.tolist(), strict=True)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["start_s", "end_s", *class_names])
        for (start, end), shares in zip(seconds, answer.probability_NK.tolist(), strict=True):
            writer.writerow([f"{start:.3f}", f"{end:.3f}", *(f"{share:.6f}" for share in shares)])


def file_stems(paths: Sequence[str]) -> list[str]:
    """A name a video for the files made of it; those of one name are numbered.

    Example:
        >>> file_stems(["/a/clip.mp4", "/b/clip.mp4", "/b/other.avi"])
        ['clip', 'clip_2', 'other']
    """
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem, number = Path(path).stem, 1
        name = stem
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        stems.append(name)
    return stems
