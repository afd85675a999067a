"""Synthetic people: bodies hold together and stand on the floor; videos are reproducible."""

import csv
import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cvrl.utils.seed import numpy_rng
from cvrl.video.reader import open_video

SCRIPTS = Path(__file__).parents[2] / "datasets"


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


motions = load("people_motions")
bodies = load("people_bodies")
scenes = load("people_scenes")
make_synthetic = load("make_synthetic")

SECONDS = np.arange(60, dtype=np.float32) / 25
USUAL = bodies.Build(arms=1.0, legs=1.0, girth=1.0, head=1.0, width=1.0)


def straight(frames: int = 2) -> dict[str, np.ndarray]:
    """The angles of a body that stands still."""
    body = {name: np.zeros(frames, np.float32) for name in motions.WHOLE}
    return body | {name: np.zeros((frames, 2), np.float32) for name in motions.SIDED}


def placed(frames: int = 2, yaw: float = 0.0, **angles: float) -> dict[str, np.ndarray]:
    body = straight(frames)
    for name, value in angles.items():
        body[name] = body[name] + np.float32(value)
    return bodies.joints(USUAL, body, np.full(frames, yaw, np.float32))


# --- bodies --------------------------------------------------------------------------------------


def test_who_stands_straight_has_the_feet_down_and_the_head_up() -> None:
    place = placed()
    height = {name: xyz[0, 2] for name, xyz in place.items()}
    assert height["head"] > height["neck"] > height["pelvis"] > height["left_knee"]
    assert height["left_knee"] > height["left_foot"] >= 0
    assert 0.7 < height["head"] < 1.0
    assert height["left_hand"] < height["pelvis"] + 0.05


@pytest.mark.parametrize(
    ("angle", "joint", "axis", "sign"),
    [
        ("arm", "left_hand", 0, 1),
        ("arm_out", "left_hand", 1, 1),
        ("arm_out", "right_hand", 1, -1),
        ("leg", "left_foot", 0, 1),
        ("leg_out", "right_foot", 1, -1),
        ("knee", "left_foot", 0, -1),
        ("elbow", "right_hand", 0, 1),
        ("torso", "head", 0, 1),
        ("pitch", "head", 0, 1),
    ],
)
def test_an_angle_moves_a_joint_its_way(angle: str, joint: str, axis: int, sign: int) -> None:
    # yaw 0 faces x, so x is forwards and y is to the left
    before, after = placed(), placed(**{angle: 0.5})
    root = "pelvis"
    moved = (after[joint] - after[root]) - (before[joint] - before[root])
    assert sign * moved[0, axis] > 0.03


def test_a_raised_arm_points_up_and_a_bent_knee_lowers_the_pelvis() -> None:
    assert placed(arm_out=3.0)["left_hand"][0, 2] > placed()["head"][0, 2]
    assert placed(leg=1.2, knee=1.8)["pelvis"][0, 2] < placed()["pelvis"][0, 2] - 0.1


def test_yaw_turns_the_body_about_the_vertical_axis() -> None:
    side, front = placed(arm=1.5), placed(arm=1.5, yaw=-np.pi / 2)
    reach = side["left_hand"][0] - side["left_shoulder"][0]
    turned = front["left_hand"][0] - front["left_shoulder"][0]
    assert reach[0] > 0.2 and turned[1] < -0.2  # towards the camera
    assert reach[2] == pytest.approx(turned[2], abs=1e-6)


@pytest.mark.parametrize("name", motions.MOTIONS)
def test_bones_keep_their_length_and_the_lowest_joint_keeps_to_the_floor(name: str) -> None:
    rng = numpy_rng(0)
    angles = motions.angles(rng, motions.MOTIONS[name], 1.0, SECONDS)
    place = bodies.joints(bodies.draw_build(rng), angles, np.zeros(60, np.float32))
    for start, end, *_ in bodies._PARTS:
        if start[0] != "_" or end == "_shoulder":
            continue
        bone = np.linalg.norm(place["left" + start] - place["left" + end], axis=1)
        assert np.ptp(bone) < 1e-5
    lowest = np.min([xyz[:, 2] for xyz in place.values()], axis=0)
    assert lowest == pytest.approx(angles["lift"] + 0.03, abs=1e-5)


# --- motions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", motions.MOTIONS)
def test_every_motion_names_known_angles_and_moves_something(name: str) -> None:
    swings = motions.MOTIONS[name]
    assert set(swings) <= {*motions.WHOLE, *motions.SIDED}
    assert any(swing.low != swing.high for swing in swings.values())
    assert set(motions.SPEED) <= set(motions.MOTIONS)


def test_opposite_sides_are_half_a_cycle_apart_and_a_one_sided_motion_rests_on_the_other() -> None:
    for name, sides in (("march", "leg"), ("kick", "leg")):
        angles = motions.angles(numpy_rng(1), motions.MOTIONS[name], 1.0, SECONDS)[sides]
        left, right = np.ptp(angles, axis=0)
        if name == "march":
            assert left > 0.8 and right > 0.8
            assert np.corrcoef(angles.T)[0, 1] < -0.3
        else:
            assert max(left, right) > 0.8 and min(left, right) < 0.5


def test_improvised_motions_differ_and_stay_within_the_angles_of_a_body() -> None:
    drawn = [motions.improvise(numpy_rng(2, i)) for i in range(20)]
    assert len({repr(motion) for motion in drawn}) == 20
    for motion in drawn:
        assert set(motion) <= {*motions.WHOLE, *motions.SIDED}


# --- videos --------------------------------------------------------------------------------------


@pytest.mark.parametrize("motion", ["juggle", "punch", "dribble", "bench_press", "improvised"])
def test_a_video_is_of_the_size_asked_for_depends_on_the_seed_and_moves(motion: str) -> None:
    first, again, other = (
        np.stack(list(scenes.render_people(numpy_rng(seed), motion, 64, 48))) for seed in (0, 0, 1)
    )
    assert first.shape[1:] == (48, 64, 3) and first.dtype == np.uint8
    assert 50 <= len(first) <= 80
    assert (first == again).all()
    assert first.shape != other.shape or (first != other).any()
    assert np.abs(np.diff(first.astype(float), axis=0)).mean() > 0.3
    assert first.std() > 5


def test_videos_of_a_motion_differ_in_brightness_colour_and_length() -> None:
    videos = [list(scenes.render_people(numpy_rng(3, i), "squat", 64, 48)) for i in range(6)]
    assert len({len(video) for video in videos}) > 2
    colours = np.array([video[0].mean(axis=(0, 1)) for video in videos])
    assert np.ptp(colours, axis=0).max() > 20


def test_the_camera_puts_what_it_looks_at_in_the_middle_and_far_things_smaller() -> None:
    still = np.zeros(1, np.float32)
    eye, scale = np.array([[0.5, 0.4]], np.float32), np.array([40], np.float32)
    camera = scenes.Camera(eye, scale, still, elevation=0.0, perspective=0.2)
    points = np.array([[[0.5, 0.0, 0.4]], [[0.5, 2.0, 0.4]], [[0.6, 0.0, 0.5]]], np.float32)
    pixels, size = camera.project(points, 64, 48)
    assert pixels[0, 0].tolist() == [32, 24]
    assert size[1, 0] < size[0, 0] == 40
    assert pixels[2, 0] == pytest.approx([36, 20])


# --- the command ---------------------------------------------------------------------------------


def test_people_are_written_by_the_command_and_all_are_for_training(tmp_path: Path) -> None:
    given = ["--output", str(tmp_path), "--kind", "people", "--videos-per-class", "1"]
    plan, output, _ = make_synthetic.parse([*given, "--size", "64x48"])
    assert plan.classes == motions.PEOPLE
    given = [*given, "--classes", "juggle", "crawl", "--size", "64x48"]
    plan, output, _ = make_synthetic.parse(given)
    jobs = make_synthetic.make(plan, output, workers=0)
    with open(tmp_path / "manifest.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["crawl", "juggle"]
    assert {row["split"] for row in rows} == {"train"}
    with open_video(jobs[0].path) as video:
        assert 50 <= len(video) <= 80
    before = jobs[0].path.read_bytes()
    make_synthetic.write_video(jobs[0])
    assert jobs[0].path.read_bytes() == before


def test_the_actions_of_the_demo_stay_the_default() -> None:
    plan, _, _ = make_synthetic.parse(["--output", "x"])
    assert not set(plan.classes) & set(motions.PEOPLE)
