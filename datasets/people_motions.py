"""Motions of people: how the joints of a body turn over the cycle of an action.

A motion is a table of swings. A swing takes one angle of the body from ``low`` to ``high`` and back
once a cycle. Every video draws its own speed, size, sharpness and pauses of the motion, and small
movements of everything else, so that no two videos of a motion are alike.

Angles, in radians, 0 when the body stands straight with hanging arms:

    pitch   whole body forwards: pi/2 lies on the belly, -pi/2 on the back
    roll    whole body sideways          torso     the upper body forwards, at the hips
    arm     an upper arm forwards        arm_out   an upper arm sideways
    elbow   a forearm bends              twist     an upper arm about its own axis
    leg     a thigh forwards             leg_out   a thigh sideways
    knee    a shank bends

``lift`` is the height of the lowest point above the floor and ``travel`` is the way forwards, both
in body heights. The last seven angles exist on both sides, as columns left and right.

Shapes: T frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Rng = np.random.Generator

WHOLE = ("pitch", "roll", "torso", "lift", "travel")
SIDED = ("arm", "arm_out", "twist", "elbow", "leg", "leg_out", "knee")
_BOTH, _OPPOSITE, _LEFT = "both", "opposite", "left"


@dataclass(frozen=True)
class Swing:
    """From ``low`` to ``high`` and back.

    Attributes:
        low, high: the ends, in the unit of the angle.
        turns: times a cycle.
        lag: share of a cycle by which it comes later.
        sides: ``both`` alike, ``opposite`` (right half a cycle after left), or ``left`` alone
            while the right stays at ``low``.
    """

    low: float
    high: float
    turns: int = 1
    lag: float = 0.0
    sides: str = _BOTH


def _rest(value: float, sides: str = _BOTH) -> Swing:
    """An angle that does not move."""
    return Swing(value, value, sides=sides)


def _turns(low: float, high: float, sides: str = _BOTH, turns: int = 1, lag: float = 0) -> Swing:
    return Swing(low, high, turns, lag, sides)


_PRONE = {"arm": _rest(1.5), "leg": _rest(0.0)}
_FOURS = {"pitch": _rest(1.45), "knee": _rest(1.5), "leg": _rest(1.5), "arm": _rest(1.5)}
_SUPINE = {"pitch": _rest(-1.5), "leg": _rest(0.8), "knee": _rest(1.6)}

MOTIONS: Mapping[str, Mapping[str, Swing]] = {
    "jumping_jack": {
        "arm_out": _turns(0.15, 2.8),
        "leg_out": _turns(0.03, 0.5),
        "lift": _turns(0, 0.06, turns=2),
    },
    "hop": {
        "lift": _turns(-0.1, 0.22),
        "knee": _turns(1.0, 0.1, lag=0.1),
        "leg": _turns(0.5, 0.05, lag=0.1),
        "arm": _turns(-0.3, 0.8),
    },
    "skip_rope": {
        "lift": _turns(0, 0.1),
        "elbow": _rest(1.2),
        "arm": _turns(0.0, 0.25, lag=0.25),
        "arm_out": _turns(0.3, 0.6),
        "knee": _turns(0.4, 0.1),
    },
    "squat": {
        "leg": _turns(0.05, 1.9),
        "knee": _turns(0.05, 2.1),
        "torso": _turns(0.0, 0.7),
        "arm": _turns(0.1, 1.5),
    },
    "barbell_squat": {
        "leg": _turns(0.05, 1.7),
        "knee": _turns(0.05, 1.9),
        "torso": _turns(0.1, 0.6),
        "arm_out": _rest(0.7),
        "elbow": _rest(2.4),
    },
    "press": {"arm_out": _turns(0.5, 2.8), "elbow": _turns(2.3, 0.2), "knee": _turns(0.2, 0.0)},
    "lunge": {
        "leg": _turns(-0.3, 1.2, _OPPOSITE),
        "knee": _turns(0.2, 1.5, turns=2),
        "travel": _rest(0.25),
        "elbow": _rest(1.0),
    },
    "split_jump": {
        "leg": _turns(-0.5, 0.9, _OPPOSITE),
        "knee": _rest(0.7),
        "lift": _turns(0, 0.15, turns=2),
        "arm": _turns(0.8, -0.6, _OPPOSITE),
    },
    "walk": {
        "leg": _turns(-0.4, 0.5, _OPPOSITE),
        "knee": _turns(0.1, 0.8, _OPPOSITE, lag=0.2),
        "arm": _turns(0.5, -0.5, _OPPOSITE),
        "elbow": _rest(0.3),
        "travel": _rest(0.6),
    },
    "run": {
        "leg": _turns(-0.6, 1.1, _OPPOSITE),
        "knee": _turns(0.2, 1.8, _OPPOSITE, lag=0.25),
        "arm": _turns(0.8, -0.8, _OPPOSITE),
        "elbow": _rest(1.5),
        "torso": _rest(0.2),
        "lift": _turns(0, 0.05, turns=2),
        "travel": _rest(1.2),
    },
    "march": {
        "leg": _turns(0.0, 1.5, _OPPOSITE),
        "knee": _turns(0.0, 1.6, _OPPOSITE),
        "arm": _turns(1.0, -0.4, _OPPOSITE),
        "elbow": _rest(1.0),
    },
    "punch": {
        "arm": _turns(0.2, 1.5, _OPPOSITE),
        "elbow": _turns(2.3, 0.1, _OPPOSITE),
        "torso": _turns(0.1, 0.25, turns=2),
        "leg": Swing(-0.1, -0.1),
        "knee": _rest(0.3),
        "roll": _turns(-0.08, 0.08),
    },
    "hook": {
        "arm": _rest(1.3),
        "arm_out": _turns(0.9, -0.3, _OPPOSITE),
        "twist": _rest(1.3),
        "elbow": _rest(1.6),
        "roll": _turns(-0.15, 0.15),
        "knee": _rest(0.3),
    },
    "kick": {
        "leg": _turns(-0.2, 1.5, _LEFT),
        "knee": _turns(1.4, 0.1, _LEFT, lag=-0.1),
        "arm": _turns(0.2, 0.7),
        "elbow": _rest(1.4),
        "pitch": _turns(0.0, -0.25),
    },
    "wave": {"arm_out": _turns(2.2, 2.8, _LEFT), "twist": _rest(-1.5), "elbow": _turns(0.1, 1.3)},
    "wave_both": {"arm_out": _turns(1.2, 2.9), "elbow": _rest(0.2)},
    "flap": {"arm_out": _turns(0.2, 1.6), "elbow": _turns(0.0, 0.4)},
    "windmill": {
        "arm_out": _rest(1.5),
        "torso": _rest(1.2),
        "roll": _turns(-0.8, 0.8),
        "leg_out": _rest(0.4),
    },
    "arm_circle": {"arm": _turns(-1.2, 2.9), "arm_out": _turns(0.1, 0.8, lag=0.25)},
    "clap": {"arm": _rest(1.3), "arm_out": _turns(0.9, -0.25), "elbow": _rest(0.5)},
    "drum": {"arm": _turns(0.2, 0.7, _OPPOSITE), "elbow": _turns(1.2, 1.9, _OPPOSITE)},
    "juggle": {
        "arm": _turns(0.1, 0.35, _OPPOSITE),
        "elbow": _turns(1.2, 1.9, _OPPOSITE),
        "arm_out": _turns(0.1, 0.3, _OPPOSITE, lag=0.25),
    },
    "dribble": {
        "arm": _turns(0.5, 0.8, _LEFT),
        "elbow": _turns(1.3, 0.5, _LEFT),
        "knee": _rest(0.4),
        "torso": _rest(0.3),
    },
    "throw": {
        "arm": _turns(-0.6, 2.6, _LEFT),
        "elbow": _turns(2.0, 0.1, _LEFT, lag=0.1),
        "torso": _turns(-0.1, 0.4),
        "leg": _turns(-0.3, 0.4, _OPPOSITE),
    },
    "swing_club": {
        "arm": _rest(0.9),
        "arm_out": _turns(1.2, -0.9, _OPPOSITE),
        "torso": _rest(0.5),
        "roll": _turns(-0.25, 0.25),
    },
    "bend": {"torso": _turns(0.0, 1.7), "arm": _turns(0.0, 1.3), "leg": _rest(0.0)},
    "side_bend": {"roll": _turns(-0.5, 0.5), "arm_out": _turns(2.7, 0.3, _OPPOSITE)},
    "curl": {"elbow": _turns(0.1, 2.3), "arm": _turns(0.0, 0.2)},
    "curl_one": {"elbow": _turns(0.1, 2.3, _OPPOSITE)},
    "sway": {"roll": _turns(-0.3, 0.3), "arm_out": _turns(0.3, 0.9, _OPPOSITE), "knee": _rest(0.2)},
    "twist": {
        "arm_out": _rest(1.4),
        "leg_out": _turns(-0.3, 0.3, _OPPOSITE),
        "knee": _turns(0.2, 0.7, _OPPOSITE),
        "roll": _turns(-0.2, 0.2),
    },
    "push_up": _PRONE
    | {"pitch": _turns(1.15, 1.5), "elbow": _turns(0.1, 1.9), "arm": _turns(1.35, 0.6)},
    "knee_push_up": _PRONE
    | {"pitch": _turns(1.0, 1.45), "elbow": _turns(0.1, 1.9), "knee": _rest(1.5)},
    "crawl": _FOURS
    | {
        "arm": _turns(1.0, 1.9, _OPPOSITE),
        "leg": _turns(1.9, 1.1, _OPPOSITE),
        "travel": _rest(0.35),
        "torso": _turns(-0.1, 0.1, turns=2),
        "roll": _turns(-0.1, 0.1),
    },
    "baby_crawl": _FOURS
    | {
        "arm": _turns(1.1, 2.0, _OPPOSITE),
        "leg": _turns(1.7, 1.2, _OPPOSITE),
        "elbow": _turns(0.1, 0.7, _OPPOSITE, lag=0.2),
        "travel": _rest(0.25),
        "pitch": _turns(1.25, 1.45, turns=2),
    },
    "rock_on_fours": _FOURS | {"arm": _turns(1.1, 1.9), "leg": _turns(1.1, 1.9)},
    "mountain_climb": _PRONE
    | {"pitch": _rest(1.2), "leg": _turns(0.0, 1.7, _OPPOSITE), "knee": _turns(0, 1.8, _OPPOSITE)},
    "sit_up": _SUPINE | {"torso": _turns(0.0, 1.5), "arm": _rest(2.0), "elbow": _rest(2.2)},
    "leg_raise": {"pitch": _rest(-1.5), "leg": _turns(0.1, 1.5), "arm": _rest(0.1)},
    "bicycle": _SUPINE
    | {"leg": _turns(0.3, 1.7, _OPPOSITE), "knee": _turns(0.3, 2.0, _OPPOSITE, lag=0.2)},
    "bench_press": _SUPINE | {"arm": _rest(1.4), "elbow": _turns(2.0, 0.1)},
    "row": {
        "pitch": _rest(-0.1),
        "leg": _turns(0.9, 1.9),
        "knee": _turns(0.3, 2.2),
        "torso": _turns(-0.5, 0.4),
        "arm": _turns(0.2, 1.4),
        "elbow": _turns(1.8, 0.1),
    },
    "roll_over": {"pitch": _rest(1.4), "roll": _turns(-1.2, 1.2), "arm": _rest(2.6)},
}

IMPROVISED = "improvised"
PEOPLE = (*MOTIONS, IMPROVISED)
SPEED = {  # cycles a second, where they are not (0.6, 1.6)
    **dict.fromkeys(("punch", "run", "drum", "juggle", "skip_rope", "hook", "clap"), (1.2, 2.6)),
    **dict.fromkeys(("mountain_climb", "jumping_jack", "wave", "dribble"), (0.9, 2.2)),
    **dict.fromkeys(("bend", "windmill", "row", "roll_over", "sit_up"), (0.4, 1.0)),
}
JOINTS_OF_IMPROVISED = (3, 7)  # angles that move in a motion without a name


def improvise(rng: Rng) -> dict[str, Swing]:
    """A motion without a name: a posture, in which a few angles swing as they are drawn."""
    postures: tuple[Mapping[str, Swing], ...] = ({}, {}, {}, _FOURS, _SUPINE, _PRONE | _FOURS)
    motion = dict(postures[rng.integers(len(postures))])
    names = rng.choice([*SIDED, "torso", "roll", "lift"], rng.integers(*JOINTS_OF_IMPROVISED))
    for name in names:
        rest = motion[name].low if name in motion else 0.0
        reach = {"lift": 0.2, "roll": 0.4, "leg_out": 0.5, "torso": 0.8}.get(name, 1.4)
        low, high = rest + reach * rng.uniform((-0.35, 0.2), (0.1, 1.2))
        sides = str(rng.choice([_BOTH, _OPPOSITE, _LEFT]))
        motion[name] = Swing(low, high, int(rng.integers(1, 3)), rng.uniform(0, 0.5), sides)
    return motion


def angles(
    rng: Rng, motion: Mapping[str, Swing], speed: float, seconds_T: Array
) -> dict[str, Array]:
    """Every angle of the body over time, as one performance of a motion.

    Args:
        rng: where the draws of this performance come from.
        motion: the swings by name of the angle.
        speed: cycles a second.
        seconds_T: times of the frames.

    Returns:
        (T,) an angle of WHOLE, (T, 2) one of SIDED, left and right.
    """
    phase_T = _phase(rng, speed, seconds_T)
    sharpness, size = rng.uniform(0.6, 1.8), rng.uniform(0.75, 1.2)
    mirrored = bool(rng.random() < 0.5)
    body = {}
    for name in (*WHOLE, *SIDED):
        swing = motion.get(name, _rest(0.0))
        idle_T = rng.normal(0, 0.06) + 0.05 * slow_waves(rng, seconds_T, 2)
        if name in WHOLE:
            idle_T = idle_T * (0.0 if name in ("lift", "travel") else 0.5)
            body[name] = _wave(swing, phase_T, sharpness, size) + idle_T
            continue
        left_T = _wave(swing, phase_T, sharpness, size) + idle_T
        right = {_BOTH: 0.0, _OPPOSITE: 0.5, _LEFT: None}[swing.sides]
        moved_T = swing.low if right is None else _wave(swing, phase_T + right, sharpness, size)
        right_T = moved_T + rng.normal(0, 0.06) + 0.05 * slow_waves(rng, seconds_T, 2)
        sides = [right_T, left_T] if mirrored else [left_T, right_T]
        body[name] = np.stack(sides, axis=1).astype(np.float32)
    way_T = speed * (seconds_T - seconds_T.mean()) * rng.choice([0.0, 0.5, 1.0])
    body["travel"] = body["travel"] * way_T
    return body


def slow_waves(rng: Rng, seconds_T: Array, waves: int, fastest: float = 1.5) -> Array:
    """A smooth random curve of about unit size: a sum of sines of random speed and phase."""
    speed_W1, phase_W1 = (
        rng.uniform(0.1, fastest, (waves, 1)),
        rng.uniform(0, 2 * np.pi, (waves, 1)),
    )
    curve_T = np.sin(2 * np.pi * speed_W1 * seconds_T + phase_W1).sum(axis=0) / np.sqrt(waves)
    return np.asarray(curve_T, np.float32)


def _phase(rng: Rng, speed: float, seconds_T: Array) -> Array:
    """Cycles since a random start; the speed wavers, and some performances pause in each cycle."""
    phase_T = rng.uniform() + speed * seconds_T + 0.08 * slow_waves(rng, seconds_T, 2)
    pause = rng.uniform(0, 0.14) * (rng.random() < 0.4)
    return np.asarray(phase_T + pause * np.sin(2 * np.pi * phase_T), np.float32)


def _wave(swing: Swing, phase_T: Array, sharpness: float, size: float) -> Array:
    """One angle over time, (T,)."""
    turn_T = 2 * np.pi * (phase_T - swing.lag) * swing.turns
    share_T = ((1 - np.cos(turn_T)) / 2) ** sharpness
    return np.asarray(swing.low + (swing.high - swing.low) * size * share_T, np.float32)
