"""What the synthetic videos show: scenes, bodies, motions, and how they are painted.

See make_synthetic.py for what the data set is and why.

Units: lengths are fractions of the frame's height, x to the right and y down; times are seconds.
Shapes: H height, W width, K capsules.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

BODIES = ("person", "hound")
MOTIONS = ("pace", "hop", "rock", "loom")
CLASSES = tuple(f"{body}_{motion}" for body in BODIES for motion in MOTIONS)
ONE_WAY = tuple(f"{body}_arrive" for body in BODIES)  # not among the classes unless asked for
RANGES = (0.24, 0.2, 0.6, 0.4)  # of side, height, tilt (radians) and log size
LOWEST_TONE = 220.0  # hertz
FPS = 25

Array = npt.NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Capsule:
    """A thick line of one colour, the only thing bodies are made of.

    Attributes:
        start, end: the ends of its axis, (x, y) in body coordinates.
        radius: half its thickness.
        colour: index into the cast's three colours.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float
    colour: int


@dataclass(frozen=True)
class Scene:
    """What the videos of one group share: a background, and the look of the actor in it.

    Attributes:
        backdrop_HW3: levels in [0, 255], with a margin all round for the camera to move in.
        colours_33: three RGB colours of the actor, levels.
        limb: length of arms and legs, 1 is usual.
        girth: thickness of the body, 1 is usual.
    """

    backdrop_HW3: Array
    colours_33: Array
    limb: float
    girth: float


@dataclass(frozen=True)
class Take:
    """What differs from video to video of a group, whatever the class.

    Attributes:
        frames: length of the video.
        centre: mean place of the actor (x, y).
        size: the actor's mean height.
        freeze_4: phases that hold the degrees of freedom that do not move.
        amplitude, speed, wobble, phase: of the motion; speed in turns a second.
        limb_speed, limb_phase: of the idle swing of the limbs, which means nothing.
        camera_6: drift (x, y), shake (x, y) and phases of the shake (x, y) of the camera.
        light_3: size, speed and phase of the change of light.
        ball_5: start (x, y), velocity (x, y) and radius of a ball that drifts through.
        noise: standard deviation of the sensor noise, levels.
    """

    frames: int
    centre: Array
    size: float
    freeze_4: Array
    amplitude: float
    speed: float
    wobble: float
    phase: float
    limb_speed: float
    limb_phase: float
    camera_6: Array
    light_3: Array
    ball_5: Array
    noise: float


def draw_scene(rng: Rng, width: int, height: int) -> Scene:
    """A scene and its cast.

    Args:
        rng: where the draws come from.
        width: of the videos, pixels.
        height: of the videos, pixels.
    """
    margin = height // 4
    tall, wide = height + 2 * margin, width + 2 * margin
    low, high = np.sort(rng.uniform(50, 170, (2, 3)), axis=0).astype(np.float32)
    texture = sum(
        weight * smooth_noise(rng, tall, wide, cells)
        for cells, weight in ((3, 0.55), (8, 0.3), (24, 0.15))
    )
    backdrop = low + (high - low) * np.asarray(texture)[..., None]
    floor = int(tall * rng.uniform(0.55, 0.7))
    backdrop[floor:] *= rng.uniform(0.7, 0.9)
    for _ in range(3):
        colour = rng.uniform(40, 190, 3)
        x, y = int(rng.uniform(0, wide)), int(rng.uniform(0, tall))
        w, h = (rng.uniform(0.06, 0.3, 2) * height).astype(int)
        backdrop[y : y + h, x : x + w] = 0.5 * backdrop[y : y + h, x : x + w] + 0.5 * colour
    bright = rng.uniform(0.55, 1.0, (3, 3)) * 255
    return Scene(
        backdrop_HW3=_f32(backdrop),
        colours_33=_f32(bright),
        limb=rng.uniform(0.85, 1.15),
        girth=rng.uniform(0.8, 1.25),
    )


def smooth_noise(rng: Rng, height: int, width: int, cells: int) -> Array:
    """Random values on a coarse grid, smoothly enlarged: (height, width) in [0, 1].

    Example:
        >>> smooth_noise(np.random.default_rng(0), 6, 8, cells=3).shape
        (6, 8)
    """
    grid = Image.fromarray(rng.uniform(0, 1, (cells, cells)).astype(np.float32))
    enlarged = grid.resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(enlarged, dtype=np.float32), 0, 1)


def draw_take(rng: Rng, aspect: float) -> Take:
    """Everything about a video that its class does not say.

    Args:
        rng: where the draws come from.
        aspect: width over height of the videos.
    """
    turn = 2 * np.pi
    return Take(
        frames=int(rng.integers(2 * FPS, 4 * FPS + 1)),
        centre=_f32(rng.uniform(-0.08, 0.08, 2) + np.array([aspect / 2, 0.5])),
        size=rng.uniform(0.42, 0.58),
        freeze_4=_f32(rng.uniform(0, turn, 4)),
        amplitude=rng.uniform(0.75, 1.25),
        speed=rng.uniform(0.7, 1.3),
        wobble=rng.uniform(0, 0.3),
        phase=rng.uniform(0, turn),
        limb_speed=rng.uniform(0.4, 1.2),
        limb_phase=rng.uniform(0, turn),
        camera_6=_f32(rng.uniform(-1, 1, 6) * [0.03, 0.02, 0.008, 0.008, turn, turn]),
        light_3=_f32(rng.uniform([0, 0.1, 0], [0.15, 0.6, turn])),
        ball_5=_f32(rng.uniform([0, 0, -0.15, -0.1, 0.03], [aspect, 1, 0.15, 0.1, 0.06])),
        noise=rng.uniform(2, 6),
    )


def pose(take: Take, motion: str, seconds: float) -> Array:
    """The four degrees of freedom at a time: side, height, tilt (radians), log size.

    All four are ``range * sin(phase)``. The phase of the one that the motion moves runs, the
    other three stay where the take froze them, so at any one time the distribution of the four
    over takes is the same for every motion. ``arrive`` goes once from far to near, so that time has
    a direction, which no other motion gives it.

    Args:
        take: the video's own draws.
        motion: one of MOTIONS, or arrive.
        seconds: since the start of the video.
    """
    turn = 2 * np.pi * take.speed * seconds
    phases = take.freeze_4.copy()
    if motion == "arrive":
        phases[MOTIONS.index("loom")] = np.pi * (seconds * FPS / take.frames - 0.5)
    else:
        phases[MOTIONS.index(motion)] = take.phase + turn + take.wobble * np.sin(0.37 * turn)
    return take.amplitude * _f32(RANGES) * np.sin(phases)


def hum(take: Take, label: str, rate: int) -> Array:
    """The sound of a video: a tone for each degree of freedom, whose pitch follows it.

    A tone is at most 0.6 octaves above or below its own pitch, which lie an octave apart.

    Args:
        take: of the video.
        label: one of CLASSES or ONE_WAY.
        rate: samples a second.

    Returns:
        Samples in [-1, 1], as long as the video.
    """
    motion = label.split("_")[1]
    at_F = np.arange(take.frames + 1) / FPS
    place_F4 = np.stack([pose(take, motion, seconds) for seconds in at_F])
    place_F4 = place_F4 / (take.amplitude * _f32(RANGES))
    sample_S = np.arange(round(take.frames / FPS * rate)) / rate
    wave_S = np.zeros(len(sample_S))
    for tone, place_F in enumerate(place_F4.T):
        octave_S = tone + 0.6 * np.interp(sample_S, at_F, place_F)
        wave_S += np.sin(2 * np.pi * np.cumsum(LOWEST_TONE * 2**octave_S) / rate)
    return _f32(0.15 * wave_S)


def person(scene: Scene, swing: float) -> list[Capsule]:
    """An upright body, one unit high around its middle.

    Args:
        scene: gives the limbs' length and girth.
        swing: of arms and legs, in [-1, 1].
    """
    limb, girth = scene.limb, scene.girth
    hand, foot = 0.12 + 0.1 * swing, 0.1 + 0.08 * swing
    return [
        Capsule((-0.03, 0.08), (-foot, 0.08 + 0.38 * limb), 0.055 * girth, 2),
        Capsule((0.03, 0.08), (foot, 0.08 + 0.38 * limb), 0.055 * girth, 2),
        Capsule((-0.08, -0.2), (-0.1 - hand, -0.2 + 0.26 * limb), 0.045 * girth, 0),
        Capsule((0.08, -0.2), (0.1 + hand, -0.2 + 0.26 * limb), 0.045 * girth, 0),
        Capsule((0.0, -0.18), (0.0, 0.06), 0.1 * girth, 1),
        Capsule((0.0, -0.39), (0.0, -0.37), 0.1, 0),
    ]


def hound(scene: Scene, swing: float) -> list[Capsule]:
    """A four-legged body, a little over one unit long around its middle.

    Args:
        scene: gives the limbs' length and girth.
        swing: of legs and tail, in [-1, 1].
    """
    limb, girth = scene.limb, scene.girth
    step, low = 0.06 * swing, 0.02 + 0.3 * limb
    return [
        Capsule((-0.27, 0.0), (-0.27 + step, low), 0.05 * girth, 2),
        Capsule((-0.19, 0.0), (-0.19 - step, low), 0.05 * girth, 2),
        Capsule((0.19, 0.0), (0.19 + step, low), 0.05 * girth, 2),
        Capsule((0.27, 0.0), (0.27 - step, low), 0.05 * girth, 2),
        Capsule((-0.3, -0.05), (-0.48, -0.2 + 0.08 * swing), 0.035 * girth, 0),
        Capsule((-0.25, -0.02), (0.25, -0.02), 0.115 * girth, 1),
        Capsule((0.25, -0.06), (0.38, -0.22), 0.07 * girth, 1),
        Capsule((0.38, -0.24), (0.5, -0.22), 0.085, 0),
    ]


def render(scene: Scene, take: Take, label: str, width: int, height: int) -> Iterator[Array]:
    """The frames of a video one after another, before noise: (H, W, 3) levels.

    Args:
        scene: of the video's group.
        take: of the video.
        label: one of CLASSES or ONE_WAY.
        width: pixels.
        height: pixels.
    """
    body, motion = label.split("_")
    grid_yx = _f32(np.mgrid[:height, :width] / height)
    for frame in range(take.frames):
        seconds = frame / FPS
        eye = camera(take, seconds)
        image = crop(scene.backdrop_HW3, eye * height, width, height)
        start, velocity, radius = take.ball_5[:2], take.ball_5[2:4], take.ball_5[4]
        ball = (start + velocity * seconds - eye)[None]
        paint(image, grid_yx, ball, ball, _f32([radius]), scene.colours_33[:1])
        side, high, tilt, size = pose(take, motion, seconds)
        swing = float(np.sin(take.limb_phase + 2 * np.pi * take.limb_speed * seconds))
        parts = (person if body == "person" else hound)(scene, swing)
        place = _f32(take.centre - eye + _f32([side, high]))
        paint_body(image, grid_yx, parts, scene, place, tilt, take.size * np.exp(size))
        strength, speed, phase = take.light_3
        yield image * np.float32(1 + strength * np.sin(phase + 2 * np.pi * speed * seconds))


def camera(take: Take, seconds: float) -> Array:
    """Where the camera looks, as an offset (x, y) from its middle: a slow drift and a shake."""
    drift, shake, phases = take.camera_6.reshape(3, 2)
    waves = np.sin(_f32([23 * seconds, 29 * seconds]) + phases)
    return _f32(drift * (2 * seconds - 3) + shake * waves)


def crop(backdrop_HW3: Array, offset: Array, width: int, height: int) -> Array:
    """A window of the backdrop, moved from its middle by fractions of a pixel.

    Args:
        backdrop_HW3: larger than the window by the margin.
        offset: (x, y) in pixels; cut off at the margin.
        width: of the window.
        height: of the window.
    """
    spare = _f32([backdrop_HW3.shape[1] - width, backdrop_HW3.shape[0] - height])
    corner = np.clip(spare / 2 + offset, 0, spare - 1.001)
    x, y = corner.astype(int)
    fx, fy = corner - (x, y)
    window = backdrop_HW3[y : y + height + 1, x : x + width + 1]
    rows = (1 - fy) * window[:-1] + fy * window[1:]
    return _f32((1 - fx) * rows[:, :-1] + fx * rows[:, 1:])


def paint_body(
    image: Array,
    grid_yx: Array,
    parts: list[Capsule],
    scene: Scene,
    place: Array,
    tilt: float,
    size: float,
) -> None:
    """Paint a body in place, turned by ``tilt`` radians and enlarged by ``size``."""
    ends = _f32([[part.start, part.end] for part in parts])
    turn = _f32([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    ends = _f32((ends @ turn) * size + place)
    radii = _f32([part.radius * size for part in parts])
    colours = scene.colours_33[[part.colour for part in parts]]
    paint(image, grid_yx, ends[:, 0], ends[:, 1], radii, colours)


def paint(
    image: Array, grid_yx: Array, start_K2: Array, end_K2: Array, radius_K: Array, colour_K3: Array
) -> None:
    """Paint capsules over an image, the last on top, with edges one pixel soft."""
    height = image.shape[0]
    for start, end, radius, colour in zip(start_K2, end_K2, radius_K, colour_K3, strict=True):
        low = np.floor((np.minimum(start, end) - radius) * height - 1).astype(int)
        high = np.ceil((np.maximum(start, end) + radius) * height + 2).astype(int)
        (x0, y0), (x1, y1) = np.maximum(low, 0), np.maximum(high, 0)
        y, x = grid_yx[:, y0:y1, x0:x1]
        axis = end - start
        along = (x - start[0]) * axis[0] + (y - start[1]) * axis[1]
        along = np.clip(along / max(float(axis @ axis), 1e-9), 0, 1)
        gap = np.hypot(x - start[0] - along * axis[0], y - start[1] - along * axis[1]) - radius
        alpha = np.clip(0.5 - gap * height, 0, 1)[..., None]
        patch = image[y0:y1, x0:x1]
        patch += alpha * (colour - patch)


def _f32(values: npt.ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float32)
