"""Videos of people who move: scenes, cameras, light and passers-by, and how they are painted.

Shapes: T frames, H rows, W columns, L limbs. Lengths of the world are body heights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from people_bodies import Limbs, draw_build, draw_things, dress, joined, joints
from people_motions import IMPROVISED, MOTIONS, SPEED, Rng, angles, improvise, slow_waves
from synthetic_scene import FPS, smooth_noise

DURATION = (2.0, 3.2)  # seconds

_SHIFT = 4  # cv2 takes coordinates in 1 / 2**_SHIFT pixels
Array = npt.NDArray[np.floating[Any]]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Camera:
    """Where the camera looks in each frame.

    Attributes:
        eye_T2: point of the world in the middle of the frame, x and z.
        scale_T: pixels for a body height.
        roll_T: turn about its axis, radians.
        elevation: how far it looks down, radians.
        perspective: how much smaller a thing is at a body height behind the actor.
    """

    eye_T2: Array
    scale_T: Array
    roll_T: Array
    elevation: float
    perspective: float

    def project(self, point_LT3: Array, width: int, height: int) -> tuple[Array, Array]:
        """Pixels (L, T, 2), x and y, and the size factor (L, T) of points of the world."""
        near_LT = 1 / np.maximum(1 + self.perspective * point_LT3[..., 1], 0.3)
        up_LT = point_LT3[..., 2] * np.cos(self.elevation)
        up_LT = up_LT + point_LT3[..., 1] * np.sin(self.elevation)
        size_LT = (near_LT * self.scale_T).astype(np.float32)
        x_LT = (point_LT3[..., 0] - self.eye_T2[:, 0]) * size_LT
        y_LT = (self.eye_T2[:, 1] - up_LT) * size_LT
        cos_T, sin_T = np.cos(self.roll_T), np.sin(self.roll_T)
        turned = (cos_T * x_LT - sin_T * y_LT, sin_T * x_LT + cos_T * y_LT)
        return np.stack(turned, axis=-1) + np.array([width / 2, height / 2]), size_LT


def render_people(rng: Rng, motion: str, width: int, height: int) -> Iterator[Bytes]:
    """The frames of a video of one motion, (H, W, 3) RGB.

    Args:
        rng: where all draws come from.
        motion: one of :data:`people_motions.PEOPLE`.
        width: pixels.
        height: pixels.
    """
    seconds_T = np.arange(int(rng.uniform(*DURATION) * FPS), dtype=np.float32) / FPS
    actor = _perform(rng, motion, seconds_T)
    camera = draw_camera(rng, actor, seconds_T, width / height, height)
    parts = [actor]
    for _ in range(int(rng.integers(1, 4) * (rng.random() < 0.25))):
        parts.append(_passer_by(rng, seconds_T))
    backdrop = draw_backdrop(rng, camera, width, height)
    warp_T23 = _backdrop_warps(rng, camera, backdrop.shape, width, height)
    blobs, occluders = _blobs(rng, seconds_T, width, height), _occluders(rng, width, height)
    limbs = joined(parts)
    ends, radii, order_TL = _on_screen(limbs, camera, width, height)
    finish = _Finish(rng, seconds_T, width, height)
    for t in range(len(seconds_T)):
        warped: Any = cv2.warpAffine(
            backdrop, warp_T23[t], (width, height), borderMode=cv2.BORDER_REFLECT_101
        )
        image: Bytes = warped
        for path_T2, radius, colour in blobs:
            _disc(image, path_T2[t], radius, colour)
        paint_limbs(image, limbs, ends[:, t], radii[:, t], order_TL[t])
        shift = (camera.eye_T2[t] - camera.eye_T2[0]) * camera.scale_T[0] * 1.5
        for corners_42, colour in occluders:
            moved = corners_42 + np.array([-shift[0], shift[1]])
            cv2.fillConvexPoly(image, _fixed(moved), colour, cv2.LINE_AA, _SHIFT)
        yield finish(image, t)


def _perform(rng: Rng, motion: str, seconds_T: Array) -> Limbs:
    """An actor who does a motion, and the things that it is done with."""
    swings = improvise(rng) if motion == IMPROVISED else MOTIONS[motion]
    speed = rng.uniform(*SPEED.get(motion, (0.6, 1.6)))
    build = draw_build(rng)
    yaw_T = rng.uniform(-np.pi, np.pi) + rng.uniform(0, 0.3) * slow_waves(rng, seconds_T, 1, 0.5)
    place = joints(build, angles(rng, swings, speed, seconds_T), yaw_T)
    things = draw_things(rng, motion, place, seconds_T)
    body = dress(rng, build, place)
    return joined([body] if things is None else [body, things])


def _passer_by(rng: Rng, seconds_T: Array) -> Limbs:
    """Somebody else, farther away, who mostly stands or walks."""
    motion = str(rng.choice(["walk", "sway", "drum", "curl", IMPROVISED]))
    body = _perform(rng, motion, seconds_T)
    away = np.array([rng.uniform(-1.4, 1.4), rng.uniform(0.5, 2.5), 0], np.float32)
    start_LT3, end_LT3 = body.start_LT3 + away, body.end_LT3 + away
    return Limbs(**{**vars(body), "start_LT3": start_LT3, "end_LT3": end_LT3})


def draw_camera(rng: Rng, actor: Limbs, seconds_T: Array, aspect: float, height: int) -> Camera:
    """A camera that shows the actor, whole or in part: fixed, held by hand, panning or zooming."""
    low_2 = actor.start_LT3.min(axis=(0, 1))[[0, 2]]
    high_2 = actor.start_LT3.max(axis=(0, 1))[[0, 2]]
    middle_T2 = actor.start_LT3.mean(axis=0)[:, [0, 2]]
    follows = rng.random() < 0.6
    eye_T2 = np.broadcast_to(middle_T2.mean(axis=0), middle_T2.shape).copy()
    if follows:
        eye_T2[:, 0] += (middle_T2[:, 0] - eye_T2[:, 0]) * rng.uniform(0.7, 1)
    size = max(high_2[1] - low_2[1], 0.7 * (high_2[0] - low_2[0]) / aspect, 0.5)
    size *= np.exp(rng.uniform(np.log(0.75), np.log(2.1)))
    eye_T2 += rng.uniform(-0.12, 0.12, 2) * size
    if rng.random() < 0.5:  # held by hand
        shake = np.exp(rng.uniform(np.log(0.002), np.log(0.02))) * size
        eye_T2 += shake * np.stack([slow_waves(rng, seconds_T, 4, 3.0) for _ in "xz"], axis=1)
        eye_T2 += 0.1 * shake * rng.standard_normal(eye_T2.shape)
    if rng.random() < 0.3:  # pans
        speed = rng.normal(0, [0.12, 0.04]) * size
        eye_T2 += (seconds_T - seconds_T.mean())[:, None] * speed
    zoom_T = 1 + (rng.random() < 0.3) * rng.normal(0, 0.06) * (seconds_T - seconds_T.mean())
    roll = rng.normal(0, 0.03) + rng.uniform(0, 0.012) * slow_waves(rng, seconds_T, 2)
    elevation = rng.uniform(-0.05, 0.45)
    scale_T = (height / size * zoom_T).astype(np.float32)
    return Camera(eye_T2.astype(np.float32), scale_T, roll, elevation, rng.uniform(0, 0.3))


def draw_backdrop(rng: Rng, camera: Camera, width: int, height: int) -> Bytes:
    """A wall or a landscape above a floor, with things in it, larger than the frame."""
    tall, wide = 2 * height, 2 * width
    horizon = height + camera.eye_T2[0, 1] * camera.scale_T[0] - rng.uniform(0, 0.35) * height
    horizon = int(np.clip(horizon, 0, tall))
    image = np.empty((tall, wide, 3), np.float32)
    for rows in (slice(0, horizon), slice(horizon, tall)):
        low, high = np.sort(rng.uniform(10, 235, (2, 3)), axis=0)
        if rng.random() < 0.5:  # grey
            low, high = (
                low.mean() + 0.2 * (low - low.mean()),
                high.mean() + 0.2 * (high - high.mean()),
            )
        weights = rng.dirichlet([1, 1, 0.6, 0.5]) * rng.uniform(0.2, 1.0)
        noise = [smooth_noise(rng, tall, wide, cells) for cells in (3, 9, 27, 70)]
        texture = np.tensordot(weights, np.stack(noise), axes=1)[rows, :, None]
        image[rows] = low + (high - low) * (texture + rng.uniform(0, 0.4))
    painted = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 16))):
        _draw_thing(rng, painted, horizon)
    sigma = rng.uniform(0.3, 1.6)
    return np.asarray(cv2.GaussianBlur(painted, (0, 0), sigma), np.uint8)


def _draw_thing(rng: Rng, image: Bytes, horizon: int) -> None:
    """A window, a post, a row of bars, a ball or a sloping line."""
    tall, wide = image.shape[:2]
    x, y = int(rng.uniform(0, wide)), int(rng.uniform(0, min(tall, horizon + tall // 6) + 1))
    w, h = (np.exp(rng.uniform(np.log(0.02), np.log(0.4), 2)) * tall).astype(int).tolist()
    colour, edge = rng.uniform(10, 245, 3).tolist(), rng.uniform(10, 245, 3).tolist()
    kind = rng.integers(5)
    if kind == 0:
        cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1)
        cv2.rectangle(image, (x, y), (x + w, y + h), edge, int(rng.integers(1, 4)))
    elif kind == 1:
        cv2.rectangle(image, (x, y), (x + max(w // 4, 2), tall), colour, -1)
    elif kind == 2:
        for k in range(int(rng.integers(3, 9))):
            left = x + k * max(w // 4, 4)
            cv2.line(image, (left, y), (left, y + h), colour, int(rng.integers(1, 4)))
    elif kind == 3:
        cv2.circle(image, (x, y), max(w // 2, 2), colour, -1, cv2.LINE_AA)
    else:
        slope = int(rng.normal(0, 0.2) * tall)
        cv2.line(image, (0, y), (wide, y + slope), colour, int(rng.integers(1, 6)), cv2.LINE_AA)


def _backdrop_warps(
    rng: Rng, camera: Camera, shape: tuple[int, ...], width: int, height: int
) -> npt.NDArray[np.float64]:
    """How the backdrop lies in each frame: (T, 2, 3), affine."""
    parallax = rng.uniform(0.6, 1.0)
    zoom_T = camera.scale_T / camera.scale_T[0]
    move_T2 = (camera.eye_T2[0] - camera.eye_T2) * camera.scale_T[0] * [parallax, -parallax]
    cos_T, sin_T = zoom_T * np.cos(camera.roll_T), zoom_T * np.sin(camera.roll_T)
    turn_T22 = np.stack([np.stack([cos_T, -sin_T], 1), np.stack([sin_T, cos_T], 1)], 1)
    middle = np.array([shape[1] / 2, shape[0] / 2])
    offset_T2 = np.einsum("tij,tj->ti", turn_T22, move_T2 - middle)
    offset_T2 += np.array([width / 2, height / 2])
    return np.concatenate([turn_T22, offset_T2[:, :, None]], axis=2).astype(np.float64)


def _blobs(
    rng: Rng, seconds_T: Array, width: int, height: int
) -> list[tuple[Array, float, list[float]]]:
    """Discs that drift and sway behind the actor, such as leaves or people far away."""
    if rng.random() > 0.35:
        return []
    found = []
    for _ in range(int(rng.integers(1, 12))):
        start, drift = rng.uniform(0, 1, 2), rng.normal(0, 0.1, 2)
        sway = np.stack([slow_waves(rng, seconds_T, 2, 1.5) for _ in "xy"], axis=1)
        path_T2 = (start + drift * seconds_T[:, None] + rng.uniform(0, 0.03) * sway) * [
            width,
            height,
        ]
        found.append((path_T2, rng.uniform(0.01, 0.07) * height, rng.uniform(10, 245, 3).tolist()))
    return found


def _occluders(rng: Rng, width: int, height: int) -> list[tuple[Array, list[float]]]:
    """Posts and edges in front of the actor."""
    found = []
    for _ in range(int(rng.integers(1, 4) * (rng.random() < 0.25))):
        x, w = rng.uniform(0, width), rng.uniform(0.01, 0.12) * width
        top, bottom = (-height, 2 * height) if rng.random() < 0.6 else (height * 0.75, 2 * height)
        x, w = (x, w) if top < 0 else (x - width / 3, w + width / 2)
        lean = rng.normal(0, 0.04) * width
        corners = [[x, top], [x + w, top], [x + w + lean, bottom], [x + lean, bottom]]
        found.append((np.asarray(corners, np.float32), rng.uniform(10, 200, 3).tolist()))
    return found


def _on_screen(
    limbs: Limbs, camera: Camera, width: int, height: int
) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Ends (L, T, 2 ends, 2) and radii (L, T, 2) in pixels, and the painting order, far to near."""
    start, near = camera.project(limbs.start_LT3, width, height)
    end, far = camera.project(limbs.end_LT3, width, height)
    radii = np.stack([near * limbs.radius_L2[:, None, 0], far * limbs.radius_L2[:, None, 1]], -1)
    depth_LT = limbs.start_LT3[..., 1] + limbs.end_LT3[..., 1]
    return np.stack([start, end], axis=2), radii, np.argsort(-depth_LT.T, axis=1, kind="stable")


def paint_limbs(
    image: Bytes, limbs: Limbs, ends_L22: Array, radii_L2: Array, order_L: npt.NDArray[np.int64]
) -> None:
    """Paint tapered limbs with round ends, shaded along one side, in the order given."""
    for limb in order_L:
        (start, end), (thick, thin) = ends_L22[limb], radii_L2[limb]
        colour = limbs.colour_L3[limb]
        plain = colour.tolist()
        axis = end - start
        length = float(np.hypot(*axis))
        _disc(image, start, thick, plain)
        if length < 0.5:
            continue
        across = np.array([-axis[1], axis[0]]) / length
        _disc(image, end, thin, plain)
        corners = [start - across * thick, start + across * thick]
        corners += [end + across * thin, end - across * thin]
        cv2.fillConvexPoly(image, _fixed(corners), plain, cv2.LINE_AA, _SHIFT)
        for stripe in range(limbs.stripes_L[limb]):
            share = (stripe + 0.5) / limbs.stripes_L[limb]
            half = across * (thick + (thin - thick) * share) * 0.9
            ends: Any = _fixed([start + axis * share - half, start + axis * share + half])
            wide = max(int(0.35 * length / limbs.stripes_L[limb]), 1)
            tone = limbs.stripe_L3[limb].tolist()
            cv2.line(image, ends[0], ends[1], tone, wide, cv2.LINE_AA, _SHIFT)
        shade = across * thick * (0.6 if across[0] > 0 else -0.6)
        ends, wide = _fixed([start + shade, end + shade]), max(int(0.5 * thin), 1)
        tone = (colour * 0.7).tolist()
        cv2.line(image, ends[0], ends[1], tone, wide, cv2.LINE_AA, _SHIFT)


class _Finish:
    """Light, contrast, blur and noise of one video."""

    def __init__(self, rng: Rng, seconds_T: Array, width: int, height: int) -> None:
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        slope = rng.normal(0, 0.15, 2)
        contrast = rng.uniform(0.55, 1.1)
        self.gain_HW1 = (contrast * (1 + slope[0] * x + slope[1] * y))[..., None]
        self.gain_HW1 = self.gain_HW1.astype(np.float32)
        saturation, grey = rng.uniform(0.15, 1.0), np.array([[0.299, 0.587, 0.114]])
        self.mix_33 = saturation * np.eye(3) + (1 - saturation) * np.ones((3, 1)) * grey
        flicker = rng.uniform(0, 0.04) * (rng.random() < 0.5)
        self.light_T = 1 + flicker * slow_waves(rng, seconds_T, 3, 2.5)
        self.level = np.float32(rng.uniform(0, 1) * 255 * (1 - contrast))
        self.trail = float(rng.uniform(0, 0.45) * (rng.random() < 0.5))
        self.blur = float(rng.uniform(0, 1.0) * (rng.random() < 0.5))
        self.repeat = int(rng.choice([0, 0, 0, 0, 0, 2, 3]))
        grain = rng.standard_normal(3 * (width * height + 4096), np.float32)
        self.grain, self.starts = (
            grain * np.float32(rng.uniform(0.5, 5)),
            rng.integers(0, 4096, 999),
        )
        self.before: Array | None = None
        self.shape = (height, width, 3)

    def __call__(self, image: Bytes, t: int) -> Bytes:
        if self.repeat and t % self.repeat == self.repeat - 1 and self.before is not None:
            return self._noisy(self.before, t)
        lit = (
            cv2.transform(image, self.mix_33).astype(np.float32)
            * self.gain_HW1
            * np.float32(self.light_T[t])
            + self.level
        )
        if self.blur > 0.2:
            lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), self.blur), np.float32)
        if self.before is not None and self.trail > 0:
            lit += np.float32(self.trail) * (self.before - lit)
        self.before = lit
        return self._noisy(lit, t)

    def _noisy(self, lit: Array, t: int) -> Bytes:
        start = 3 * int(self.starts[t % len(self.starts)])
        noise = self.grain[start : start + lit.size].reshape(self.shape)
        return np.clip(lit + noise, 0, 255).astype(np.uint8)


def _fixed(points: Any) -> Any:
    """Pixels in the fixed-point form that cv2 takes."""
    return np.round(np.asarray(points) * 2**_SHIFT).astype(np.int32)


def _disc(image: Bytes, centre: Array, radius: float, colour: list[float]) -> None:
    x, y = _fixed(centre).tolist()
    size = max(int(radius * 2**_SHIFT), 1)
    cv2.circle(image, (x, y), size, colour, -1, cv2.LINE_AA, _SHIFT)
