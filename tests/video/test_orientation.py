"""Display matrices: every turn and mirror of the square, against the pixel-by-pixel definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.video.orientation import Turn

ONE = 1 << 16
# a b c d of the eight ways to lay a picture down
SQUARE = [
    (x, 0, 0, y) if straight else (0, x, y, 0)
    for straight in (True, False)
    for x in (ONE, -ONE)
    for y in (ONE, -ONE)
]


def _matrix(a, b, c, d):
    return [a, b, 0, c, d, 0, 0, 0, 1 << 30]


def _by_definition(image_HWC, a, b, c, d):
    """Send each pixel where the matrix says, then shift the picture back to the origin."""
    H, W = image_HWC.shape[:2]
    y, x = np.mgrid[:H, :W]
    right = np.sign(a) * x + np.sign(c) * y
    down = np.sign(b) * x + np.sign(d) * y
    right, down = right - right.min(), down - down.min()
    shown = np.empty((down.max() + 1, right.max() + 1, 3), image_HWC.dtype)
    shown[down, right] = image_HWC
    return shown


@pytest.mark.parametrize("square", SQUARE)
@given(height=st.integers(1, 5), width=st.integers(1, 5))
def test_a_turn_sends_pixels_where_the_matrix_says(square, height, width):
    image_HWC = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    turn = Turn.from_matrix(_matrix(*square))
    shown = turn(image_HWC)
    np.testing.assert_array_equal(shown, _by_definition(image_HWC, *square))
    assert shown.shape[:2] == turn.size(height, width)


def test_the_eight_turns_differ():
    assert len({Turn.from_matrix(_matrix(*square)) for square in SQUARE}) == 8


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("error", [-4, 0, 4])
def test_a_tilted_camera_is_turned_by_the_nearest_quarter(degrees, error):
    """Matrix of a counter-clockwise rotation, as FFmpeg's av_display_rotation_set writes it."""
    angle = np.deg2rad(-(degrees + error))
    cosine, sine = int(ONE * np.cos(angle)), int(ONE * np.sin(angle))
    turn = Turn.from_matrix(_matrix(cosine, sine, -sine, cosine))
    image_HWC = np.random.default_rng(0).integers(256, size=(3, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(turn(image_HWC), np.rot90(image_HWC, degrees // 90))


def test_a_matrix_of_zeros_turns_nothing():
    assert Turn.from_matrix([0] * 9) == Turn()


def test_a_turn_is_a_view():
    image_HWC = np.zeros((2, 3, 3), np.uint8)
    assert Turn(True, True, True)(image_HWC).base is image_HWC
