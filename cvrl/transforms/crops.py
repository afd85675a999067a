"""The spatial crops of a test: one evaluation transform, cut at one place or at three.

Shapes: R crops, C channels, T frames, H W pixels, S side of a crop.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cvrl.transforms.geometry import Box, CenterCrop, cut_box
from cvrl.transforms.op import Shape
from cvrl.transforms.recipe import Recipe
from cvrl.utils.errors import UserError


@dataclass(frozen=True)
class Crops:
    """An evaluation transform taken apart at its centre crop, so that its parts are shared.

    ``shrink`` serves a frame once, whichever clips and crops it is in; ``cut`` makes the crops of a
    clip. One crop gives what the transform gives, bit for bit. Made by :func:`crops_of`.

    Attributes:
        before: what comes before the crop; keeps uint8.
        centre: the crop.
        after: what comes after it; ends in float32.
        number: 1 is the centre; 3 are the start, the middle and the end of the longer side.
    """

    before: Recipe
    centre: CenterCrop
    after: Recipe
    number: int

    def shrink(self, frames_CTHW: Tensor) -> Tensor:
        """Frames as the crops need them: of another size, and uint8 where they were."""
        return self.before(frames_CTHW)

    def cut(self, clip_CTHW: Tensor) -> Tensor:
        """The crops of a shrunk clip, ready for the encoder.

        Args:
            clip_CTHW: frames that :meth:`shrink` made.

        Returns:
            float32 (R, C, T, S, S). R is 1 where the frames are a square of side S.
        """
        channels, frames, height, width = clip_CTHW.shape
        boxes = self.boxes((channels, frames, height, width))
        return self.after(torch.stack([cut_box(clip_CTHW, box) for box in boxes]))

    def boxes(self, shape: Shape) -> list[Box]:
        """Where the crops of clips of a shape lie.

        Args:
            shape: (C, T, H, W) of a shrunk clip.

        Returns:
            ``number`` boxes from left to right or from top to bottom; one where the frames leave no
            choice, since all would be the same.

        Raises:
            UserError: frames smaller than the crop.
        """
        middle = self.centre.draw(None, shape)
        assert middle is not None  # a crop is never left out: it has p = 1
        spare_h, spare_w = shape[2] - middle.height, shape[3] - middle.width
        if self.number == 1 or max(spare_h, spare_w) == 0:
            return [middle]
        if spare_w >= spare_h:
            return [middle._replace(left=left) for left in (0, middle.left, spare_w)]
        return [middle._replace(top=top) for top in (0, middle.top, spare_h)]


def crops_of(transform: object, number: int) -> Crops:
    """Take an evaluation transform apart.

    Args:
        transform: a recipe with one centre crop, as :func:`cvrl.transforms.recipes.evaluation`.
        number: of crops, 1 or 3.

    Raises:
        UserError: another number, or no such recipe.

    Example:
        >>> from cvrl.transforms import recipes
        >>> crops = crops_of(recipes.evaluation(64), number=3)
        >>> [box.left for box in crops.boxes((3, 8, 64, 96))]
        [0, 16, 32]
        >>> crops.cut(torch.zeros(3, 8, 64, 96, dtype=torch.uint8)).shape
        torch.Size([3, 3, 8, 64, 64])
    """
    if number not in (1, 3):
        raise UserError(f"crops = {number}", "no such views", "give 1 (centre) or 3 (longer side)")
    views = transform.views if isinstance(transform, Recipe) else ()
    ops = views[0] if len(views) == 1 else ()
    places = [place for place, op in enumerate(ops) if isinstance(op, CenterCrop)]
    if len(places) != 1:
        reason = "has no centre crop to put elsewhere"
        raise UserError("the encoder's transform", reason, "use transforms.recipes.evaluation")
    cut = places[0]
    centre = ops[cut]
    assert isinstance(centre, CenterCrop)
    return Crops(Recipe([ops[:cut]], as_float=False), centre, Recipe([ops[cut + 1 :]]), number)
