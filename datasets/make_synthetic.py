"""Write a small action data set whose classes need motion, as real H.264 files.

Every video shows one actor in a textured scene. The actor has four degrees of freedom: where it
stands (side), how high it is (height), how it leans (tilt) and how near it is (size). All four are
drawn from one distribution for every class; the class says which *body* acts (person or hound) and
which of the four *moves*, while the other three stay frozen:

    pace   side to side          rock   leans to and fro
    hop    up and down           loom   comes nearer and goes away

So the frames of two motions, taken one at a time, have exactly the same distribution: one frame
shows the body (a quarter right among the eight classes), and only motion shows the rest.

Everything else is nuisance, and it cannot tell the classes apart: take ``i`` of every class has
the same scene, colours, limbs, camera shake, light, distractors, speed and noise. Two scenes, each
with its cast, serve all takes, so the place says nothing either. Training and test share no take.

With `--sound` every video hums: a tone for each degree of freedom, whose pitch rises and falls with
it. So sound and pictures of one moment belong together, for what learns from both.

None of these motions has a direction in time. `--classes person_arrive hound_arrive` writes videos
that have: the actor comes nearer, once.

`--kind people` writes another data set, to pre-train on: people of many builds who jump, crawl,
punch or juggle, in scenes, clothes, light and camera movements that are drawn anew for each video,
see people_scenes.py. Its classes are the motions; all videos are in the training part.
"""

import argparse
import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from people_motions import PEOPLE
from synthetic_scene import CLASSES, FPS, ONE_WAY, Take, draw_scene, draw_take, hum, render

from cvrl.utils.errors import UserError, run_tool
from cvrl.utils.io import atomic_path
from cvrl.utils.processes import Lost, map_in_processes
from cvrl.utils.seed import numpy_rng
from cvrl.video.encode import add_sound

SCENES = 2  # places with their casts, shared by all classes and both parts
SOUND_RATE = 16_000  # samples a second
TEST_PART = 3  # every third take is held out
KINDS = {"actions": CLASSES, "people": PEOPLE}
NAMES = (*CLASSES, *ONE_WAY, *PEOPLE)
_SCENE, _TAKE, _GRAIN, _PEOPLE = range(4)  # the last part of a random key: what the draw is for


@dataclass(frozen=True)
class Plan:
    """What decides every byte of a data set.

    Attributes:
        seed: of all draws.
        videos_per_class: takes; at least 3 of classes of which every third is held out.
        classes: names out of CLASSES, ONE_WAY and PEOPLE.
        width, height: of the videos in pixels, even numbers.
        sound: whether the motion is heard.
    """

    seed: int
    videos_per_class: int
    classes: tuple[str, ...]
    width: int
    height: int
    sound: bool = False


@dataclass(frozen=True)
class Job:
    """One video to write: where, which class, and which take."""

    path: Path
    plan: Plan
    label: str
    index: int

    @property
    def scene(self) -> int:
        """The number of its scene, the same for take ``index`` of every class."""
        return self.index // TEST_PART % SCENES

    def row(self) -> tuple[str, str, str, str]:
        """Its line of the manifest: path, label, group, split."""
        held_out = self.index % TEST_PART == TEST_PART - 1 and self.label not in PEOPLE
        split = "test" if held_out else "train"
        return f"{self.label}/{self.path.name}", self.label, self.path.stem, split


def write_video(job: Job, beat: Callable[[], None] = lambda: None) -> None:
    """Render one video and write it as H.264 in MP4, whole or not at all.

    Args:
        job: which one.
        beat: called now and then to show that the work goes on.
    """
    import av  # not for --help

    plan = job.plan
    frames = _people(job) if job.label in PEOPLE else _action(job)
    beat()
    with atomic_path(job.path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = plan.width, plan.height, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        # One thread, so that the file does not depend on the machine; no macroblock tree, whose
        # result in x264 as PyAV 18.1 ships it changes from one call to the next; short gaps between
        # key frames, so that reading from the middle is cheap.
        stream.options = {"preset": "veryfast", "crf": "20", "threads": "1", "g": "12"}
        stream.options |= {"x264-params": "mbtree=0"}
        if plan.sound:
            add_sound(container, hum(_take(job), job.label, SOUND_RATE), SOUND_RATE)
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def _take(job: Job) -> Take:
    """What differs from video to video of a group of actions."""
    plan = job.plan
    return draw_take(numpy_rng(plan.seed, job.index, _TAKE), plan.width / plan.height)


def _action(job: Job) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of an actor whose motion alone tells its class."""
    plan = job.plan
    scene = draw_scene(numpy_rng(plan.seed, job.scene, _SCENE), plan.width, plan.height)
    take = _take(job)
    grain = numpy_rng(plan.seed, job.index, _GRAIN)
    for clean in render(scene, take, job.label, plan.width, plan.height):
        noise = grain.standard_normal(clean.shape, np.float32) * np.float32(take.noise)
        yield np.clip(clean + noise, 0, 255).astype(np.uint8)


def _people(job: Job) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of people; every video has draws of its own."""
    from people_scenes import render_people  # not for --help

    plan = job.plan
    rng = numpy_rng(plan.seed, job.index, PEOPLE.index(job.label), _PEOPLE)
    yield from render_people(rng, job.label, plan.width, plan.height)


def make(plan: Plan, output: Path, workers: int) -> list[Job]:
    """Write a data set; videos that are there already are kept.

    Args:
        plan: what to write.
        output: folder for a folder a class, manifest.csv and synthetic.json.
        workers: processes; 0 writes in this one.

    Returns:
        The jobs of all videos, those that were there included.

    Raises:
        UserError: the folder holds a data set of another plan, or a writing process died.
    """
    from cvrl.utils.log import track

    check_folder(plan, output)
    jobs = [
        Job(output / label / f"{label}_{index:04d}.mp4", plan, label, index)
        for index in range(plan.videos_per_class)
        for label in plan.classes
    ]
    missing = [job for job in jobs if not job.path.exists()]
    done = map_in_processes(write_video, missing, workers=workers)
    for position, outcome in track(done, len(missing), "writing videos"):
        if isinstance(outcome, Lost):
            remedy = "run the same command again"
            raise UserError(missing[position].path, outcome.reason, remedy)
    with atomic_path(output / "manifest.csv") as temporary, open(temporary, "w") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(("path", "label", "group", "split"))
        lines.writerows(sorted(job.row() for job in jobs))
    return jobs


def check_folder(plan: Plan, output: Path) -> None:
    """Leave a note of the plan in the folder, or refuse one that was made by another plan.

    Raises:
        UserError: the plan in the folder is another.
    """
    note = output / "synthetic.json"
    settings = {key: value for key, value in vars(plan).items() if key != "sound" or value}
    text = json.dumps(settings, indent=1) + "\n"  # without sound, as before there was any
    if note.exists() and note.read_text() != text:
        reason = "holds a data set made with other settings"
        raise UserError(output, reason, "delete it, or give another --output")
    with atomic_path(note) as temporary:
        temporary.write_text(text)


def parse(arguments: Sequence[str] | None = None) -> tuple[Plan, Path, int]:
    """Read the command line.

    Returns:
        What to write, where, and by how many processes.

    Raises:
        UserError: a value that cannot be used.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder to write to")
    add("--videos-per-class", type=int, default=48, metavar="N")
    add("--kind", choices=list(KINDS), default="actions", help="which classes, without --classes")
    add("--classes", nargs="+", choices=NAMES, metavar="NAME")
    add("--seed", type=int, default=0)
    add("--size", default="96x72", help="width x height in pixels, as in 96x72")
    add("--sound", action="store_true", help="let the motion be heard")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes that write")
    given = parser.parse_args(arguments)
    asked = given.classes or KINDS[given.kind]
    if given.videos_per_class < TEST_PART and not set(asked) <= set(PEOPLE):
        reason = f"gives no test part, which takes every {TEST_PART}rd take"
        raise UserError(f"--videos-per-class {given.videos_per_class}", reason, "give 3 or more")
    sides = [int(side) if side.isdecimal() else 0 for side in given.size.split("x")]
    if len(sides) != 2 or any(side < 32 or side % 2 for side in sides):
        reason = "not two even numbers of 32 pixels or more"
        raise UserError(f"--size {given.size}", reason, "give it as in 96x72")
    classes = tuple(name for name in NAMES if name in asked)
    if given.sound and set(classes) & set(PEOPLE):
        reason = "people make no sound; only the motions of --kind actions are heard"
        raise UserError("--sound", reason, "leave one of the two out")
    plan = Plan(given.seed, given.videos_per_class, classes, sides[0], sides[1], given.sound)
    return plan, given.output, given.workers


def main() -> None:
    """Write the data set and say what it holds."""
    plan, output, workers = parse()
    from cvrl.utils.log import set_up_logging

    set_up_logging()
    splits = [job.row()[-1] for job in make(plan, output, workers)]
    print(
        f"{output}: {len(splits)} videos of {len(plan.classes)} classes, "
        f"{splits.count('train')} to train and {splits.count('test')} to test"
    )


if __name__ == "__main__":
    run_tool(main)
