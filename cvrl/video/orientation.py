"""Turning frames upright, as a phone's display matrix says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Turn:
    """What makes a decoded frame upright: first transposed, then flipped.

    Attributes:
        transposed: rows become columns; height and width change places.
        flip_rows: the result is turned upside down.
        flip_columns: the result is mirrored.

    Example:
        >>> quarter = Turn(transposed=True, flip_columns=True)
        >>> quarter(np.arange(6).reshape(2, 3, 1))[..., 0].tolist()
        [[3, 0], [4, 1], [5, 2]]
    """

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def from_matrix(cls, matrix: Sequence[int]) -> "Turn":
        """The turn nearest to a display matrix.

        Args:
            matrix: nine numbers ``a b u c d v x y w``, of which a, b, c, d count: the pixel at
                (x, y) is shown at (ax + cy, bx + dy), y going down. FFmpeg's
                ``libavutil/display.h``.

        Example:
            >>> Turn.from_matrix([-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30])
            Turn(transposed=False, flip_rows=True, flip_columns=True)
        """
        a, b, _, c, d = matrix[:5]
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transposed=True, flip_rows=b < 0, flip_columns=c < 0)
        return cls(flip_rows=d < 0, flip_columns=a < 0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the turn.

        Example:
            >>> Turn(transposed=True).size(180, 320)
            (320, 180)
        """
        return (width, height) if self.transposed else (height, width)

    def __call__(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a frame; the result is a view of it."""
        image = image_HWC.swapaxes(0, 1) if self.transposed else image_HWC
        image = image[::-1] if self.flip_rows else image
        return image[:, ::-1] if self.flip_columns else image
