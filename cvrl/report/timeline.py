"""Plot the class probabilities of a video over time.

Shape suffixes: N clips, K classes.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cvrl.data.manifest import Manifest
from cvrl.evaluation.prediction.multiview import VideoAnswer, answer_videos
from cvrl.evaluation.prediction.predict import file_stems, timeline_choice, write_timeline
from cvrl.models.classifier import Classifier
from cvrl.report.plots import STYLE, any_script, shortened
from cvrl.utils.io import atomic_path

LINES = 6  # classes in a plot
COLOURS = ("#3b82c4", "#d1495b", "#2e9e5b", "#e09f3e", "#7b5ea7", "#5c6770")


def timeline_png(
    path: str | os.PathLike[str], answer: VideoAnswer, class_names: Sequence[str], title: str
) -> None:
    """Plot the probabilities of the most likely classes over a video.

    A point lies at the middle of its clip. The classes with the highest probability in any clip are
    plotted, in the order of their probability for the whole video.

    Args:
        path: the PNG, written atomically.
        answer: predictions for the clips of one video.
        class_names: K names.
        title: of the plot.

    Example:
        >>> import tempfile
        >>> import torch
        >>> times = torch.tensor([0.0, 0.5]), torch.tensor([1.0, 1.5])
        >>> answer = VideoAnswer(0, torch.tensor([[0.2, 0.8], [0.6, 0.4]]), *times)
        >>> timeline_png(tempfile.mkdtemp() + "/t.png", answer, ["run", "jump"], "clip.mp4")
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    highest = answer.probability_NK.amax(dim=0).topk(min(LINES, len(class_names))).indices.tolist()
    shown = sorted(highest, key=lambda k: -float(answer.probability_K[k]))
    middle_N = ((answer.start_N + answer.end_N) / 2).tolist()
    with rc_context(STYLE):
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
    """Write the class probabilities of each video over time as CSV and PNG.

    Args:
        classifier: from ``load_classifier``.
        videos: videos to classify; unreadable ones are skipped.
        folder: output folder; the files are named after the videos.
        every: seconds between the starts of clips; None for half a clip.
        crops: 1 for the centre crop, 3 for crops along the longer side.
        workers: loader processes; 0 decodes in this process.

    Yields:
        The CSV and the PNG of each video.
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
