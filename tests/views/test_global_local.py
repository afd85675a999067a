"""Local clips lie side by side in the stretch of the global one, slice by slice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.data.clips import ClipSpec
from cvrl.utils.errors import UserError
from cvrl.views.global_local import GlobalLocal


@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 400),
    slice_frames=st.integers(1, 4),
    pieces=st.integers(2, 5),
    stride=st.integers(1, 4),
    short_video=st.sampled_from(["loop", "repeat"]),
)
def test_each_piece_covers_its_slice(seed, length, slice_frames, pieces, stride, short_video):
    spec = ClipSpec(slice_frames * pieces, stride, short_video)
    views = GlobalLocal(spec, pieces=pieces)
    plan = views.plan(length, 25.0, np.random.default_rng(seed))
    assert plan.ticks_VT.shape == (2 + 2 * pieces, spec.frames)
    assert plan.ticks_VT.min() >= 0 and plan.ticks_VT.max() < length
    assert (plan.ticks_VT[:, 0] == plan.start_V).all()
    first, second = plan.ticks_VT[2:].reshape(2, pieces, -1)
    assert (plan.ticks_VT[0] == plan.ticks_VT[1]).all() and (first == second).all()
    if length < views.span:
        assert (plan.order_V == -1).all()
        return
    assert plan.order_V.tolist() == [-1, -1, *range(pieces), *range(pieces)]
    assert (np.diff(first.flatten()) == stride).all()  # the pieces together are one run of frames
    slices = plan.ticks_VT[0].reshape(pieces, slice_frames)
    for local, part in zip(first, slices, strict=True):
        assert set(part) <= set(local) and part[0] == local[0]


def test_starts_reach_both_ends():
    views = GlobalLocal(ClipSpec(8, 2), pieces=4)
    starts = [views.plan(70, 25.0, np.random.default_rng(s)).start_V[0] for s in range(200)]
    assert views.span == 63 and set(starts) == set(range(8))


@pytest.mark.parametrize("pieces", [0, 1, 3, 16])
def test_pieces_that_cannot_be_are_refused(pieces):
    with pytest.raises(UserError, match=r"views\.pieces"):
        GlobalLocal(ClipSpec(8, 2), pieces=pieces)
