"""The synthetic data set: real files, the same bytes every time, and no way to cheat."""

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cvrl.data.manifest import read_manifest
from cvrl.utils.errors import UserError
from cvrl.utils.seed import numpy_rng
from cvrl.video.reader import open_video
from cvrl.video.sound import has_sound

SCRIPTS = Path(__file__).parents[2] / "datasets"


def load(name: str) -> ModuleType:
    """A script of the folder `datasets`, which is no package."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


scene = load("synthetic_scene")
make_synthetic = load("make_synthetic")


def plan_of(videos: int = 3, **changes: object) -> object:
    values = {"seed": 0, "classes": ("person_hop", "hound_loom"), "width": 64, "height": 48}
    return make_synthetic.Plan(videos_per_class=videos, **(values | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 videos of 2 classes. Not to be written to."""
    output = tmp_path_factory.mktemp("synthetic")
    make_synthetic.make(plan_of(), output, workers=0)
    return output


def frames_of(take: object, label: str, seconds: float = 4.0) -> np.ndarray:
    drawn = scene.draw_scene(numpy_rng(0), 64, 48)
    frames = list(scene.render(drawn, take, label, 64, 48))
    return np.stack(frames[: int(seconds * scene.FPS)])


# --- files ---------------------------------------------------------------------------------------


def test_every_file_is_h264_that_decodes_whole(made: Path) -> None:
    paths = sorted(made.rglob("*.mp4"))
    assert len(paths) == 6
    for path in paths:
        assert b"avc1" in path.read_bytes()
        with open_video(path) as video:
            assert 50 <= len(video) <= 100
            assert video.size == (48, 64)
            assert video.fps == 25
            last = video.frames([len(video) - 1])
            assert last.shape == (1, 48, 64, 3)


def test_a_folder_a_class_and_a_manifest_say_the_same(made: Path) -> None:
    manifest = read_manifest(made / "manifest.csv")
    folders = read_manifest(made)
    assert manifest.class_names == folders.class_names == ["hound_loom", "person_hop"]
    assert sorted(manifest.paths) == sorted(folders.paths)
    assert manifest.label_ids.tolist() == folders.label_ids.tolist()


def test_train_and_test_share_no_take(made: Path) -> None:
    with open(made / "manifest.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "label", "group", "split"]
    takes = {split: set() for split in ("train", "test")}
    for row in rows:
        label, _, number = row["group"].rpartition("_")
        assert label == row["label"]
        takes[row["split"]].add(number)
    assert takes["train"] and takes["test"]
    assert not takes["train"] & takes["test"]


def test_the_scene_says_neither_class_nor_part() -> None:
    plan = plan_of(12)
    seen: dict[tuple[str, str], list[int]] = {}
    for label in plan.classes:
        for index in range(12):
            job = make_synthetic.Job(Path("x.mp4"), plan, label, index)
            seen.setdefault((label, job.row()[-1]), []).append(job.scene)
    for (_, split), scenes in seen.items():
        counts = [scenes.count(number) for number in range(make_synthetic.SCENES)]
        assert counts == ([4, 4] if split == "train" else [2, 2])


@pytest.mark.parametrize("videos", [3, 4, 7, 12, 48, 100])
def test_both_parts_have_videos_of_every_class(videos: int) -> None:
    plan = plan_of(videos)
    jobs = [
        make_synthetic.Job(Path("x.mp4"), plan, label, index)
        for label in plan.classes
        for index in range(videos)
    ]
    splits = {label: [j.row()[-1] for j in jobs if j.label == label] for label in plan.classes}
    assert len({tuple(parts) for parts in splits.values()}) == 1
    test_share = splits["person_hop"].count("test") / videos
    assert 0.2 <= test_share <= 0.45


def test_the_same_seed_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    path = made / "person_hop" / "person_hop_0001.mp4"
    for name, seed in (("same.mp4", 0), ("other.mp4", 1)):
        job = make_synthetic.Job(tmp_path / name, plan_of(seed=seed), "person_hop", 1)
        make_synthetic.write_video(job)
    assert (tmp_path / "same.mp4").read_bytes() == path.read_bytes()
    assert (tmp_path / "other.mp4").read_bytes() != path.read_bytes()


# --- a run that is stopped and started again -----------------------------------------------------


def test_what_is_there_is_kept_and_what_is_missing_is_written(tmp_path: Path) -> None:
    plan = plan_of(classes=("person_hop",))
    make_synthetic.make(plan, tmp_path, workers=0)
    files = sorted(tmp_path.rglob("*.mp4"))
    before = [path.stat().st_mtime_ns for path in files]
    content = files[1].read_bytes()
    files[1].unlink()
    make_synthetic.make(plan, tmp_path, workers=0)
    after = [path.stat().st_mtime_ns for path in files]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
    assert files[1].read_bytes() == content


def test_a_writer_that_fails_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_frames_then_trouble(*_: object) -> object:
        yield np.zeros((48, 64, 3), np.float32)
        yield np.zeros((48, 64, 3), np.float32)
        raise OSError("no space left")

    monkeypatch.setattr(make_synthetic, "render", two_frames_then_trouble)
    job = make_synthetic.Job(tmp_path / "a.mp4", plan_of(), "person_hop", 0)
    with pytest.raises(OSError, match="no space"):
        make_synthetic.write_video(job)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_plan_is_refused(tmp_path: Path) -> None:
    make_synthetic.check_folder(plan_of(), tmp_path)
    make_synthetic.check_folder(plan_of(), tmp_path)
    with pytest.raises(UserError, match="other settings; delete it"):
        make_synthetic.check_folder(plan_of(seed=1), tmp_path)
    assert json.loads((tmp_path / "synthetic.json").read_text())["seed"] == 0


def test_a_writing_process_that_dies_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = make_synthetic.Lost("the process that worked on it died (SIGKILL)")
    monkeypatch.setattr(make_synthetic, "map_in_processes", lambda *_, **__: iter([(0, lost)]))
    with pytest.raises(UserError, match=r"_0000.mp4: .*SIGKILL.*; run the same command again"):
        make_synthetic.make(plan_of(), tmp_path, workers=2)


# --- the command ---------------------------------------------------------------------------------


def test_the_defaults_are_all_classes() -> None:
    plan, output, workers = make_synthetic.parse(["--output", "x"])
    assert plan.classes == scene.CLASSES and len(plan.classes) == 8
    assert output == Path("x") and workers >= 1


def test_classes_are_put_in_order_so_that_the_plan_is_the_same() -> None:
    a, _, _ = make_synthetic.parse(["--output", "x", "--classes", "person_hop", "hound_hop"])
    b, _, _ = make_synthetic.parse(["--output", "x", "--classes", "hound_hop", "person_hop"])
    assert a == b


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "96"], "--size 96: not two even numbers"),
        (["--size", "95x72"], "--size 95x72: not two even"),
        (["--size", "ax72"], "--size ax72: not two even"),
        (["--size", "16x16"], "--size 16x16: not two even"),
        (["--videos-per-class", "2"], "--videos-per-class 2: gives no test part"),
    ],
)
def test_values_that_cannot_be_used_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_synthetic.parse(["--output", "x", *arguments])


@pytest.mark.slow
def test_the_command_writes_with_processes_what_it_writes_alone(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "make_synthetic.py"), "--output", str(tmp_path)]
    options = ["--videos-per-class", "3", "--size", "64x48", "--workers", "2"]
    classes = ["--classes", "person_hop", "hound_loom"]
    done = subprocess.run(
        [*command, *options, *classes], capture_output=True, text=True, cwd=SCRIPTS.parent
    )
    assert done.returncode == 0, done.stderr
    assert "6 videos of 2 classes, 4 to train and 2 to test" in done.stdout
    for path in made.rglob("*.mp4"):
        assert (tmp_path / path.relative_to(made)).read_bytes() == path.read_bytes()


def test_a_wrong_value_ends_the_command_with_code_2(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "make_synthetic.py"), "--output", str(tmp_path)]
    done = subprocess.run(
        [*command, "--size", "big"], capture_output=True, text=True, cwd=SCRIPTS.parent
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --size big: ") and done.stderr.count("\n") == 1


# --- what is honest about it ---------------------------------------------------------------------


def test_the_nuisance_of_a_video_is_the_same_in_every_class(made: Path) -> None:
    # The scene, the camera, the light and the ball of video 0 do not depend on its class: where
    # no actor comes by, the frames of two classes are equal.
    take = scene.draw_take(numpy_rng(3), 64 / 48)
    person = frames_of(take, "person_hop", 1.0)
    hound = frames_of(take, "hound_pace", 1.0)
    same = (person == hound).all(axis=(0, 3))
    assert 0.3 < same.mean() < 1.0
    lengths = {}
    for path in made.rglob("*.mp4"):
        with open_video(path) as video:
            lengths.setdefault(path.stem[-4:], set()).add(len(video))
    assert all(len(values) == 1 for values in lengths.values())


def test_only_the_degree_of_freedom_of_the_class_moves() -> None:
    take = scene.draw_take(numpy_rng(0), 4 / 3)
    times = np.linspace(0, 3, 50)
    for place, motion in enumerate(scene.MOTIONS):
        poses = np.stack([scene.pose(take, motion, seconds) for seconds in times])
        moves = np.ptp(poses, axis=0) > 1e-6
        assert moves.tolist() == [place == other for other in range(4)]


def test_who_arrives_comes_nearer_all_the_time_and_does_nothing_else() -> None:
    for index in range(20):
        take = scene.draw_take(numpy_rng(3, index), 4 / 3)
        times = np.arange(take.frames) / scene.FPS
        poses = np.stack([scene.pose(take, "arrive", seconds) for seconds in times])
        assert (np.diff(poses[:, 3]) > 0).all() and np.ptp(poses[:, :3], axis=0).max() == 0
        assert poses[0, 3] < -0.29 < 0.29 < poses[-1, 3]  # amplitudes are at least 0.75 of 0.4


def test_arrivals_are_written_only_where_asked_for(tmp_path: Path) -> None:
    assert not set(scene.ONE_WAY) & set(make_synthetic.parse(["--output", "x"])[0].classes)
    given = ["--output", str(tmp_path), "--classes", "hound_arrive", "--videos-per-class", "3"]
    plan, output, _ = make_synthetic.parse([*given, "--size", "64x48"])
    jobs = make_synthetic.make(plan, output, workers=0)
    assert [job.label for job in jobs] == ["hound_arrive"] * 3
    with open_video(jobs[0].path) as video:
        first, last = video.frames([1, len(video) - 2]).astype(float)
    assert np.abs(last - first).mean() > 5  # what is near covers more


def test_one_frame_of_two_motions_has_one_distribution() -> None:
    # Each degree of freedom, at one moment, over many takes: the largest distance between the
    # cumulative distributions stays below the Kolmogorov-Smirnov bound for 1 in 10,000.
    takes = [scene.draw_take(numpy_rng(1, i), 4 / 3) for i in range(1500)]
    by_motion = {
        motion: np.stack([scene.pose(take, motion, 0.7) for take in takes])
        for motion in scene.MOTIONS
    }
    bound = 2.23 * np.sqrt(2 / len(takes))
    for motion, poses in by_motion.items():
        others = by_motion["pace" if motion != "pace" else "hop"]
        for place in range(4):
            values = np.sort(np.concatenate([poses[:, place], others[:, place]]))
            cumulative = [
                np.searchsorted(np.sort(sample[:, place]), values, side="right") / len(takes)
                for sample in (poses, others)
            ]
            assert np.abs(cumulative[0] - cumulative[1]).max() < bound


def test_the_degrees_of_freedom_are_uncorrelated_whatever_moves() -> None:
    takes = [scene.draw_take(numpy_rng(2, i), 4 / 3) for i in range(1500)]
    for motion in scene.MOTIONS:
        poses = np.stack([scene.pose(take, motion, 1.3) for take in takes])
        correlation = np.corrcoef(poses.T)[~np.eye(4, dtype=bool)]
        assert np.abs(correlation).max() < 0.1


@pytest.mark.parametrize("label", scene.CLASSES)
def test_the_actor_is_seen_and_moves(label: str) -> None:
    take = scene.draw_take(numpy_rng(5), 64 / 48)
    frames = frames_of(take, label, 1.5)
    assert frames.shape[1:] == (48, 64, 3)
    assert np.isfinite(frames).all()
    assert np.abs(frames[15] - frames[0]).max() > 20


def test_bodies_differ_in_shape_and_hold_together() -> None:
    drawn = scene.draw_scene(numpy_rng(0), 64, 48)
    for body in (scene.person, scene.hound):
        low, high = (body(drawn, swing) for swing in (-1.0, 1.0))
        assert len(low) == len(high) >= 6
        assert low != high
        reach = np.abs([part.end for part in low + high]).max()
        assert 0.3 < reach < 0.7
    assert len(scene.person(drawn, 0.0)) != len(scene.hound(drawn, 0.0))


# --- painting ------------------------------------------------------------------------------------


def canvas(height: int = 20, width: int = 30) -> tuple[np.ndarray, np.ndarray]:
    grid = (np.mgrid[:height, :width] / height).astype(np.float32)
    return np.zeros((height, width, 3), np.float32), grid


def paint_line(image: np.ndarray, grid: np.ndarray, start: object, end: object) -> None:
    ends = [np.array([point], np.float32) for point in (start, end)]
    scene.paint(image, grid, *ends, np.float32([0.1]), np.float32([[200, 100, 50]]))


def test_a_capsule_fills_its_axis_and_leaves_the_rest() -> None:
    image, grid = canvas()
    paint_line(image, grid, (0.3, 0.5), (1.0, 0.5))
    assert image[10, 6:20].tolist() == [[200, 100, 50]] * 14
    assert image[:7].max() == 0 and image[14:].max() == 0
    assert image[:, 25:].max() == 0


def test_an_edge_is_soft() -> None:
    image, grid = canvas()
    paint_line(image, grid, (0.7, 0.51), (0.7, 0.51))
    inside = image[..., 0] / 200
    assert ((inside > 0.01) & (inside < 0.99)).any()
    assert inside.sum() / 400 == pytest.approx(np.pi * 0.1**2, rel=0.1)


@pytest.mark.parametrize("place", [(-3.0, 0.5), (0.5, -3.0), (4.0, 0.5), (0.5, 9.0), (-0.05, 0.5)])
def test_what_lies_outside_is_cut_off(place: tuple[float, float]) -> None:
    image, grid = canvas()
    paint_line(image, grid, place, place)
    assert np.isfinite(image).all()
    assert (image.max() > 0) == (place == (-0.05, 0.5))


def test_a_crop_moves_by_fractions_of_a_pixel() -> None:
    ramp = np.repeat(np.arange(40, dtype=np.float32)[None, :, None], 30, axis=0).repeat(3, axis=2)
    middle = scene.crop(ramp, np.zeros(2, np.float32), 20, 10)
    moved = scene.crop(ramp, np.float32([0.25, 0]), 20, 10)
    assert middle.shape == (10, 20, 3)
    assert np.allclose(moved - middle, 0.25)


def test_a_crop_stops_at_the_margin() -> None:
    backdrop = np.random.default_rng(0).random((30, 40, 3), np.float32)
    for offset in ([99, 99], [-99, -99]):
        window = scene.crop(backdrop, np.float32(offset), 20, 10)
        assert window.shape == (10, 20, 3)


def test_the_backdrop_has_the_margin_that_the_camera_needs() -> None:
    drawn = scene.draw_scene(numpy_rng(0), 64, 48)
    spare = (drawn.backdrop_HW3.shape[1] - 64) / 2 / 48
    takes = [scene.draw_take(numpy_rng(i), 64 / 48) for i in range(200)]
    reach = max(np.abs(scene.camera(take, s)).max() for take in takes for s in (0.0, 2.0, 4.0))
    assert reach < spare


# --- sound ---------------------------------------------------------------------------------------


def test_the_motion_is_heard_in_its_tone_and_the_others_stay(tmp_path: Path) -> None:
    take = scene.draw_take(numpy_rng(3), 4 / 3)
    wave = scene.hum(take, "person_hop", 16_000)
    assert len(wave) == round(take.frames / scene.FPS * 16_000) and np.abs(wave).max() <= 1
    at = np.array([0.2, 0.5, 0.8])
    places = np.stack([scene.pose(take, "hop", t) for t in at]) / (
        take.amplitude * np.array(scene.RANGES)
    )
    for moment, place in zip(at, places, strict=True):
        piece = wave[int((moment - 0.05) * 16_000) : int((moment + 0.05) * 16_000)]
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 32_768))
        hertz = np.fft.rfftfreq(32_768, 1 / 16_000)
        for tone, position in enumerate(place):
            pitch = 220 * 2 ** (tone + 0.6 * position)
            near = (hertz > pitch * 2**-0.25) & (hertz < pitch * 2**0.25)
            assert abs(np.log2(hertz[near][spectrum[near].argmax()] / pitch)) < 0.15


def test_sound_is_written_when_asked_for_and_changes_no_picture(made: Path, tmp_path: Path) -> None:
    make_synthetic.make(plan_of(sound=True), tmp_path, workers=0)
    loud, mute = (folder / "person_hop" / "person_hop_0001.mp4" for folder in (tmp_path, made))
    assert has_sound(loud) and not has_sound(mute)
    with open_video(loud) as one, open_video(mute) as other:
        every = range(len(other))
        assert len(one) == len(other)
        assert np.array_equal(one.frames(every), other.frames(every))
        assert np.array_equal(one.times, other.times)
    with pytest.raises(UserError, match="other settings"):
        make_synthetic.make(plan_of(), tmp_path, workers=0)
