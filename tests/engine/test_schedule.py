"""The learning rate of every step, by hand and by property."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvrl.engine.schedule import cosine_with_warmup


@given(st.integers(1, 300), st.data(), st.floats(1e-4, 10), st.floats(0, 1))
def test_shape_of_the_schedule(total, data, peak, final_share):
    warmup = data.draw(st.integers(0, total))
    final = peak * final_share
    lr = cosine_with_warmup(peak, total, warmup, final)
    assert lr.shape == (total,) and np.isfinite(lr).all()
    assert (np.diff(lr[:warmup]) > 0).all() and (np.diff(lr[warmup:]) <= 1e-12 * peak).all()
    assert (lr.max() == pytest.approx(peak) and lr.min() > 0) or warmup == 0
    assert (lr[warmup:] >= final - 1e-12).all()


def test_against_the_formula():
    lr = cosine_with_warmup(0.32, 100, 10, 0.02)
    for step in range(100):
        if step < 10:
            expected = 0.32 * (step + 1) / 10
        else:
            expected = 0.02 + 0.30 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2
        assert lr[step] == pytest.approx(expected)


@pytest.mark.parametrize(("total", "warmup"), [(0, 0), (5, 6), (5, -1)])
def test_impossible_lengths_are_refused(total, warmup):
    with pytest.raises(ValueError, match="warm up"):
        cosine_with_warmup(1.0, total, warmup)
