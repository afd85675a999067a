"""Bodies of people: limbs of random build and clothes, put in place by the angles of a motion.

Coordinates of the world: x to the right, y away from the camera, z up; lengths in body heights.

Shapes: T frames, L limbs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from people_motions import Rng

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Limbs:
    """What is painted of a body: tapered, coloured limbs, and things such as balls and bars.

    Attributes:
        start_LT3, end_LT3: the ends of each limb's axis in the world.
        radius_L2: half its thickness at the start and at the end.
        colour_L3: RGB levels.
        stripe_L3: RGB levels of the stripes across it.
        stripes_L: how many; 0 is plain.
    """

    start_LT3: Array
    end_LT3: Array
    radius_L2: Array
    colour_L3: Array
    stripe_L3: Array
    stripes_L: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Build:
    """The proportions of a body, drawn for each actor; 1 is usual."""

    arms: float
    legs: float
    girth: float
    head: float
    width: float


def draw_build(rng: Rng) -> Build:
    """From thin adults to children with large heads."""
    child = rng.uniform(0, 1) if rng.random() < 0.35 else 0.0
    return Build(
        arms=rng.uniform(0.9, 1.12) * (1 - 0.25 * child),
        legs=rng.uniform(0.9, 1.12) * (1 - 0.35 * child),
        girth=rng.uniform(0.75, 1.35) * (1 + 0.4 * child),
        head=rng.uniform(0.9, 1.15) * (1 + 0.8 * child),
        width=rng.uniform(0.85, 1.25),
    )


def rotation(axis: int, angle_T: npt.ArrayLike) -> Array:
    """Rotations (T, 3, 3) about x (0), y (1) or z (2)."""
    angle = np.atleast_1d(np.asarray(angle_T, np.float32))
    turn_T33 = np.zeros((len(angle), 3, 3), np.float32)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn_T33[:, axis, axis] = 1
    turn_T33[:, a, a] = turn_T33[:, b, b] = np.cos(angle)
    turn_T33[:, a, b] = -np.sin(angle)
    turn_T33[:, b, a] = np.sin(angle)
    return turn_T33


def joints(build: Build, body: dict[str, Array], yaw_T: Array) -> dict[str, Array]:
    """Where the joints are, each (T, 3), standing, kneeling or lying on the floor z = 0.

    Args:
        build: proportions.
        body: angles, as :func:`people_motions.angles` gives them.
        yaw_T: which way the body faces: 0 to the right, -pi/2 to the camera.
    """
    heading = rotation(2, yaw_T)
    root = heading @ rotation(1, body["pitch"]) @ rotation(0, body["roll"])
    chest = root @ rotation(1, body["torso"])
    place: dict[str, Array] = {"pelvis": np.zeros((len(yaw_T), 3), np.float32)}
    place["neck"] = _along(chest, (0.0, 0.0, 0.3))
    place["head"] = place["neck"] + _along(chest, (0.015, 0.0, 0.05 + 0.05 * build.head))
    for side, sign, name in ((0, 1, "left"), (1, -1, "right")):
        shoulder = place["neck"] + _along(chest, (0.0, sign * 0.11 * build.width, -0.03))
        upper = chest @ rotation(1, -body["arm"][:, side])
        upper = upper @ rotation(0, sign * body["arm_out"][:, side])
        upper = upper @ rotation(2, sign * body["twist"][:, side])
        elbow = shoulder + _along(upper, (0.0, 0.0, -0.17 * build.arms))
        fore = upper @ rotation(1, -body["elbow"][:, side])
        hip = _along(root, (0.0, sign * 0.06 * build.width, 0.0))
        thigh = root @ rotation(1, -body["leg"][:, side])
        thigh = thigh @ rotation(0, sign * body["leg_out"][:, side])
        knee = hip + _along(thigh, (0.0, 0.0, -0.245 * build.legs))
        shank = thigh @ rotation(1, body["knee"][:, side])
        foot = knee + _along(shank, (0.0, 0.0, -0.23 * build.legs))
        place |= {f"{name}_shoulder": shoulder, f"{name}_elbow": elbow}
        place[f"{name}_hand"] = elbow + _along(fore, (0.0, 0.0, -0.17 * build.arms))
        place |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_foot": foot}
        place[f"{name}_toe"] = foot + _along(shank, (0.09, 0.0, -0.01))
    lowest_T = np.min([xyz[:, 2] for xyz in place.values()], axis=0)
    move_T3 = _along(heading, (1.0, 0.0, 0.0)) * body["travel"][:, None]
    move_T3[:, 2] += body["lift"] - lowest_T + 0.03
    return {name: xyz + move_T3 for name, xyz in place.items()}


_PARTS = (  # from, to, radius at either end, piece of clothing; _ stands for left and right
    ("_hip", "_knee", 0.058, 0.042, "trousers"),
    ("_knee", "_foot", 0.04, 0.028, "shanks"),
    ("_foot", "_toe", 0.03, 0.022, "shoes"),
    ("pelvis", "neck", 0.085, 0.095, "shirt"),
    ("_hip", "_shoulder", 0.055, 0.06, "shirt"),
    ("neck", "head", 0.03, 0.05, "skin"),
    ("_shoulder", "_elbow", 0.042, 0.034, "sleeves"),
    ("_elbow", "_hand", 0.032, 0.028, "forearms"),
)


def dress(rng: Rng, build: Build, place: dict[str, Array]) -> Limbs:
    """Limbs between the joints, in clothes of random colours, some of them striped."""
    skin = np.array([225, 180, 150]) * rng.uniform(0.3, 1.08) + rng.normal(0, 6, 3)
    cloth = {name: rng.uniform(15, 245, 3) for name in ("shirt", "trousers", "shoes", "hair")}
    cloth["skin"] = skin
    cloth["shanks"] = skin if rng.random() < 0.4 else cloth["trousers"]
    cloth["sleeves"] = skin if rng.random() < 0.3 else cloth["shirt"]
    cloth["forearms"] = skin if rng.random() < 0.6 else cloth["sleeves"]
    stripes = {"shirt": int(rng.integers(0, 7) * (rng.random() < 0.45))}
    stripes["trousers"] = int(rng.integers(1, 4) * (rng.random() < 0.2))
    second = rng.uniform(15, 245, 3)
    rows: list[Any] = []
    for start, end, thick, thin, piece in _PARTS:
        for side in ("left", "right") if "_" in start else ("",):
            ends = [place[(side + key) if key[0] == "_" else key] for key in (start, end)]
            size = build.girth * np.array([thick, thin])
            rows.append((*ends, size, cloth[piece], second, stripes.get(piece, 0)))
    head, size = place["head"], np.full(2, 0.062 * build.head)
    rows.append((head, head, size, skin, second, 0))
    crown = head + np.array([0, 0.01, 0.02], np.float32)
    rows.append((crown, crown, size * 0.95, cloth["hair"], second, 0))
    return _limbs(rows)


def draw_things(rng: Rng, motion: str, place: dict[str, Array], seconds_T: Array) -> Limbs | None:
    """What a motion is done with: balls, a bar, a bag, a stick; for most motions nothing."""
    left, right = place["left_hand"], place["right_hand"]
    colour, second, none = rng.uniform(15, 245, 3), rng.uniform(15, 245, 3), np.zeros(3)
    bars = ("barbell_squat", "press", "curl", "bench_press", "row")
    bags, sticks = ("punch", "hook", "kick"), ("swing_club", "throw", "drum", "wave")
    rows: list[Any] = []
    if motion == "juggle" or (motion in ("clap", "drum") and rng.random() < 0.3):
        count, pace = int(rng.integers(2, 6)), rng.uniform(0.5, 1.1)
        for number in range(count):
            turn_T = pace * seconds_T + number / count
            share_T1 = (turn_T % 1)[:, None]
            swap_T1 = (turn_T.astype(int) % 2)[:, None] == 0
            start, end = np.where(swap_T1, left, right), np.where(swap_T1, right, left)
            path = start + (end - start) * share_T1
            path[:, 2:] += rng.uniform(1.2, 2.6) * share_T1 * (1 - share_T1)
            hue = colour if rng.random() < 0.5 else rng.uniform(15, 245, 3)
            rows.append((path, path, np.full(2, rng.uniform(0.025, 0.05)), hue, none, 0))
    elif motion == "dribble":
        ball = left.copy()
        share_T = np.abs(np.sin(np.pi * rng.uniform(1.2, 2.2) * seconds_T + rng.uniform(0, 3)))
        ball[:, 2] = 0.06 + (left[:, 2] - 0.1) * share_T
        rows.append((ball, ball, np.full(2, 0.06), colour, second, 0))
    elif motion in bars and rng.random() < 0.7:
        axis = (left - right) * rng.uniform(0.3, 1.0)
        rows.append((left + axis, right - axis, np.full(2, 0.012), colour, second, 0))
        plate = np.full(2, rng.uniform(0.03, 0.14))
        rows += [(left + axis, left + axis, plate, second, none, 0)]
        rows += [(right - axis, right - axis, plate, second, none, 0)]
    elif motion in bags and rng.random() < 0.6:
        reach = (left + right - 2 * place["pelvis"]).mean(axis=0) * [1, 1, 0]
        foot = place["pelvis"].mean(axis=0) + 0.5 * reach / max(float(np.hypot(*reach[:2])), 0.1)
        swing = 0.08 * np.sin(2 * np.pi * rng.uniform(0.5, 1.6) * seconds_T)[:, None]
        low = foot * [1, 1, 0] + [0, 0, 0.45] + swing * rng.normal(0, 1, 3)
        top = np.broadcast_to(foot * [1, 1, 0] + [0, 0, 1.1], low.shape)
        rows.append((top, low, np.full(2, rng.uniform(0.08, 0.13)), colour, second, 2))
    elif motion in sticks and rng.random() < 0.6:
        tip = left + (left - place["left_elbow"]) * rng.uniform(1, 3)
        rows.append((left, tip, np.full(2, rng.uniform(0.008, 0.02)), colour, second, 0))
    return _limbs(rows) if rows else None


def joined(parts: list[Limbs]) -> Limbs:
    """Several bodies and things as one."""
    names = Limbs.__dataclass_fields__
    return Limbs(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def _limbs(rows: list[Any]) -> Limbs:
    """Limbs from rows of start, end, radii, colour, colour of stripes and their number."""
    columns = [np.stack(column) for column in list(zip(*rows, strict=True))[:5]]
    start, end, radius, colour, stripe = (np.asarray(column, np.float32) for column in columns)
    return Limbs(start, end, radius, colour, stripe, np.array([row[5] for row in rows]))


def _along(turn_T33: Array, direction: tuple[float, float, float]) -> Array:
    """A direction of the body in the world, (T, 3)."""
    return turn_T33 @ np.asarray(direction, np.float32)
