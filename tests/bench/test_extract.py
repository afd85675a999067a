"""The benchmark of feature extraction runs, and measures what bytes cost in kNN."""

import pytest

from cvrl.bench import extract
from cvrl.utils.errors import UserError


def test_a_small_setting():
    report = extract.measure(
        runs=1, against=["torchvision"], encoders=["r3d_small"], frames=8, size=64
    )
    folded, int8, cosine = report.goals
    assert 0 < folded.ratio < 10
    assert 0 < int8.ratio < 10
    assert cosine.met
    assert "matrix product's speed" in report.notes[0]


def test_unknown_encoders_are_refused():
    with pytest.raises(UserError, match="r3d99"):
        extract.measure(runs=1, against=[], encoders=["r3d99"])
