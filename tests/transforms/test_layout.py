"""Clips in another order of dimensions or another scale are refused with the remedy."""

import numpy as np
import pytest
import torch

from cvrl.transforms.recipes import evaluation
from cvrl.utils.errors import UserError

PREPROCESS = evaluation(16)


@pytest.mark.parametrize(
    ("shape", "order", "remedy"),
    [
        ((8, 24, 32, 3), r"\(T, H, W, C\)", r"movedim\(-1, -4\)"),
        ((3, 24, 32, 3), r"\(T, H, W, C\)", r"movedim\(-1, -4\)"),
        ((2, 8, 24, 32, 3), r"\(T, H, W, C\)", r"movedim\(-1, -4\)"),
        ((8, 3, 24, 32), r"\(T, C, H, W\)", r"transpose\(-4, -3\)"),
    ],
)
def test_another_order_is_named(shape, order, remedy):
    with pytest.raises(UserError, match=f"seems to be {order} and .*use clip.{remedy}"):
        PREPROCESS(torch.zeros(shape, dtype=torch.uint8))


def test_the_remedy_helps():
    frames = torch.randint(0, 256, (8, 24, 32, 3), dtype=torch.uint8)
    right = PREPROCESS(frames.permute(3, 0, 1, 2))
    assert right.shape == (3, 8, 16, 16)
    torch.testing.assert_close(right, PREPROCESS(frames.permute(0, 3, 1, 2).permute(1, 0, 2, 3)))


def test_another_scale_and_arrays_are_refused():
    clip = torch.full((3, 8, 24, 32), 200, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"values up to 200 .*give uint8, or divide by 255"):
        PREPROCESS(clip.float())
    torch.testing.assert_close(PREPROCESS(clip.float() / 255), PREPROCESS(clip))
    with pytest.raises(UserError, match="is a ndarray and no tensor"):
        PREPROCESS(np.zeros((3, 8, 24, 32), np.uint8))


@pytest.mark.parametrize("shape", [(3, 8, 24, 32), (3, 3, 24, 32), (2, 3, 1, 24, 32), (1, 8, 9, 9)])
def test_clips_pass(shape):
    assert PREPROCESS(torch.zeros(shape, dtype=torch.uint8)).shape == (*shape[:-2], 16, 16)
