"""Settings of a subject: read as YAML, refused with a remedy."""

import pytest

from cvrl.bench.common.settings import read_settings
from cvrl.utils.errors import UserError


def measure(*, runs: int, against: list[str], seconds: float = 1.0, source: str | None = None):
    raise NotImplementedError


def test_values_have_types():
    assert read_settings(["seconds=2", "source=a=b.csv"], measure) == {
        "seconds": 2,
        "source": "a=b.csv",
    }


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("seconds", "write it as key=value"),
        ("--x=1", "write it as key=value"),
        ("secnds=1", "did you mean settings.seconds"),
        ("seconds=much", "wrong type"),
        ("seconds=[1", "no YAML"),
        ("runs=1", "runs"),
    ],
)
def test_what_is_refused(pair, message):
    with pytest.raises(UserError, match=message):
        read_settings([pair], measure)
