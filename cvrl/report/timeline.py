"""What a classifier sees over the time of a video, as a picture.

Shape suffixes: N clips, K classes.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from cvrl.data.manifest import Manifest
from cvrl.evaluation.prediction.multiview import VideoAnswer, answer_videos
from cvrl.evaluation.prediction.predict import file_stems, timeline_choice, write_timeline
from cvrl.models.classifier import Classifier
from cvrl.report.plots import STYLE, any_script, shortened
from cvrl.utils.io import atomic_path

LINES = 6  # classes drawn; more cannot be told apart
COLOURS = ("#3b82c4", "#d1495b", "#2e9e5b", "#e09f3e", "#7b5ea7", "#5c6770")


def timeline_png(
    path: str | os.PathLike[str], answer: VideoAnswer, class_names: Sequence[str], title: str
) -> None:
    """Draw the probabilities of the likeliest classes over a video.

    A point stands in the middle of its clip. Classes are those likeliest at any time, and listed by
    how likely they are on the whole.

    Args:
        path: the PNG; replaced as a whole.
        answer: of one video, with clips all along it.
        class_names: K names.
        title: of the picture.

    Example:
        >>> import tempfile
        >>> import torch
        >>> times = torch.tensor([0.0, 0.5]), torch.tensor([1.0, 1.5])
        >>> answer = VideoAnswer(0, torch.tensor([[0.2, 0.8], [0.6, 0.4]]), *times)
        >>> timeline_png(tempfile.mkdtemp() + "/t.png", answer, ["run", "jump"], "clip.mp4")
    """
    highest = answer.probability_NK.amax(dim=0).topk(min(LINES, len(class_names))).indices.tolist()
    shown = sorted(highest, key=lambda k: -float(answer.probability_K[k]))
    middle_N = ((answer.start_N + answer.end_N) / 2).tolist()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.2), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        marker = "o" if len(middle_N) <= 40 else None
        for k, colour in zip(shown, COLOURS, strict=False):
            axes.plot(
                middle_N,
                answer.probability_NK[:, k].tolist(),
                color=colour,
                linewidth=1.6,
                marker=marker,
                markersize=3,
                label=shortened(class_names[k]),
            )
        axes.set_xlim(float(answer.start_N[0]), float(answer.end_N[-1]))
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("seconds")
        axes.set_ylabel("probability")
        axes.set_title(title, fontsize=10, loc="left")
        axes.grid(alpha=0.15)
        figure.legend(loc="outside right upper", frameon=False)
        with atomic_path(path) as temporary, any_script():
            figure.savefig(temporary, format="png", dpi=150)


def write_timelines(
    classifier: Classifier,
    videos: Manifest,
    folder: str | os.PathLike[str],
    *,
    every: float | None = None,
    crops: int = 3,
    workers: int = 0,
) -> Iterator[tuple[Path, Path]]:
    """Write what a classifier sees over the time of each video, as CSV and PNG.

    Args:
        classifier: as ``load_classifier`` gives it.
        videos: which; those that cannot be decoded have no files.
        folder: for the files, which are named after the videos.
        every: seconds from the start of one clip to that of the next; None for half a clip.
        crops: 1 is the centre, 3 lie along the longer side.
        workers: loader processes; 0 decodes in this one.

    Yields:
        The two files of a video, when they are written.
    """
    stems, choice = file_stems(videos.paths), timeline_choice(classifier, every)
    answers = answer_videos(
        [classifier],
        videos,
        choice,
        crops=crops,
        workers=workers,
        name_bad=True,
        description="timelines",
    )
    for answer in answers:
        if answer.bad is None:
            name, stem = os.path.basename(videos.path(answer.row)), stems[answer.row]
            table, picture = (Path(folder) / f"{stem}.timeline{kind}" for kind in (".csv", ".png"))
            write_timeline(table, answer, classifier.class_names)
            timeline_png(picture, answer, classifier.class_names, name)
            yield table, picture
